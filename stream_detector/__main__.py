"""Run the command line as `python -m stream_detector`."""

from stream_detector.cli import main

main()
