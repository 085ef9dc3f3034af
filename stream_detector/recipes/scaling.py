"""The table `[scaling]` of a recipe: how values are scaled before the network sees them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from stream_detector.core.features import Counting, list_names
from stream_detector.errors import ConfigError
from stream_detector.recipes.section import ColumnName, Section

WARM_UP_SAMPLES_MAX = 10_000
"""Most samples of a new key that are kept until it has a scale."""

FEATURE_KEYS = ("relative", "counters", "logarithmic")
"""Keys that name features."""

_Names = Annotated[tuple[ColumnName, ...], Field(strict=False)]


class ScalingSection(Section):
    """How values are scaled before the network sees them."""

    kind: Literal["none", "min-max", "standard", "pixels", "robust"] = Field(
        description="min-max maps the range of each feature to [0, 1]; standard gives each feature "
        "mean 0 and standard deviation 1; robust counts in deviations from the median, 1.4826 "
        "times the median absolute one, and bends those beyond 10 (10 asinh(z / 10)), so that one "
        "feature far out does not hide the others; pixels divides the values of images by 255; "
        "none leaves values as they are"
    )
    fit_on: Literal["normal", "all"] = Field(
        default="normal",
        description="Training windows that the scaling is fitted to: the normal ones that the "
        "network is trained on, or all, anomalous ones included",
    )
    relative: _Names = Field(
        default=(),
        description="Features that count from the mean of their own window, by name: those whose "
        "level says nothing, since it goes on to what it never was, such as disk in use; how they "
        "move within a window is judged as of others",
        # A bundle without such features is written as it was before there were any.
        exclude_if=lambda relative: not relative,
    )
    counters: _Names = Field(
        default=(),
        description="Features that only rise, but where they start again, by name: relative ones, "
        "which go on from where they were when they start again",
        exclude_if=lambda counters: not counters,
    )
    logarithmic: _Names | Literal["auto"] = Field(
        default=(),
        description="Features that count by their logarithm, by name: those that vary by factors, "
        "such as traffic or latency, of which a tenth of the usual is as unusual as ten times as "
        "much; with auto, `train` names those that vary so in the training samples, by the rule "
        "of `init`",
        exclude_if=lambda logarithmic: not logarithmic,
    )
    per_key: bool = Field(
        default=False,
        description="Samples only: bring each key to its own normal level and deviation (median "
        "and 1.4826 times the median absolute deviation of its normal training samples; round "
        "peaks the medians of its normal windows' means and standard deviations) before `kind` is "
        "applied, and a logarithmic feature to its usual size; a key that training did not know "
        "has its own from `warm_up_samples` on",
    )
    warm_up_samples: int = Field(
        default=600,
        ge=0,
        le=WARM_UP_SAMPLES_MAX,
        description="With per_key: from how many first samples a key that training did not know "
        "gets its level and deviation, which never change again; until then its windows have no "
        "score. 20 or more; 0 gives such keys the median of all keys at once, and is the only "
        "value round peaks",
    )

    def countings(self, features: Sequence[str], n_steps: int) -> tuple[Counting, ...]:
        """Return how each feature counts; nothing where none is relative or logarithmic.

        Parameters
        ----------
        features
            Names of all features.
        n_steps
            Steps of a window.

        Raises
        ------
        ConfigError
            If a key names a feature that there is not.
        ValueError
            If `logarithmic` is "auto": training names these features first.
        """
        if self.logarithmic == "auto":
            message = "scaling.logarithmic: expected names of features, received auto"
            raise ValueError(message)
        for key in FEATURE_KEYS:
            unknown = [name for name in getattr(self, key) if name not in features]
            if unknown:
                message = (
                    f"scaling.{key}: expected names of the features {list_names(features)}, "
                    f"received {list_names(unknown)}"
                )
                raise ConfigError(message)
        relative, logarithmic = {*self.relative, *self.counters}, {*self.logarithmic}
        if not relative and not logarithmic:
            return ()
        return tuple(
            Counting(n_steps if name in relative else 0, name in logarithmic) for name in features
        )
