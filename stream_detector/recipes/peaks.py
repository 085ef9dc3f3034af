"""The table `[peaks]` of a recipe: how peaks are found that windows are cut round."""

from typing import Annotated

from pydantic import Field

from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.core.windowing.peaks import N_BLOCKS, PeakRules
from stream_detector.recipes.section import PositiveFloat, Section

_CUT_OFF = 0.443
"""Length of a moving mean, in periods of the frequency of which it leaves 1 / sqrt(2)."""

_SLACK_SHARE = 4
"""The search window over this is the longest gap within a series."""

PAUSE_SHARE_MIN = 1.5
"""Shortest pause, in search windows: one and the longest gap after it, rounded up."""

PAUSE_SHARE_MAX = 0.5
"""Longest pause, in contexts: when half of one has no peak, noise is what is usual."""

_APART_MIN = 6
"""Fewest steps of the refractory time: its sixth is how far a peak is shifted at most."""

Band = Annotated[tuple[PositiveFloat, PositiveFloat], Field(strict=False)]
Milliseconds = Annotated[float, Field(gt=0, le=TIMESTAMP_MS_MAX, allow_inf_nan=False)]


class PeaksSection(Section):
    """How peaks are found, with `window.align = "peaks"`: heartbeats, or a pulse of each turn."""

    band_hz: Band = Field(
        description="Lowest and highest frequency of the band in which peaks are sought; of the "
        "QRS complex of an ECG [4, 20]"
    )
    keep_band_hz: Band | None = Field(
        default=None,
        description="Lowest and highest frequency of the band that windows hold, so that neither "
        "a wandering baseline nor noise counts; the signal as it is if not given",
    )
    features: (
        Annotated[
            tuple[Annotated[int, Field(ge=0)], ...],
            Field(min_length=1, max_length=64, strict=False),
        ]
        | None
    ) = Field(
        default=None,
        description="Features in which peaks are sought, counted from 0; all if not given",
    )
    refractory_ms: Milliseconds = Field(
        default=200.0, description="Least time between two peaks, at least 6 sample intervals"
    )
    context_ms: Milliseconds = Field(
        default=4_000.0,
        description="Time before a peak that says how strong peaks are; three of its quarters "
        "should have one",
    )
    search_ms: Milliseconds = Field(
        default=400.0,
        description="Time between two searches, and so the longest wait of a peak for one; a "
        "quarter of it is the longest gap in a series",
    )
    pause_ms: Milliseconds | None = Field(
        default=None,
        description="Time without a peak that is a pause, from 1.5 times search_ms to half of "
        "context_ms, for noise counts as peaks after that; with the check rhythm, which needs it, "
        "and only there",
    )

    def rules(self, steps: int, n_features: int, interval_ms: float) -> PeakRules:
        """Return the same in steps.

        Parameters
        ----------
        steps, n_features, interval_ms
            Shape of a window, and time between two of its steps.

        Examples
        --------
        >>> PeaksSection(band_hz=(4, 20)).rules(70, 1, 1000 / 360).n_context
        1715
        """

        def steps_of(duration_ms: float) -> int:
            return max(round(duration_ms / interval_ms), 1)

        def mean_of(frequency_hz: float) -> int:
            return 2 * round(_CUT_OFF * 1000 / (interval_ms * frequency_hz) / 2) + 1

        low, high = self.band_hz
        n_search = steps_of(self.search_ms)
        kept = (0, 1)
        if self.keep_band_hz is not None:
            kept = (mean_of(self.keep_band_hz[0]), mean_of(self.keep_band_hz[1]))
        return PeakRules(
            features=self.features or tuple(range(n_features)),
            n_features=n_features,
            n_smooth=mean_of(high),
            n_trend=max(mean_of(low), mean_of(high) + 2),
            n_apart=max(steps_of(self.refractory_ms), _APART_MIN),
            n_block=max(steps_of(self.context_ms / N_BLOCKS), 1),
            n_before=steps // 2,
            n_window=steps,
            n_low=kept[1],
            n_base=kept[0],
            n_search=n_search,
            n_slack=max(n_search // _SLACK_SHARE, 2),
            n_pause=0 if self.pause_ms is None else steps_of(self.pause_ms),
        )
