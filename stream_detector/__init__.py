"""Detect anomalies in time-series telemetry: offline from files, online from Kafka.

Importing the package loads neither Keras nor a Kafka client; what needs them
is imported where it is used.
"""

__version__ = "0.1.0"
