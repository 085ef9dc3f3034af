"""Write a recipe as TOML in which every key says why it has its value."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from stream_detector.inspection.plan import Chosen, Plan
from stream_detector.inspection.roles import Layout
from stream_detector.recipes.datasets import is_parquet
from stream_detector.recipes.sections import Recipe
from stream_detector.text import printable, shorten

_LINE = 100
_BATCHES, _EPOCHS_MAX = 1_500, 40
"""Steps of the optimizer that a network of this size wants at least, in at most so many epochs: a
few hundred rows take as long a time for each epoch as some thousand."""


def recipe_name(stem: str) -> str:
    """Return the name of a bundle for a file.

    Examples
    --------
    >>> recipe_name("Pump Data (2026)"), recipe_name("日本")
    ('pump-data-2026', 'telemetry')
    """
    plain = re.sub(r"[^a-z0-9._]+", "-", stem.lower()).strip("-._")
    return plain[:100] or "telemetry"


def compose(
    name: str, path: str | None, layout: Layout, plan: Plan, base: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a recipe, each that was chosen with its reason.

    Parameters
    ----------
    name
        Name of the bundle.
    path
        The file, as it will be found from the working directory; None for data in memory.
    layout, plan
        What the file holds, and what follows from it.
    base
        The recipe that everything else is taken from, as TOML has it.

    Returns
    -------
    Tables by name; a value is a `Chosen` where it was chosen here.
    """
    values: dict[str, Any] = {
        "name": name,
        "description": "Fitted from Python"
        if path is None
        else f"Written by stream-detector init from {printable(path)[:200]}",
        "data": _data(path, layout),
        "window": {**plan.window, "missing": Chosen("interpolate", "between both neighbours")},
    }
    for table in Recipe.model_fields:
        if table in base and table not in ("name", "description", "data", "window", "published"):
            values[table] = base[table]
    if len(layout.features) == 1:  # it has no relation to others
        values["check"] = [each for each in base["check"] if each["kind"] != "relation"]
    # Times of alerts are those of the data at hand.
    alerting = base.get("alerting", {}).items()
    values["alerting"] = {key: value for key, value in alerting if not key.endswith("_ms")}
    for table, chosen in (
        ("network", network_size(plan.n_steps * len(layout.features), base.get("network", {}))),
        ("training", _training(plan, base.get("training", {}))),
        ("alerting", plan.alerting),
    ):
        values[table] = {**values.get(table, {}), **chosen}
    return values


def plain(values: Any) -> Any:
    """Return the values of a recipe without their reasons, as `parse_recipe` takes them."""
    if isinstance(values, Chosen):
        return values.value
    if isinstance(values, Mapping):
        return {name: plain(each) for name, each in values.items()}
    return [plain(each) for each in values] if isinstance(values, list) else values


def to_text(values: Mapping[str, Any], head: Sequence[str]) -> str:
    """Return a recipe as TOML, each key below its reason.

    Parameters
    ----------
    values
        From `compose`.
    head
        Lines of the comment at the top.
    """
    lines = [*_comment(" ".join(head))]
    for name, value in values.items():
        if not isinstance(value, Mapping | list):
            lines.append(f"{name} = {_toml(value)}")
    for name, value in values.items():
        tables = value if isinstance(value, list) else [value]
        for table in tables:
            if isinstance(table, Mapping):
                lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
                lines += _table(name, table)
    return "\n".join(lines) + "\n"


def _table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one table."""
    for key, value in table.items():
        if isinstance(value, Chosen):
            yield from _comment(value.why)
            yield f"{key} = {_toml(value.value)}"
        else:
            why = _description(name, key, value)
            yield from _comment(why) if why else ()
            yield f"{key} = {_toml(value)}"


def _comment(text: str) -> Iterator[str]:
    """Yield lines of a comment."""
    line = "#"
    for word in shorten(printable(text), 2_000).split(" "):
        if len(line) + 1 + len(word) > _LINE and line != "#":
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml(str(name))} = {_toml(each)}" for name, each in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def _description(table: str, key: str, value: Any) -> str:
    """Return what the description of a key of a recipe says of a value, or its beginning."""
    field = Recipe.model_fields.get(table)
    for each in _tables(field.annotation) if field is not None else ():
        inner = each.model_fields.get(key)
        if inner is not None and inner.description:
            clauses = re.split(r"; |: ", inner.description)
            return next((part for part in clauses if part.startswith(str(value))), clauses[0])
    return ""


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the classes of tables in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _tables(each)


def _data(path: str | None, layout: Layout) -> dict[str, Chosen]:
    """Return the table of the file and its columns."""
    columns = layout.columns

    def why(name: str | None, otherwise: str) -> str:
        return layout.why[name][1] if name is not None and name in layout.why else otherwise

    n_keys = len(layout.keys)
    left = [f"{name} {why}" for name, (role, why) in layout.why.items() if role == "left out"]
    rest = f"; left out: {'; '.join(left)}" if left else ""
    table = data_source(path) | {
        "key": Chosen(columns.key or "", why(columns.key, "no key: all rows are one series")),
        "time": Chosen(columns.time, why(columns.time, "time of a sample")),
        "time_format": Chosen(columns.time_format, "unit or form of the time"),
        "label": Chosen(columns.label or "", why(columns.label, "no labels: all rows are normal")),
        "features": Chosen(list(columns.features), f"columns of numbers that vary{rest}"),
    }
    if columns.key:
        shown = ", ".join(layout.keys[:3]) + (", .." if n_keys > 3 else "")  # noqa: PLR2004
        table["key"] = Chosen(columns.key, f"{why(columns.key, 'key')}: {shown}")
    if columns.feature_name is not None:
        one = "a row has one value; the features of a sample meet by key and time"
        table["feature_name"] = Chosen(columns.feature_name, one)
        table["feature_value"] = Chosen(columns.feature_value, "the value of that feature")
    if columns.label:
        why_all = "all normal rows are trained on; 0.2 keeps the last fifth for evaluate again"
        table["test_share"] = Chosen(0.0, why_all)
    if columns.normal_label is not None:
        normal = Chosen(columns.normal_label, "the label of a normal row; all others are anomalous")
        table["normal_label"] = normal
    return table


def data_source(path: str | None) -> dict[str, Chosen]:
    """Return the keys of `[data]` that say where the data are; None is data in memory."""
    if path is None:
        return {"name": Chosen("memory", "given by a program, and not kept")}
    return {
        "name": Chosen(file_kind(path), "kind of the file"),
        "path": Chosen(path, "relative to the working directory"),
    }


def file_kind(path: str) -> str:
    """Return the name of the data set that a file is, from its name."""
    return "parquet" if is_parquet(Path(path)) else "csv"


def network_size(n_values: int, base: Mapping[str, Any]) -> dict[str, Chosen]:
    """Return the size of the network, from that of a window.

    Parameters
    ----------
    n_values
        Values of a window.
    base
        The table that the rest is taken from; only a dense network is sized.
    """
    if base.get("kind") != "dense" or "units" not in base:
        return {}
    hidden = _power_of_two(n_values / 3, 16, 256)
    latent = min(_power_of_two(n_values / 12, 4, 64), max(n_values // 2, 1))
    why = f"for windows of {n_values} values: the middle must be too small to copy them"
    return {"units": Chosen([hidden, latent], why)}


def _training(plan: Plan, base: Mapping[str, Any]) -> dict[str, Chosen]:
    """Return epochs and batch size, from the number of windows."""
    n_windows = plan.n_windows
    batch_size = _power_of_two(n_windows / 50, 16, int(base.get("batch_size", 256)))
    n_batches = max(n_windows // batch_size, 1)
    epochs = max(int(base.get("epochs", 1)), min(_EPOCHS_MAX, math.ceil(_BATCHES / n_batches)))
    return {
        "epochs": Chosen(epochs, f"about {epochs * n_batches:,} steps of the optimizer at most"),
        "batch_size": Chosen(batch_size, f"of about {n_windows:,} windows"),
    }


def _power_of_two(number: float, least: int, most: int) -> int:
    """Return the power of two nearest to a number, within bounds.

    Examples
    --------
    >>> _power_of_two(60, 16, 256), _power_of_two(1, 16, 256)
    (64, 16)
    """
    nearest = 2 ** round(math.log2(max(number, 1.0)))
    return int(min(max(nearest, least), most))
