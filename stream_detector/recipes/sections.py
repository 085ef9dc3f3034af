"""The tables of a recipe, their keys and the values that each key takes.

The descriptions here are the reference: `docs/generate.py` prints them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.evaluation import PositiveClass
from stream_detector.core.features import Counting
from stream_detector.core.scoring.checks import CHECK_KINDS
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.core.windowing.rules import MissingRule, WindowRules
from stream_detector.recipes.alerting import AlertingSection
from stream_detector.recipes.columns import TIME_UNITS_MS, ColumnMap, is_time_format
from stream_detector.recipes.datasets import DATASETS, RecordKind, names_of, names_with
from stream_detector.recipes.input import InputSection
from stream_detector.recipes.networks import NetworkSection
from stream_detector.recipes.peaks import PeaksSection
from stream_detector.recipes.scaling import ScalingSection
from stream_detector.recipes.scorers import (
    CheckSection,
    ReconstructionScorerSection,
    ScorerSection,
)
from stream_detector.recipes.section import (
    COUNT_MAX,
    ColumnName,
    PositiveInt,
    Section,
    number_as_name,
    one_of,
)
from stream_detector.recipes.thresholds import ThresholdSection
from stream_detector.recipes.training import TrainingSection
from stream_detector.recipes.units import UnitTable

GAP_INTERVALS_MIN = 1.5
"""Shortest gap, in sample intervals. With a shorter one, a sender whose clock jitters would have a
gap before every sample."""

WINDOW_VALUES_MAX = 262_144
"""Most values of a window: an image of 512 x 512 pixels. Larger ones would make batches of
gigabytes, and a self-test in the manifest of more than it may hold."""

Duration = Annotated[float, Field(ge=0, le=TIMESTAMP_MS_MAX, allow_inf_nan=False)]
PositiveDuration = Annotated[float, Field(gt=0, le=TIMESTAMP_MS_MAX, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
WindowSize = Annotated[int, Field(ge=1, le=WINDOW_VALUES_MAX)]


def _only(key: str) -> str:
    """Return which data sets take a key, as the beginning of its description."""
    *others, last = names_with(key)
    return f"{', '.join(others)} and {last} only" if others else f"{last} only"


def _time_format(text: str) -> str:
    """Accept a unit, "iso" or a pattern that has a date or a time of day."""
    if is_time_format(text):
        return text
    kind, context = "unknown_format", {"units": ", ".join(TIME_UNITS_MS)}
    message = "Input should be {units}, iso or a pattern such as %d.%m.%Y %H:%M:%S"
    raise PydanticCustomError(kind, message, context)


BundleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=128)]
Classes = Annotated[
    tuple[Annotated[int, Field(ge=0, le=9)], ...], Field(min_length=1, strict=False)
]
SeriesName = Annotated[str, Field(min_length=1), BeforeValidator(number_as_name)]


Span = tuple[str, float, float]


class DataSection(Section):
    """The data set that windows, or samples to cut into windows, are read from."""

    name: Annotated[str, one_of(tuple(DATASETS))] = Field(
        description="Data set: " + ", ".join(DATASETS)
    )
    series: SeriesName | None = Field(
        default=None, description=f"{_only('series')}: the record, machine or series to read"
    )
    split: Literal["tutorial", "official"] | None = Field(
        default=None,
        description=f"{_only('split')}: the split into training and test part; tutorial if not "
        "given",
    )
    path: str | None = Field(
        default=None,
        description=f"{_only('path')}: the file, relative to the working directory",
    )
    key: ColumnName | None = Field(
        default=None,
        description="Files only: the column with the key of the series; the column key if not "
        'given, and all rows are one series where there is none, or with ""',
    )
    time: ColumnName | None = Field(
        default=None,
        description="Files only: the column with the time; the column timestamp_ms if not given",
    )
    time_format: Annotated[str, AfterValidator(_time_format)] | None = Field(
        default=None,
        description="Files only: unit of a column of numbers (s, ms, us or ns), iso for dates such "
        "as 2026-01-31T12:00:00+01:00, or a pattern of Python's strptime such as "
        "%d.%m.%Y %H:%M:%S; what the cells look like if not given: dates, or numbers of any of "
        "these units since 1970. A date without a time zone is UTC",
    )
    label: ColumnName | None = Field(
        default=None,
        description="Files only: the column with the label, 0 normal and 1 anomalous; the column "
        'label if not given, none with ""',
    )
    normal_label: ColumnName | None = Field(
        default=None,
        description="Files only: what the label of a normal row is, in place of 0; rows with any "
        "other label are anomalous, those with none normal",
    )
    feature_name: ColumnName | None = Field(
        default=None,
        description="Files of samples only: the column with the name of a feature, where each row "
        "has one value; the features of a sample meet by key and time",
    )
    feature_value: ColumnName | None = Field(
        default=None, description="With feature_name: the column with the value"
    )
    features: Annotated[tuple[ColumnName, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Files only: the columns that are features, or values of a window, in the "
        "order of the file; all but key, time and label if not given",
    )
    units: UnitTable | None = Field(
        default=None,
        # A bundle without units is written as it was before there were any.
        exclude_if=lambda units: units is None,
        description='What features are measured in, by their names: { pressure = "bar" }. '
        "Sentences and the live page show it; nothing is computed with it",
    )
    test_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="Files only: share of each series, at its end, that is the test part; 0.2 with "
        "labels and 0 without if not given",
    )
    leave_out: (
        Annotated[tuple[Annotated[Span, Field(strict=False)], ...], Field(strict=False)] | None
    ) = Field(
        default=None,
        description="Files of samples only: spans that are not trained on, each as [key, start, "
        "end] with times in milliseconds since 1970-01-01 UTC",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        default=None,
        description="Seed of the windows that synthetic-ecg makes, or of the draw of the test part "
        "with test_each or anomalous_share; 0 if not given",
    )
    n_windows: Annotated[int, Field(ge=100, le=COUNT_MAX)] | None = Field(
        default=None,
        description="Number of windows, training and test part together: synthetic-ecg makes this "
        "many, 5000 if not given; of images the first ones are read, all if not given",
    )
    n_windows_in_memory: Annotated[int, Field(ge=100, le=COUNT_MAX)] | None = Field(
        default=None,
        # A bundle of windows in memory is written as it was before they could be elsewhere.
        exclude_if=lambda n_windows: n_windows is None,
        description="Parquet files only: most windows that are held in memory. Of a "
        "file with more so many are drawn, by training.seed, to calibrate and to test on, and the "
        "network is fitted to all others too, read from the file in each epoch; all are held if "
        "not given",
    )
    normal: Classes | None = Field(
        default=None, description="Images only: the classes that are normal; all if not given"
    )
    anomalous: Classes | None = Field(
        default=None,
        description="Images only: the classes that are the anomalies of the test part; all others "
        "if not given",
    )
    anomalous_from: Annotated[str, one_of(names_of("image"))] | None = Field(
        default=None,
        description="Images only: the data set that anomalous images are read from; the same if "
        "not given",
    )
    test_each: PositiveInt | None = Field(
        default=None,
        description="Data sets of whole windows: draw this many normal and as many anomalous "
        "windows for the test part; all windows are used if not given",
    )
    anomalous_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Data sets of whole windows: drop anomalous windows from the test part until "
        "they are this share of it; all are used if not given",
    )

    @property
    def columns(self) -> ColumnMap:
        """Return which column of a file is what."""
        return ColumnMap(
            key=self.key,
            time=self.time,
            time_format=self.time_format,
            label=self.label,
            normal_label=self.normal_label,
            features=self.features or (),
            feature_name=self.feature_name,
            feature_value=self.feature_value,
        )


class WindowSection(Section):
    """The shape of the network's input, and how windows are cut from samples.

    All keys from `align` on are for `record = "samples"` only.
    """

    record: RecordKind = Field(
        description="What one Kafka record holds: a whole window, one or more samples of a series, "
        "or an image"
    )
    steps: WindowSize = Field(description="Time steps of a window; rows of an image")
    features: WindowSize = Field(
        default=1,
        description="Values at each time step; columns times channels of an image",
    )
    channels: Literal[1, 3] = Field(
        default=1, description="Images only: values of a pixel, 1 for grey or 3 for colour"
    )
    sample_interval_ms: Duration = Field(
        default=0, description="Milliseconds between two time steps; 0 means unknown"
    )
    align: Literal["stride", "peaks"] = Field(
        default="stride",
        description="Where windows start: one each stride, or one round each peak of the signal, "
        "as the table [peaks] says",
    )
    stride: PositiveInt | None = Field(
        default=None,
        description="Time steps between the starts of two windows; steps if not given, so that "
        'windows do not overlap. Not with align = "peaks"',
    )
    gap_ms_max: PositiveDuration | None = Field(
        default=None,
        description="Longest time without a sample within a window; after a longer one a new "
        "window begins. The duration of a whole window if not given, and a quarter of "
        "peaks.search_ms round peaks",
    )
    allowed_lateness_ms: Duration = Field(
        default=0,
        description="How far a sample may be behind the newest sample of its key; samples are "
        "buffered for this time to be put in order",
    )
    missing: MissingRule = Field(
        default="interpolate",
        description="How missing values are imputed: from both neighbours (interpolate), from the "
        "previous value (hold), or not at all (reject: the window is not scored)",
    )
    missing_share_max: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.25,
        description="Largest share of missing values in a window; with more it is not scored",
    )
    key_ttl_ms: PositiveDuration = Field(
        default=3_600_000,
        description="Time without a record after which a key expires: its state is dropped and its "
        "alert closes",
    )

    @property
    def image(self) -> ImageShape | None:
        """Return what the images of the records are, None where records are no images."""
        if self.record != "image":
            return None
        return ImageShape(self.steps, self.features // self.channels, self.channels)

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


class EvaluationSection(Section):
    """How metrics on the test part are computed."""

    positive_class: PositiveClass = Field(
        default="anomaly",
        description="Class that precision, recall and F1 refer to",
    )


class PublishedSection(BaseModel):
    """Results published elsewhere for this recipe, which `evaluate` prints beside its own.

    Every key but `source` is the name of a metric, such as `accuracy` or `recall`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float]

    source: str = Field(description="Where the results were published")

    def figures(self) -> dict[str, float]:
        """Return the published numbers by name."""
        return dict(self.__pydantic_extra__)


class Recipe(Section):
    """How to make a bundle; one attribute for each table of the file."""

    name: BundleName = Field(
        description="Name of the bundle, which every alert carries: lower-case letters, digits, "
        "dots, underscores and hyphens, at most 128"
    )
    description: str = Field(default="", description="What the recipe is for, in one line")
    data: DataSection
    window: WindowSection
    peaks: PeaksSection | None = None
    input: InputSection = InputSection()
    scaling: ScalingSection
    network: NetworkSection
    training: TrainingSection = TrainingSection()
    threshold: ThresholdSection
    scorer: ScorerSection = ReconstructionScorerSection()
    check: Annotated[
        tuple[CheckSection, ...], Field(max_length=len(CHECK_KINDS), strict=False)
    ] = ()
    alerting: AlertingSection = AlertingSection()
    evaluation: EvaluationSection = EvaluationSection()
    published: PublishedSection | None = None

    @property
    def n_epochs(self) -> int:
        """Return how many epochs `train` reports of one network."""
        return 1 if self.network.is_closed_form else self.training.epochs

    @property
    def rules(self) -> WindowRules:
        """Return how windows are cut from samples."""
        rules, window = self.window.rules, self.window
        if self.peaks is None:
            return rules
        found = self.peaks.rules(window.steps, window.features, window.sample_interval_ms)
        gap_ms = found.n_slack * window.sample_interval_ms
        return replace(
            rules,
            stride=found.n_search,
            gap_ms_max=min(window.gap_ms_max or gap_ms, gap_ms),
            peaks=found,
        )

    def countings(self, features: Sequence[str]) -> tuple[Counting, ...]:
        """Return how each feature counts; nothing where none is relative or logarithmic.

        Raises
        ------
        ConfigError
            If `[scaling]` names a feature that there is not.
        """
        return self.scaling.countings(features, self.window.steps)

    @property
    def live_rules(self) -> WindowRules:
        """Return how windows are cut from live samples, and when these are missed."""
        return replace(self.rules, no_data_after_ms=self.alerting.no_data_after_ms)
