"""The rules by which windows are cut from the samples of a key.

Pure. With a window of 4 samples, a stride of 2 and a sample every 10 ms, windows start at the
multiples of 20 ms::

    sample at    0    10    20    30    40    50    60    70
    window 1     +--------------+
    window 2                +--------------+
    window 3                           +--------------+

What becomes of the next sample after one at 70, with `gap_ms_max` 40, `allowed_lateness_ms` 20 and
`key_ttl_ms` 1000::

    next sample at    what becomes of it
    80                it follows at the interval
    100               it belongs to the same series; the samples at 80 and 90 are missing values
    120               it starts the series again: 50 ms without a sample are a gap
    50                it is put in order before 60, if there is no sample at 50 yet
    45                it is rejected: 25 ms behind the newest of its key is too late
    none until 1071   the key expires once the stream time of its partition has passed 1070
"""

from dataclasses import dataclass, replace
from typing import Literal

from stream_detector.core.windowing.peaks import PeakRules

MissingRule = Literal["reject", "hold", "interpolate"]
"""How missing values of a window are filled in; `imputation.impute` says what each one does."""


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How windows are cut from samples.

    Parameters
    ----------
    n_steps, n_features
        Shape of a window.
    stride
        Samples between the starts of two windows, >= 1.
    sample_interval_ms
        Time between two samples, >= 1.
    gap_ms_max
        Longest time without a sample within a series; after a longer one the series starts again.
    allowed_lateness_ms
        How far a sample may be behind the newest of its key. Each sample waits so long, in event
        time, for those that belong before it.
    missing
        How missing values are filled in.
    missing_share_max
        Windows with a larger share of missing values are not scored, 0 to 1.
    key_ttl_ms
        How long a key may have no record, in the stream time of its partition, before its state
        is dropped.
    no_data_after_ms
        How long a key may have no record, or a feature no value, before it counts as silent or
        missing; below `key_ttl_ms`. None never tells.
    peaks
        How peaks are found round which windows are cut; None cuts a window each stride. With
        peaks, the stride is the distance between the frames in which they are sought.

    Examples
    --------
    >>> rules = WindowRules(4, 1, 2, 10.0, 40.0, 20.0, "hold", 0.5, 1000.0)
    >>> rules.span_ms, rules.needed_ms
    (30.0, 110.0)
    """

    n_steps: int
    n_features: int
    stride: int
    sample_interval_ms: float
    gap_ms_max: float
    allowed_lateness_ms: float
    missing: MissingRule
    missing_share_max: float
    key_ttl_ms: float
    no_data_after_ms: float | None = None
    peaks: PeakRules | None = None

    @property
    def frame(self) -> "WindowRules":
        """Return how the frames are cut in which peaks are sought; the same without peaks."""
        if self.peaks is None:
            return self
        return replace(self, n_steps=self.peaks.n_frame, peaks=None)

    @property
    def span_ms(self) -> float:
        """Return the time from the first to the last sample of a window."""
        return (self.n_steps - 1) * self.sample_interval_ms

    @property
    def n_followed(self) -> int:
        """Return how many features are followed, to find out which of them are missing."""
        return 0 if self.no_data_after_ms is None else self.n_features

    @property
    def needed_ms(self) -> float:
        """Return how far back the incomplete windows of a key can reach at most.

        A cell is up to one and a half intervals long, and late samples can come before it.
        """
        return 1.5 * (self.frame.n_steps + 2) * self.sample_interval_ms + self.allowed_lateness_ms
