"""The detector inside Apache Spark: streams of Kafka and tables of a lake, scored by the same code.

Needs the extra `spark`. `streams` scores what Spark reads from Kafka, and `python -m
stream_detector.integrations.spark` is that as a job; `workers` is what runs in Spark's workers.
"""
