"""The table `[threshold]` of a recipe: one class for each method, with the keys of that method.

A new method is a class in `stream_detector.core.scoring.thresholds`, a section here that builds
it, and its name in `ThresholdSection`.
"""

from typing import Annotated, Literal

from pydantic import Field

from stream_detector.core.scoring.reconstruction_error import ErrorKind
from stream_detector.core.scoring.thresholds import (
    FalseAlarmShareThreshold,
    FalseAlarmsPerDayThreshold,
    FBetaThreshold,
    LogMadThreshold,
    QuantileThreshold,
    SigmaThreshold,
)
from stream_detector.recipes.section import Section

DEVIATIONS_MAX = 1_000
"""Most deviations from the middle: a threshold that far away is never exceeded."""


RATE_MAX = 86_400
"""Most false alarms a day: one a second."""

BETA_MAX = 1_000

CalibratedOn = Literal["held-out", "cross-fit", "train"]

FOLDS_MAX = 20
"""Most networks of a cross-fit; each takes as long to train as the final one."""


class _Threshold(Section):
    """Keys that every method has."""

    error: ErrorKind = Field(
        default="mae",
        description="Reconstruction error that is compared with the threshold: mean absolute "
        "error, mean squared error or binary cross-entropy",
    )
    calibrate_on: CalibratedOn = Field(
        default="held-out",
        description="Normal windows that the threshold is fitted to: some that the network is not "
        "trained on (held-out); every training window, scored by one of several networks that were "
        "not trained on it, while the final one is trained on all (cross-fit); or the training "
        "windows as they are, which gives a lower threshold (train)",
    )
    folds: Annotated[int, Field(ge=2, le=FOLDS_MAX)] = Field(
        default=2,
        description="Number of further networks with calibrate_on = 'cross-fit': each leaves out "
        "another part of the training windows, blocks of time of samples and random ones of whole "
        "windows",
    )
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Share of the normal training windows that is held out to fit the threshold "
        "and to compute the validation loss; at least 10 windows must be held out and 10 left",
    )

    @property
    def n_networks(self) -> int:
        """Return how many networks are fitted, one after another."""
        return 1 + (self.folds if self.calibrate_on == "cross-fit" else 0)


class SigmaSection(_Threshold):
    """Mean plus n_sigma standard deviations of the errors."""

    method: Literal["sigma"] = Field(description="How the threshold is fitted")
    n_sigma: Annotated[float, Field(ge=-DEVIATIONS_MAX, le=DEVIATIONS_MAX)] = Field(
        default=3.0,
        description="Standard deviations between the mean error and the threshold",
    )

    def build(self) -> SigmaThreshold:
        """Return the method with its parameter."""
        return SigmaThreshold(self.n_sigma)


class QuantileSection(_Threshold):
    """A quantile of the errors."""

    method: Literal["quantile"] = Field(description="How the threshold is fitted")
    quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.995,
        description="Share of the normal windows whose error is at or below the threshold",
    )

    def build(self) -> QuantileThreshold:
        """Return the method with its parameter."""
        return QuantileThreshold(self.quantile)


class LogMadSection(_Threshold):
    """Median plus n_mad scaled median absolute deviations of the errors' logarithms."""

    method: Literal["log-mad"] = Field(description="How the threshold is fitted")
    n_mad: Annotated[float, Field(ge=0, le=DEVIATIONS_MAX)] = Field(
        default=5.0,
        description="Median absolute deviations, scaled by 1.4826, between the median and the "
        "threshold, both of the logarithm of the error",
    )

    def build(self) -> LogMadThreshold:
        """Return the method with its parameter."""
        return LogMadThreshold(self.n_mad)


class FalseAlarmsPerDaySection(_Threshold):
    """A number of false alarms a day and key, for windows cut from samples."""

    method: Literal["false_alarms_per_day"] = Field(description="How the threshold is fitted")
    false_alarms_per_day: Annotated[float, Field(gt=0, le=RATE_MAX)] = Field(
        default=0.2,
        description="False alarms of a key a day, as long as its data stay like those trained on",
    )

    def build(self) -> FalseAlarmsPerDayThreshold:
        """Return the method with its parameter."""
        return FalseAlarmsPerDayThreshold(self.false_alarms_per_day)


class FalseAlarmShareSection(_Threshold):
    """A share of normal windows that exceed the threshold."""

    method: Literal["false_alarm_share"] = Field(description="How the threshold is fitted")
    false_alarm_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.01,
        description="Largest share of later normal windows above the threshold, as long as the "
        "data stay like those trained on",
    )

    def build(self) -> FalseAlarmShareThreshold:
        """Return the method with its parameter."""
        return FalseAlarmShareThreshold(self.false_alarm_share)


class FBetaSection(_Threshold):
    """The best F-beta of the normal windows and those labelled anomalous."""

    method: Literal["f-beta"] = Field(description="How the threshold is fitted")
    beta: Annotated[float, Field(gt=0, le=BETA_MAX)] = Field(
        default=1.0, description="How many times as much recall counts as precision"
    )

    def build(self) -> FBetaThreshold:
        """Return the method with its parameter."""
        return FBetaThreshold(self.beta)


ThresholdSection = Annotated[
    SigmaSection
    | QuantileSection
    | LogMadSection
    | FalseAlarmsPerDaySection
    | FalseAlarmShareSection
    | FBetaSection,
    Field(discriminator="method"),
]
"""The registry of methods."""
