"""What `models/*.toml` says: how to make a bundle.

A recipe is plain, frozen data. Reading one checks every key and every combination of keys, and
reports all problems at once; nothing here loads Keras or touches a data set.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_detector.core.evaluation import PositiveClass
from stream_detector.core.scoring import ErrorKind
from stream_detector.core.thresholds import ThresholdMethod
from stream_detector.errors import ConfigError

DatasetName = Literal["ecg5000", "synthetic-ecg", "csv", "parquet"]
Split = Literal["tutorial", "official"]

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]

ECG_STEPS = 140
"""Steps of a window in both built-in data sets."""


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


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply overrides and check the result.

    Parameters
    ----------
    path
        A TOML file.
    overrides
        `section.key=value` each, the value as TOML; a bare word is a string, and nothing after
        the = takes the key away. Later ones win.

    Raises
    ------
    ConfigError
        If the file cannot be read, an override is malformed, a key is unknown, or values do not
        fit together; the message lists every problem.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"recipe {path} cannot be read: {error}; give the path of a TOML file"
        raise ConfigError(message) from None
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, where=str(path))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe given as nested mappings, as TOML or a bundle's manifest holds it.

    Parameters
    ----------
    values
        Top-level keys and tables.
    where
        File the values are from, for messages.

    Raises
    ------
    ConfigError
        As in `load_recipe`.
    """
    problems: list[str] = []
    try:
        recipe = Recipe.model_validate(dict(values))
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors(include_url=False)]
        recipe = None
    problems += _combination_problems(values)
    if recipe is None or problems:
        message = f"recipe {where}: " + "; ".join(problems)
        raise ConfigError(message)
    return recipe


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in place."""
    key_path, equals, text = override.partition("=")
    parts = [part.strip() for part in key_path.split(".")]
    if not equals or not all(parts):
        message = f"override {override!r}: expected section.key=value, as in training.epochs=5"
        raise ConfigError(message)
    table = values
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            message = f"override {override!r}: {part} is a value, not a table"
            raise ConfigError(message)
    if text.strip():
        table[parts[-1]] = _parse_value(text.strip())
    else:
        table.pop(parts[-1], None)


def _parse_value(text: str) -> Any:
    """Return a TOML value; what is not one is a string, so that quotes may be left out."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _describe(problem: Mapping[str, Any]) -> str:
    """Return one problem as key path, what was expected and what was received."""
    key_path = ".".join(str(part) for part in problem["loc"]) or "top level"
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(problem["loc"]))
        return f"{key_path}: expected one of the keys {known}, received an unknown key"
    if problem["type"] == "missing":
        return f"{key_path}: expected a value, received none"
    expected = problem["msg"].removeprefix("Input should be ")
    return f"{key_path}: expected {expected}, received {problem['input']!r}"


def _known_keys(location: Sequence[str | int]) -> list[str]:
    """Return the keys that the table around an unknown key has."""
    model: type[BaseModel] = Recipe
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *get_args(annotation))
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _combination_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not fit together, also where single values are wrong as well.

    Works on the raw tables, so that one round of corrections is enough.
    """
    tables = {
        name: dict(values[name]) if isinstance(values.get(name), Mapping) else {}
        for name in Recipe.model_fields
    }
    yield from _data_problems(tables["data"], tables["window"])
    yield from _range_problems(tables)
    yield from _threshold_problems(tables["threshold"])
    yield from _severity_problems(tables["alerting"])


def _data_problems(data: Mapping[str, Any], window: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys of `[data]` that its set does not have, or lacks."""
    name = data.get("name")
    if name not in get_args(DatasetName):
        return
    is_file = name in ("csv", "parquet")
    if is_file and data.get("path") is None:
        yield f"data.path: expected the path of a file for data.name = {name!r}, received none"
    owners = {"split": ("ecg5000",), "path": ("csv", "parquet")}
    owners |= dict.fromkeys(("seed", "n_windows"), ("synthetic-ecg",))
    for key, sets in owners.items():
        if data.get(key) is not None and name not in sets:
            yield (
                f"data.{key}: expected only with data.name = {' or '.join(sets)}, "
                f"received {data[key]!r} with {name!r}"
            )
    shape = (window.get("steps", ECG_STEPS), window.get("features", 1))
    if not is_file and shape != (ECG_STEPS, 1):
        yield (
            f"window: expected steps = {ECG_STEPS} and features = 1 for data.name = {name!r}, "
            f"received {shape[0]!r} and {shape[1]!r}"
        )


def _range_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what assumes data in [0, 1] without scaling to it."""
    kind = tables["scaling"].get("kind")
    sigmoid = tables["network"].get("output_activation") == "sigmoid"
    if sigmoid and kind != "min-max":
        yield (
            "network.output_activation: a sigmoid gives values in [0, 1] only, expected "
            f"scaling.kind = 'min-max' with it, received {kind!r}"
        )
    for section, key in (("training", "loss"), ("threshold", "error")):
        if tables[section].get(key) != "bce":
            continue
        if kind != "min-max":
            yield (
                f"{section}.{key}: bce is defined on [0, 1] only, expected scaling.kind = "
                f"'min-max' with it, received {kind!r}"
            )
        if not sigmoid:
            yield (
                f"{section}.{key}: bce needs reconstructions in [0, 1], expected "
                "network.output_activation = 'sigmoid', received "
                f"{tables['network'].get('output_activation', 'linear')!r}"
            )


def _threshold_problems(threshold: Mapping[str, Any]) -> Iterator[str]:
    """Yield a method without its number, or with the other method's."""
    needs = {"sigma": "n_sigma", "quantile": "quantile"}
    method = threshold.get("method")
    if method not in needs:
        return
    for other, key in needs.items():
        value = threshold.get(key)
        if other == method and value is None:
            yield f"threshold.{key}: expected a number for method = {method!r}, received none"
        if other != method and value is not None:
            yield (
                f"threshold.{key}: expected only with method = {other!r}, "
                f"received {value!r} with {method!r}"
            )


def _severity_problems(alerting: Mapping[str, Any]) -> Iterator[str]:
    """Yield a severity table that leaves some anomalous scores without a name."""
    severity = alerting.get("severity", {"warning": 1.0})
    if not isinstance(severity, Mapping) or not severity:
        return
    levels = [level for level in severity.values() if isinstance(level, int | float)]
    if levels and min(levels) != 1.0:
        yield (
            "alerting.severity: expected the lowest level to be 1.0, where anomalous begins, "
            f"received {min(levels)!r}"
        )
    if len(set(levels)) < len(levels):
        yield f"alerting.severity: expected different levels, received {levels!r}"
