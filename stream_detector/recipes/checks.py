"""Values that are right one by one and do not fit together."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from stream_detector.recipes.sections import DatasetName, Recipe

ECG_STEPS = 140
"""Steps of a window in both built-in data sets."""


def combination_problems(values: Mapping[str, Any]) -> Iterator[str]:
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
