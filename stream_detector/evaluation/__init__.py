"""Measure a detector of samples without Kafka: what it finds, how fast, and how often for nothing.

`offline` runs the detector over samples with the code of `detect`; `figures` counts what came out
of it; `floors` has simple detectors whose figures stand beside; `strangest` names spans where there
are no labels. Nothing here reads files or prints.
"""
