"""Whether what arrives on a topic fits a bundle: read, examine with the real detector, check."""

from stream_detector.doctor.checks import Report, make_report
from stream_detector.doctor.examination import Examination
from stream_detector.doctor.findings import Finding
from stream_detector.doctor.reading import Reading, read_recent

__all__ = ["Examination", "Finding", "Reading", "Report", "make_report", "read_recent"]
