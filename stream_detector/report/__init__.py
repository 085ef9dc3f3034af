"""Write one HTML file that shows how a bundle scores labelled windows, or what it finds in samples.

The file is self-contained: no scripts, no external addresses, figures as inline SVG, and colours
that follow the reader's light or dark mode. The same bundle and data give the same bytes. Only this
package loads Matplotlib, and only when a report is written; it needs no display.
"""

from stream_detector.report.findings import Findings
from stream_detector.report.page import write_report
from stream_detector.report.stream_findings import StreamFindings
from stream_detector.report.stream_page import write_stream_report

__all__ = ["Findings", "StreamFindings", "write_report", "write_stream_report"]
