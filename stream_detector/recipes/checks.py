"""Values that are right one by one and do not fit together."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from stream_detector.recipes.sections import (
    GAP_INTERVALS_MIN,
    AlertingSection,
    DatasetName,
    Recipe,
    WindowSection,
)

ECG_STEPS = 140
"""Steps of a window in both built-in data sets of windows."""

IMAGE_ROWS = IMAGE_COLUMNS = 28
"""Pixels of an image in both built-in data sets of images, which are grey."""

_WINDOW_SETS = ("ecg5000", "synthetic-ecg")
_IMAGE_SETS = ("mnist", "fashion-mnist")
_N_FEATURES = {"mitdb": 2, "smd": 38, "nab": 1}
"""Data sets of samples, and the values of each sample."""

_UNIT_RANGE = ("min-max", "pixels")
"""Kinds of scaling to [0, 1]."""

_SETS = {"window": _WINDOW_SETS, "samples": tuple(_N_FEATURES), "image": _IMAGE_SETS}
"""Data sets by what a record of them is."""

_DATA_KEYS = {
    "split": ("ecg5000",),
    "path": ("csv", "parquet"),
    "n_windows": ("synthetic-ecg", *_IMAGE_SETS),
    "series": tuple(_N_FEATURES),
    "normal": _IMAGE_SETS,
    "anomalous": _IMAGE_SETS,
    "anomalous_from": _IMAGE_SETS,
}
"""Keys of `[data]` that only some sets have."""


def combination_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not fit together, also where single values are wrong as well.

    Works on the raw tables, so that one round of corrections is enough.
    """
    tables = {
        name: dict(values[name]) if isinstance(values.get(name), Mapping) else {}
        for name in Recipe.model_fields
    }
    yield from _data_problems(tables["data"], tables["window"])
    yield from _channel_problems(tables["window"])
    yield from _window_problems(tables["window"])
    yield from _range_problems(tables)
    yield from _threshold_problems(tables["threshold"])
    yield from _severity_problems(tables["alerting"])
    yield from _life_cycle_problems(tables["alerting"])


def _data_problems(data: Mapping[str, Any], window: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys of `[data]` that its set does not have, or lacks."""
    name = data.get("name")
    if not isinstance(name, str) or name not in get_args(DatasetName):
        return
    for key, sets in _DATA_KEYS.items():
        if key in ("path", "series") and name in sets and data.get(key) is None:
            what = "the path of a file" if key == "path" else "the name of a series"
            yield f"data.{key}: expected {what} for data.name = {name!r}, received none"
        if data.get(key) is not None and name not in sets:
            yield (
                f"data.{key}: expected only with data.name = {' or '.join(sets)}, "
                f"received {data[key]!r} with {name!r}"
            )
    yield from _draw_problems(data, name, window)
    path = data.get("path")
    is_parquet = isinstance(path, str) and path.lower().endswith(".parquet")
    if isinstance(path, str) and name in _DATA_KEYS["path"] and is_parquet != (name == "parquet"):
        expected = "a .parquet file" if name == "parquet" else "no .parquet file"
        other = "csv" if name == "parquet" else "parquet"
        yield (
            f"data.path: expected {expected} for data.name = {name!r}, received {path!r}; set "
            f"data.name = {other!r}, or give another file"
        )
    yield from _shape_problems(name, window)


def _draw_problems(data: Mapping[str, Any], name: str, window: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is said of a test part that is not drawn, or cannot be drawn so."""
    draws = [key for key in ("test_each", "anomalous_share") if data.get(key) is not None]
    if len(draws) > 1:
        yield (
            "data.test_each: expected only without data.anomalous_share, received "
            f"{data['test_each']!r} with {data['anomalous_share']!r}"
        )
    for key in draws:
        if window.get("record") == "samples":
            yield (
                f"data.{key}: expected only with windows that are whole records, received "
                f"{data[key]!r} with window.record = 'samples'"
            )
    if data.get("seed") is not None and name != "synthetic-ecg" and not draws:
        yield (
            "data.seed: expected only with data.name = synthetic-ecg, data.test_each or "
            f"data.anomalous_share, received {data['seed']!r} with {name!r}"
        )


def _shape_problems(name: str, window: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `[window]` says otherwise than the data set is."""
    shape = (window.get("steps", ECG_STEPS), window.get("features", 1))
    if name in _WINDOW_SETS and shape != (ECG_STEPS, 1):
        yield (
            f"window: expected steps = {ECG_STEPS} and features = 1 for data.name = {name!r}, "
            f"received {shape[0]!r} and {shape[1]!r}"
        )
    pixels = (window.get("steps"), window.get("features", 1), window.get("channels", 1))
    if name in _IMAGE_SETS and pixels != (IMAGE_ROWS, IMAGE_COLUMNS, 1):
        yield (
            f"window: expected steps = {IMAGE_ROWS}, features = {IMAGE_COLUMNS} and channels = 1 "
            f"for data.name = {name!r}, received {pixels[0]!r}, {pixels[1]!r} and {pixels[2]!r}"
        )
    n_features = _N_FEATURES.get(name)
    if n_features is not None and shape[1] != n_features:
        yield (
            f"window.features: expected {n_features} for data.name = {name!r}, "
            f"received {shape[1]!r}"
        )
    record = window.get("record")
    expected = next((kind for kind, sets in _SETS.items() if name in sets), record)
    if record in _SETS and record != expected:
        yield (
            f"window.record: expected {expected!r} for data.name = {name!r}, received {record!r}"
        )


def _channel_problems(window: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a row of pixels could not be parted into its channels."""
    record, features = window.get("record"), window.get("features", 1)
    if record in ("window", "samples") and "channels" in window:
        yield f"window.channels: expected only with record = 'image', received {record!r}"
    elif window.get("channels") == 3 and isinstance(features, int) and features % 3:  # noqa: PLR2004
        yield (
            f"window.features: expected columns times channels, a multiple of 3, received "
            f"{features!r}"
        )


def _window_problems(window: Mapping[str, Any]) -> Iterator[str]:
    """Yield how windows could not be cut from samples."""
    given = {key: value for key, value in window.items() if _is_number(value)}
    record, fields = window.get("record"), list(WindowSection.model_fields)
    if record in ("window", "image"):
        for key in fields[fields.index("stride") :]:
            if key in window:
                yield (
                    f"window.{key}: expected only with record = 'samples', received "
                    f"{window[key]!r} with {record!r}"
                )
    if window.get("record") != "samples":
        return
    interval = given.get("sample_interval_ms", 0)
    if interval < 1:
        yield (
            "window.sample_interval_ms: expected at least 1 for record = 'samples', received "
            f"{interval!r}; say how many milliseconds are between two samples"
        )
        return
    # Clocks jitter: a gap must be told from the time to the very next sample.
    shortest = GAP_INTERVALS_MIN * interval
    longest = max(given.get("steps", 1) * interval, shortest)
    gap = given.get("gap_ms_max", longest)
    if not shortest <= gap <= longest:
        yield (
            f"window.gap_ms_max: expected between {GAP_INTERVALS_MIN} times sample_interval_ms and "
            f"a whole window, {shortest!r} to {longest!r}, received {gap!r}"
        )
    ttl = given.get("key_ttl_ms", WindowSection.model_fields["key_ttl_ms"].default)
    gap_name = "gap_ms_max" if "gap_ms_max" in given else "the time of a window"
    for name, least in (
        (gap_name, gap),
        ("allowed_lateness_ms", given.get("allowed_lateness_ms", 0)),
    ):
        if ttl < least:
            yield f"window.key_ttl_ms: expected at least {name} = {least!r}, received {ttl!r}"


def _is_number(value: object) -> bool:
    """Return whether a value of a recipe is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what assumes data in [0, 1] without scaling to it."""
    kind = tables["scaling"].get("kind")
    sigmoid = tables["network"].get("output_activation") == "sigmoid"
    record = tables["window"].get("record")
    if kind == "pixels" and record != "image":
        yield (
            "scaling.kind: expected 'pixels' only with window.record = 'image', received it with "
            f"{record!r}"
        )
    if sigmoid and kind not in _UNIT_RANGE:
        yield (
            "network.output_activation: a sigmoid gives values in [0, 1] only, expected "
            f"scaling.kind = 'min-max' or 'pixels' with it, received {kind!r}"
        )
    if tables["training"].get("noise") and kind not in _UNIT_RANGE:
        yield (
            "training.noise: noise is clipped to [0, 1], expected scaling.kind = 'min-max' or "
            f"'pixels' with it, received {kind!r}"
        )
    for section, key in (("training", "loss"), ("threshold", "error")):
        if tables[section].get(key) != "bce":
            continue
        if kind not in _UNIT_RANGE:
            yield (
                f"{section}.{key}: bce is defined on [0, 1] only, expected scaling.kind = "
                f"'min-max' or 'pixels' with it, received {kind!r}"
            )
        if not sigmoid:
            yield (
                f"{section}.{key}: bce needs reconstructions in [0, 1], expected "
                "network.output_activation = 'sigmoid', received "
                f"{tables['network'].get('output_activation', 'linear')!r}"
            )


def _threshold_problems(threshold: Mapping[str, Any]) -> Iterator[str]:
    """Yield a method without its number, or with another method's."""
    needs = {"sigma": "n_sigma", "quantile": "quantile", "log-mad": "n_mad"}
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


def _life_cycle_problems(alerting: Mapping[str, Any]) -> Iterator[str]:
    """Yield numbers with which an alert could never open, or never close in calm."""
    fields = AlertingSection.model_fields
    for smaller, larger in (("open_after", "open_within"), ("close_after_ms", "open_ms_max")):
        low = alerting.get(smaller, fields[smaller].default)
        high = alerting.get(larger, fields[larger].default)
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield f"alerting.{smaller}: expected at most {larger} = {high}, received {low}"
