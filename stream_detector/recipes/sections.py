"""The tables of a recipe, and which single values each of their keys takes."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from stream_detector.core.alerting.tracking import OPEN_WITHIN_MAX, AlertRules
from stream_detector.core.evaluation import PositiveClass
from stream_detector.core.scoring.reconstruction import ErrorKind
from stream_detector.core.scoring.thresholds import ThresholdMethod
from stream_detector.core.windowing.imputation import MissingRule
from stream_detector.core.windowing.windows import WindowRules
from stream_detector.recipes.networks import NetworkSection
from stream_detector.recipes.section import PositiveFloat, PositiveInt, Section

DatasetName = Literal[
    "ecg5000", "synthetic-ecg", "mitdb", "smd", "nab", "mnist", "fashion-mnist", "csv", "parquet"
]
ImageSetName = Literal["mnist", "fashion-mnist"]
Split = Literal["tutorial", "official"]

GAP_INTERVALS_MIN = 1.5
"""Shortest gap, in intervals: less, and clocks that jitter would make gaps of every sample."""

ALERT_MS_MAX = 7 * 24 * 3_600_000
"""A week. What is remembered of an alert is found again by reading the stream from there on."""

AlertSpan = Annotated[int, Field(ge=1, le=ALERT_MS_MAX)]


def _name_of_number(value: object) -> object:
    """Return a whole number as text: TOML reads 106 as one, and a series may be called so."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Classes = Annotated[
    tuple[Annotated[int, Field(ge=0, le=9)], ...], Field(min_length=1, strict=False)
]
SeriesName = Annotated[str, Field(min_length=1), BeforeValidator(_name_of_number)]


class DataSection(Section):
    """Where the windows come from, or the samples they are cut from."""

    name: DatasetName
    series: SeriesName | None = Field(
        default=None, description="mitdb, smd and nab only: which record, machine or series"
    )
    split: Split | None = Field(
        default=None, description="ecg5000 only; 'tutorial' unless 'official' is asked for"
    )
    path: str | None = Field(
        default=None, description="csv and parquet only; relative to the working directory"
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Which windows of synthetic-ecg, or which are drawn for the test part; 0 where "
        "it is not given",
    )
    n_windows: Annotated[int, Field(ge=100)] | None = Field(
        default=None,
        description="How many windows, test part included: of synthetic-ecg, 5000 where not given; "
        "of images the first ones, all where not given",
    )
    normal: Classes | None = Field(
        default=None, description="Images only: classes that are normal; all where not given"
    )
    anomalous: Classes | None = Field(
        default=None,
        description="Images only: classes of the test part that are anomalous; all others where "
        "not given",
    )
    anomalous_from: ImageSetName | None = Field(
        default=None, description="Images only: the set that anomalous images come from"
    )
    test_each: PositiveInt | None = Field(
        default=None,
        description="Sets of whole windows: so many normal and as many anomalous windows are drawn "
        "for the test part; all where not given",
    )
    anomalous_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Sets of whole windows: anomalous windows are left out of the test part until "
        "they are this share of it",
    )


class WindowSection(Section):
    """The shape of what the network sees, and how windows are cut from samples.

    All keys from `stride` on are for `record = "samples"`.
    """

    record: Literal["window", "samples", "image"] = Field(
        description="One record of the stream is one whole window, samples of one series, or one "
        "image"
    )
    steps: PositiveInt = Field(description="Steps of a window; of an image, its rows")
    features: PositiveInt = Field(
        default=1, description="Values at each step; of an image, its columns times channels"
    )
    channels: Literal[1, 3] = Field(
        default=1, description="Images only: values of a pixel, 1 for grey or 3 for colour"
    )
    sample_interval_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0, description="Milliseconds between two steps; 0 is unknown"
    )
    stride: PositiveInt | None = Field(
        default=None, description="Steps between the starts of two windows; steps if not given"
    )
    gap_ms_max: PositiveFloat | None = Field(
        default=None,
        description="After a longer time without a sample a series starts again; the time of a "
        "whole window if not given",
    )
    allowed_lateness_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0,
        description="How far a sample may be behind its key's newest; samples wait so long",
    )
    missing: MissingRule = Field(
        default="interpolate", description="What is done about missing values; never zero"
    )
    missing_share_max: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.25, description="Windows that miss a larger share are not scored"
    )
    key_ttl_ms: PositiveFloat = Field(
        default=3_600_000, description="A key is forgotten after so long without a record"
    )

    @property
    def rules(self) -> WindowRules:
        """Return how windows are cut from samples."""
        return WindowRules(
            n_steps=self.steps,
            n_features=self.features,
            stride=self.stride or self.steps,
            sample_interval_ms=self.sample_interval_ms,
            gap_ms_max=self.gap_ms_max
            or max(self.steps, GAP_INTERVALS_MIN) * self.sample_interval_ms,
            allowed_lateness_ms=self.allowed_lateness_ms,
            missing=self.missing,
            missing_share_max=self.missing_share_max,
            key_ttl_ms=self.key_ttl_ms,
        )


class ScalingSection(Section):
    """How windows are brought to the network's range."""

    kind: Literal["none", "min-max", "standard", "pixels"] = Field(
        description="pixels is for images: values from 0 to 255 become [0, 1]"
    )
    fit_on: Literal["normal", "all"] = Field(
        default="normal", description="Training windows the scaling is fitted on"
    )


class TrainingSection(Section):
    """How the network is fitted."""

    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field(
        default="adam", description="How steps are taken, with Keras' defaults"
    )
    learning_rate: PositiveFloat = Field(default=0.001, description="Size of a step")
    loss: ErrorKind = Field(default="mae", description="What the reconstruction is fitted by")
    epochs: PositiveInt = Field(description="How often all windows are gone through")
    batch_size: PositiveInt = Field(description="Windows to a step")
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Standard deviation of noise added to the scaled input, which is then clipped "
        "to [0, 1]; the network learns to take it away",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Of the first weights, the order of windows, and all noise"
    )


class ThresholdSection(Section):
    """Which reconstruction error is still normal."""

    error: ErrorKind = "mae"
    method: ThresholdMethod
    n_sigma: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="For method sigma: mean + n_sigma standard deviations"
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="For method quantile: share of normal windows at or below"
    )
    n_mad: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="For method log-mad: median + n_mad scaled deviations, of the log of the error",
    )
    calibrate_on: Literal["held-out", "train"] = Field(
        default="held-out", description="Normal windows the threshold is fitted on"
    )
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Share of the normal training windows that is held out"
    )


class AlertingSection(Section):
    """How bad an alert is, and when it opens, is updated and closes.

    All but `severity` is for windows cut from samples. A record that is a whole window opens an
    alert of its own, so there the other keys do not apply.
    """

    severity: dict[str, PositiveFloat] = Field(
        default={"warning": 1.0, "critical": 2.0},
        min_length=1,
        description="Name -> anomaly score from which it holds; the lowest is 1.0",
    )
    open_after: Annotated[int, Field(ge=1, le=OPEN_WITHIN_MAX)] = Field(
        default=1, description="An alert opens once so many of the last open_within are anomalous"
    )
    open_within: Annotated[int, Field(ge=1, le=OPEN_WITHIN_MAX)] = Field(
        default=1, description="How many of a key's last windows open_after looks at"
    )
    update_interval_ms: AlertSpan = Field(
        default=60_000, description="An open alert is updated at least so often"
    )
    close_after_ms: AlertSpan = Field(
        default=10_000, description="An alert closes so long after its last anomalous window"
    )
    cooldown_ms: Annotated[int, Field(ge=0, le=ALERT_MS_MAX)] = Field(
        default=0, description="Least time from a close to the key's next open"
    )
    open_ms_max: AlertSpan = Field(
        default=600_000, description="An alert open for so long closes, and another goes on from it"
    )
    flood_alerts_max: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=10,
        description="Most alerts of a key within flood_window_ms; then one summary opens",
    )
    flood_window_ms: AlertSpan = Field(
        default=600_000,
        description="Time over which flood_alerts_max counts, and for which gaps are told",
    )

    @property
    def levels(self) -> tuple[tuple[str, float], ...]:
        """Return names and the anomaly scores from which they hold, ascending."""
        return tuple(sorted(self.severity.items(), key=lambda item: item[1]))

    @property
    def rules(self) -> AlertRules:
        """Return what the life cycle of alerts goes by."""
        return AlertRules(
            open_after=self.open_after,
            open_within=self.open_within,
            update_interval_ms=self.update_interval_ms,
            close_after_ms=self.close_after_ms,
            cooldown_ms=self.cooldown_ms,
            open_ms_max=self.open_ms_max,
            flood_alerts_max=self.flood_alerts_max,
            flood_window_ms=self.flood_window_ms,
            severities=self.levels,
        )


class EvaluationSection(Section):
    """How the figures are counted."""

    positive_class: PositiveClass = "anomaly"


class PublishedSection(BaseModel):
    """Figures somebody published for this recipe, and where."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float]

    source: str

    def figures(self) -> dict[str, float]:
        """Return the published numbers by name."""
        return dict(self.__pydantic_extra__)


class Recipe(Section):
    """How to make a bundle; one attribute a table of the file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    description: str = ""
    data: DataSection
    window: WindowSection
    scaling: ScalingSection
    network: NetworkSection
    training: TrainingSection
    threshold: ThresholdSection
    alerting: AlertingSection = AlertingSection()
    evaluation: EvaluationSection = EvaluationSection()
    published: PublishedSection | None = None
