"""One HTML file that shows what a bundle finds in labelled windows.

It opens anywhere: no script, no address outside of it, figures as SVG inside, in the reader's light
or dark. The same bundle and data give the same bytes. Matplotlib is loaded here only, when a report
is written, and draws without a display.
"""

from stream_detector.report.findings import Findings
from stream_detector.report.page import write_report

__all__ = ["Findings", "write_report"]
