"""The tables of a recipe, and which single values each of their keys takes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stream_detector.core.evaluation import PositiveClass
from stream_detector.core.scoring import ErrorKind
from stream_detector.core.thresholds import ThresholdMethod

DatasetName = Literal["ecg5000", "synthetic-ecg", "csv", "parquet"]
Split = Literal["tutorial", "official"]

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    """One table of a recipe: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataSection(_Section):
    """Where the windows come from."""

    name: DatasetName
    split: Split | None = Field(
        default=None, description="ecg5000 only; 'tutorial' unless 'official' is asked for"
    )
    path: str | None = Field(
        default=None, description="csv and parquet only; relative to the working directory"
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="synthetic-ecg only: which windows; 0 where it is not given"
    )
    n_windows: Annotated[int, Field(ge=100)] | None = Field(
        default=None, description="synthetic-ecg only: how many windows; 5000 where not given"
    )


class WindowSection(_Section):
    """The shape of what the network sees."""

    record: Literal["window"] = Field(description="One record of the stream is one whole window")
    steps: PositiveInt = Field(description="Steps of a window")
    features: PositiveInt = Field(default=1, description="Values at each step")
    sample_interval_ms: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Milliseconds between two steps; 0 is unknown"
    )


class ScalingSection(_Section):
    """How windows are brought to the network's range."""

    kind: Literal["none", "min-max", "standard"]
    fit_on: Literal["normal", "all"] = Field(
        default="normal", description="Training windows the scaling is fitted on"
    )


class NetworkSection(_Section):
    """The autoencoder; the decoder mirrors the encoder."""

    kind: Literal["dense"]
    units: Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)] = Field(
        description="Units of the encoder's layers; the last is the code"
    )
    activation: Literal["relu", "elu", "gelu", "tanh", "sigmoid"] = "relu"
    output_activation: Literal["linear", "sigmoid"] = "linear"


class TrainingSection(_Section):
    """How the network is fitted."""

    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: PositiveFloat = 0.001
    loss: ErrorKind = "mae"
    epochs: PositiveInt
    batch_size: PositiveInt
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class ThresholdSection(_Section):
    """Which reconstruction error is still normal."""

    error: ErrorKind = "mae"
    method: ThresholdMethod
    n_sigma: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="For method sigma: mean + n_sigma standard deviations"
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="For method quantile: share of normal windows at or below"
    )
    calibrate_on: Literal["held-out", "train"] = Field(
        default="held-out", description="Normal windows the threshold is fitted on"
    )
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Share of the normal training windows that is held out"
    )


class AlertingSection(_Section):
    """How bad an alert is."""

    severity: dict[str, PositiveFloat] = Field(
        default={"warning": 1.0, "critical": 2.0},
        min_length=1,
        description="Name -> anomaly score from which it holds; the lowest is 1.0",
    )

    @property
    def levels(self) -> tuple[tuple[str, float], ...]:
        """Return names and the anomaly scores from which they hold, ascending."""
        return tuple(sorted(self.severity.items(), key=lambda item: item[1]))


class EvaluationSection(_Section):
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


class Recipe(_Section):
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
