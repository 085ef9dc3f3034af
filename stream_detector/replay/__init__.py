"""Send a data set or a file to a topic, at a steady rate or as it was recorded.

`windows` sends records that each hold one whole window, `samples` records that hold some samples
of a series. `pacing` decides when each record is sent; `faults` drops, delays, repeats and swaps
records of samples, and `fleet` makes many series out of a few recordings.
"""

from stream_detector.replay.chunking import Chunks, chunk
from stream_detector.replay.faults import FaultCounts, Faults
from stream_detector.replay.fleet import concatenate, make_fleet
from stream_detector.replay.live import replay_live
from stream_detector.replay.pacing import LABEL_HEADER, Progress, ReplaySummary
from stream_detector.replay.samples import (
    SampleProgress,
    SampleReplayOptions,
    SampleReplaySummary,
    SampleTimes,
    replay_samples,
)
from stream_detector.replay.windows import ReplayOptions, replay, replay_parts

__all__ = [
    "LABEL_HEADER",
    "Chunks",
    "FaultCounts",
    "Faults",
    "Progress",
    "ReplayOptions",
    "ReplaySummary",
    "SampleProgress",
    "SampleReplayOptions",
    "SampleReplaySummary",
    "SampleTimes",
    "chunk",
    "concatenate",
    "make_fleet",
    "replay",
    "replay_live",
    "replay_parts",
    "replay_samples",
]
