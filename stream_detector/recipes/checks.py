"""Values of a recipe that are valid one by one and do not fit together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from stream_detector.core.features import list_names
from stream_detector.core.state.warm_up import N_VALUES_MIN
from stream_detector.recipes.alerting_checks import alerting_problems
from stream_detector.recipes.datasets import (
    DATASETS,
    PARQUET_SUFFIXES,
    REQUIRED_KEYS,
    DatasetEntry,
    RecordKind,
    is_parquet,
    names_with,
)
from stream_detector.recipes.input import input_problems
from stream_detector.recipes.peak_checks import key_scale_problems, peak_problems, rhythm_problems
from stream_detector.recipes.scaling import FEATURE_KEYS
from stream_detector.recipes.scorers import SHORT_STEPS
from stream_detector.recipes.section import is_number
from stream_detector.recipes.sections import (
    GAP_INTERVALS_MIN,
    WINDOW_VALUES_MAX,
    DataSection,
    Recipe,
    WindowSection,
)

_UNIT_RANGE = ("min-max", "pixels")
"""Kinds of scaling to [0, 1]."""


def combination_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the combinations of values that do not fit, even if single values are wrong as well.

    Works on the raw tables, so that one message lists all problems.
    """
    tables = {
        name: dict(values[name]) if isinstance(values.get(name), Mapping) else {}
        for name in Recipe.model_fields
    }
    yield from _data_problems(tables["data"], tables["window"])
    yield from _size_problems(tables["window"])
    yield from _channel_problems(tables["window"])
    yield from _window_problems(tables["window"])
    yield from peak_problems(tables["window"], values.get("peaks"))
    yield from key_scale_problems(tables["window"], tables["scaling"])
    yield from _scaling_problems(tables["scaling"], tables["window"].get("record"))
    yield from _counting_problems(tables, is_round_peaks="peaks" in values)
    yield from _range_problems(tables)
    yield from _fitting_problems(tables)
    yield from _stream_problems(tables)
    yield from _calibration_problems(tables)
    yield from _check_problems(tables, values.get("check"))
    yield from rhythm_problems(tables, values.get("check"))
    yield from alerting_problems(tables["alerting"], tables["window"])
    yield from input_problems(tables["input"], tables["window"].get("record"))


def _data_problems(data: Mapping[str, Any], window: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys of `[data]` that its data set does not take, or requires."""
    name = data.get("name")
    if not isinstance(name, str) or name not in DATASETS:
        return
    entry = DATASETS[name]
    for key in DataSection.model_fields:
        value, takers = data.get(key), names_with(key)
        if value is None and key in entry.required:
            expected = REQUIRED_KEYS[key]
            yield f"data.{key}: expected {expected} for data.name = {name!r}, received none"
        # Any set whose test part is drawn takes a seed: `_draw_problems` checks it.
        if value is not None and takers and name not in takers and key != "seed":
            yield (
                f"data.{key}: expected only with data.name = {' or '.join(takers)}, "
                f"received {value!r} with {name!r}"
            )
    yield from _draw_problems(data, name, window)
    if data.get("leave_out") is not None and window.get("record") != "samples":
        yield (
            "data.leave_out: expected only with window.record = 'samples', received it with "
            f"{window.get('record')!r}"
        )
    names, values = data.get("feature_name"), data.get("feature_value")
    if (names is None) != (values is None):
        lacking = "feature_value" if values is None else "feature_name"
        yield f"data.{lacking}: expected the name of a column beside the other, received none"
    if names is not None and window.get("record") != "samples":
        yield (
            "data.feature_name: expected only with window.record = 'samples', received it with "
            f"{window.get('record')!r}"
        )
    path = data.get("path")
    is_other = isinstance(path, str) and is_parquet(Path(path)) != (name == "parquet")
    is_other &= bool(Path(str(path)).suffix) or name != "parquet"  # a folder may be called anything
    if is_other and "path" in entry.keys:
        kind = " or ".join(PARQUET_SUFFIXES)
        expected = f"a {kind} file" if name == "parquet" else f"no {kind} file"
        other = "csv" if name == "parquet" else "parquet"
        yield (
            f"data.path: expected {expected} for data.name = {name!r}, received {path!r}; set "
            f"data.name = {other!r}, or give another file"
        )
    yield from _shape_problems(name, entry, window)


def _draw_problems(data: Mapping[str, Any], name: str, window: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys that draw a test part twice, from samples, or not at all."""
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
    seeded = names_with("seed")
    if data.get("seed") is not None and name not in seeded and not draws:
        yield (
            f"data.seed: expected only with data.name = {' or '.join(seeded)}, data.test_each or "
            f"data.anomalous_share, received {data['seed']!r} with {name!r}"
        )


def _shape_problems(name: str, entry: DatasetEntry, window: Mapping[str, Any]) -> Iterator[str]:
    """Yield values of `[window]` that differ from the shape or the records of the data set."""
    for key, size in entry.window.items():
        field = WindowSection.model_fields[key]
        received = window.get(key, size if field.is_required() else field.default)
        if received != size:
            yield f"window.{key}: expected {size} for data.name = {name!r}, received {received!r}"
    record = window.get("record")
    kind, *others = entry.loaders
    if record in get_args(RecordKind) and not others and record != kind:
        yield f"window.record: expected {kind!r} for data.name = {name!r}, received {record!r}"


def _size_problems(window: Mapping[str, Any]) -> Iterator[str]:
    """Yield a window of too many values."""
    steps, features = window.get("steps"), window.get("features", 1)
    if is_number(steps) and is_number(features) and steps * features > WINDOW_VALUES_MAX:
        yield (
            f"window.steps: expected at most {WINDOW_VALUES_MAX} values in a window, received "
            f"{steps} steps x {features} features"
        )


def _channel_problems(window: Mapping[str, Any]) -> Iterator[str]:
    """Yield channels without an image, or a row of pixels that is not a whole number of them."""
    record, features = window.get("record"), window.get("features", 1)
    if record in ("window", "samples") and "channels" in window:
        yield f"window.channels: expected only with record = 'image', received {record!r}"
    elif window.get("channels") == 3 and isinstance(features, int) and features % 3:  # noqa: PLR2004
        yield (
            f"window.features: expected columns times channels, a multiple of 3, received "
            f"{features!r}"
        )


def _window_problems(window: Mapping[str, Any]) -> Iterator[str]:
    """Yield values with which no windows could be cut from samples."""
    given = {key: value for key, value in window.items() if is_number(value)}
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
            f"{interval!r}; set the number of milliseconds between two samples"
        )
        return
    # Sample intervals jitter: an interval that is a little too long is not a gap.
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


def _scaling_problems(scaling: Mapping[str, Any], record: object) -> Iterator[str]:
    """Yield scaling that the records cannot have."""
    if scaling.get("per_key") is True and record in ("window", "image"):
        yield (
            "scaling.per_key: expected only with window.record = 'samples', where a key is a "
            f"series, received true with {record!r}"
        )
    for key in FEATURE_KEYS:
        if scaling.get(key) and record == "image":
            yield f"scaling.{key}: expected only where records are no images, received features"
    warm_up = scaling.get("warm_up_samples", 0)
    if is_number(warm_up) and 0 < warm_up < N_VALUES_MIN:
        yield (
            f"scaling.warm_up_samples: expected 0 or at least {N_VALUES_MIN}, from which a "
            f"deviation can be told, received {warm_up}"
        )
    if scaling.get("kind") == "pixels" and record != "image":
        yield (
            "scaling.kind: expected 'pixels' only with window.record = 'image', received it with "
            f"{record!r}"
        )


def _counting_problems(
    tables: Mapping[str, Mapping[str, Any]], *, is_round_peaks: bool
) -> Iterator[str]:
    """Yield features that cannot be logarithmic."""
    scaling, logarithmic = tables["scaling"], _names(tables["scaling"], "logarithmic")
    if scaling.get("logarithmic") == "auto":
        is_streamed = "n_windows_in_memory" in tables["data"]
        if tables["window"].get("record") != "samples" or is_streamed:
            yield (
                "scaling.logarithmic: expected names of features, received 'auto', which is for "
                "samples that are in memory: window.record = 'samples' without "
                "data.n_windows_in_memory"
            )
        logarithmic = ["auto"]
    relative = {*_names(scaling, "relative"), *_names(scaling, "counters")}
    twice = [name for name in logarithmic if name in relative]
    if twice:
        yield (
            "scaling.logarithmic: expected features that are neither relative nor counters, "
            f"received {list_names(twice)}"
        )
    if logarithmic and is_round_peaks:
        yield (
            "scaling.logarithmic: expected none with [peaks], whose windows hold a band around "
            f"zero, received {list_names(logarithmic)}"
        )


def _names(scaling: Mapping[str, Any], key: str) -> list[str]:
    """Return the names of features that a key of the table has; none where it has no list."""
    value = scaling.get(key)
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _range_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield values that need data in [0, 1] where the scaling does not give it."""
    kind = tables["scaling"].get("kind")
    sigmoid = tables["network"].get("output_activation") == "sigmoid"
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


def _fitting_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what an optimizer needs to know, and more principal components than there are."""
    network, window = tables["network"], tables["window"]
    if network.get("kind") != "pca":
        for key in ("epochs", "batch_size"):
            if key not in tables["training"]:
                yield f"training.{key}: expected a value, received none"
            elif tables["training"][key] == 0:
                yield f"training.{key}: expected greater than or equal to 1, received 0"
        yield from _device_problems(network, tables["training"])
        return
    components = network.get("components")
    steps, features = window.get("steps"), window.get("features", 1)
    if not all(map(is_number, (components, steps, features))):
        return
    if components > steps * features:
        yield (
            f"network.components: expected at most the {steps * features} values of a window, "
            f"received {components}"
        )


def _device_problems(network: Mapping[str, Any], training: Mapping[str, Any]) -> Iterator[str]:
    """Yield devices that cannot share the windows of a batch."""
    devices, batch_size = training.get("devices", 1), training.get("batch_size")
    if devices != 1 and network.get("kind") == "adversarial":
        yield (
            "training.devices: expected only with a network that has one loss, received "
            f"{devices!r} with network.kind = 'adversarial'; set training.devices = 1"
        )
    if not (is_number(devices) and is_number(batch_size)) or devices < 1 or batch_size < 1:
        return
    if batch_size % devices:
        yield (
            f"training.batch_size: expected a multiple of training.devices = {devices}, which "
            f"share it evenly, received {batch_size}"
        )


def _stream_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what needs all windows in memory, where only some are held."""
    n_windows, training = tables["data"].get("n_windows_in_memory"), tables["training"]
    if n_windows is None:
        return
    record, kind = tables["window"].get("record"), tables["network"].get("kind")
    if record not in ("window", "samples"):
        yield (
            "data.n_windows_in_memory: expected only with window.record = 'window' or 'samples', "
            f"received it with {record!r}"
        )
    if training.get("trim"):
        yield (
            "training.trim: expected only with all windows in memory, received true with "
            f"data.n_windows_in_memory = {n_windows!r}; label what is not normal"
        )
    if kind == "adversarial":
        yield (
            "data.n_windows_in_memory: expected only with a network that has one loss, received "
            f"{n_windows!r} with network.kind = 'adversarial'"
        )
    devices = training.get("devices", 1)
    if devices != 1:
        yield (
            "training.devices: expected 1 with data.n_windows_in_memory, since windows that are "
            f"read while a network is fitted go to one device, received {devices!r}"
        )


def _calibration_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what needs times, or held-out windows, where there are none."""
    threshold, training = tables["threshold"], tables["training"]
    record = tables["window"].get("record")
    if threshold.get("method") == "false_alarms_per_day" and record in ("window", "image"):
        yield (
            "threshold.method: expected 'false_alarms_per_day' only with window.record = "
            f"'samples', received it with {record!r}; set 'false_alarm_share', for whole windows "
            "do not say how many there are a day"
        )
    if threshold.get("method") == "f-beta" and tables["scorer"].get("kind") == "checks":
        yield (
            "threshold.method: expected a method that needs no labels with scorer.kind = 'checks', "
            "received 'f-beta'; set 'false_alarms_per_day' or 'false_alarm_share'"
        )
    calibrate_on = threshold.get("calibrate_on", "held-out")
    if "folds" in threshold and calibrate_on != "cross-fit":
        yield (
            "threshold.folds: expected only with calibrate_on = 'cross-fit', received "
            f"{threshold['folds']!r} with {calibrate_on!r}"
        )
    if training.get("patience") is None:
        return
    if calibrate_on == "train":
        yield (
            "training.patience: expected only with held-out windows to stop by, received "
            f"{training['patience']!r} with threshold.calibrate_on = 'train'"
        )
    if tables["network"].get("kind") == "adversarial":
        yield (
            "training.patience: expected only with a network that has one loss, received "
            f"{training['patience']!r} with network.kind = 'adversarial'; set training.epochs"
        )


def _group_problems(checks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield checks whose groups of nearest neighbours do not fit their other keys."""
    for number, each in enumerate(checks):
        axes, steps = each.get("axes"), each.get("neighbour_steps")
        n_groups = len(steps) if isinstance(steps, Sequence) else "no neighbour_steps"
        if each.get("error") is False and n_groups == 0:
            yield f"check.{number}.neighbour_steps: expected some with error = false, received []"
        if isinstance(axes, Sequence) and len(axes) not in (1, n_groups):
            yield (
                f"check.{number}.axes: expected one number, or one for each of neighbour_steps, "
                f"received {axes} with {n_groups}"
            )


def _check_problems(tables: Mapping[str, Mapping[str, Any]], checks: object) -> Iterator[str]:
    """Yield checks without a scorer that takes them, or that do not suit the windows."""
    scorer, window = tables["scorer"], tables["window"]
    given = checks if isinstance(checks, Sequence) else []
    given = [each for each in given if isinstance(each, Mapping)]
    kinds = [each.get("kind") for each in given]
    yield from _group_problems(given)
    kind = scorer.get("kind", "reconstruction")
    if kind != "checks" and kinds:
        yield f"check: expected only with scorer.kind = 'checks', received {kinds} with {kind!r}"
    if kind == "checks" and not kinds:
        yield "check: expected a table [[check]] with scorer.kind = 'checks', received none"
    if len({repr(each) for each in kinds}) < len(kinds):
        yield f"check: expected each kind once, received {kinds}"
    if kind == "checks" and window.get("record") == "image" and set(kinds) - {"shape"}:
        yield f"check: expected only 'shape' with record = 'image', received {kinds}"
    calibrate_on = tables["threshold"].get("calibrate_on", "held-out")
    if kind == "checks" and calibrate_on != "cross-fit":
        yield (
            "threshold.calibrate_on: expected 'cross-fit' with scorer.kind = 'checks', received "
            f"{calibrate_on!r}"
        )
    steps = window.get("steps")
    short = scorer.get("short_steps", SHORT_STEPS if window.get("record") == "samples" else steps)
    if "shift" in kinds and is_number(steps) and is_number(short) and steps < 3 * short:
        yield (
            "window.steps: expected at least 3 times scorer.short_steps with the check 'shift', "
            f"received {steps} with {short}"
        )
    if kind == "checks" and window.get("steps") == 1:
        yield "window.steps: expected at least 2 with scorer.kind = 'checks', received 1"
