"""The table `[threshold]` of a recipe: one class for each method, with the keys of that method.

A new method is a class in `stream_detector.core.scoring.thresholds`, a section here that builds
it, and its name in `ThresholdSection`.
"""

from typing import Annotated, Literal

from pydantic import Field

from stream_detector.core.scoring.reconstruction_error import ErrorKind
from stream_detector.core.scoring.thresholds import (
    LogMadThreshold,
    QuantileThreshold,
    SigmaThreshold,
)
from stream_detector.recipes.section import Section

DEVIATIONS_MAX = 1_000
"""Most deviations from the middle: a threshold that far away is never exceeded."""


class _Threshold(Section):
    """Keys that every method has."""

    error: ErrorKind = Field(
        default="mae",
        description="Reconstruction error that is compared with the threshold: mean absolute "
        "error, mean squared error or binary cross-entropy",
    )
    calibrate_on: Literal["held-out", "train"] = Field(
        default="held-out",
        description="Normal windows that the threshold is fitted to: some that the network is not "
        "trained on, or the training windows themselves, which gives a lower threshold",
    )
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Share of the normal training windows that is held out to fit the threshold "
        "and to compute the validation loss; at least 10 windows must be held out and 10 left",
    )


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


ThresholdSection = Annotated[
    SigmaSection | QuantileSection | LogMadSection, Field(discriminator="method")
]
"""The registry of methods."""
