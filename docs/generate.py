"""Write the parts of the documentation that the code already says.

`python docs/generate.py` writes what stands between the markers on the pages of docs/reference, the
alert's JSON Schema and an example alert, and the rules and the dashboard in deploy/. With `--check`
it writes nothing and exits 1 if any of them is stale. Either way it fails if something lacks a
description, or a page that is written by hand leaves out something that the code has.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson
import typer
from alert_example import PARTS, example, schema
from field_tables import (
    Row,
    as_table,
    first_line,
    meaning_of,
    one_of,
    recipe_tables,
    route_tables,
)
from grafana_dashboard import dashboard_file
from log_calls import log_calls
from metric_table import metric_table
from prometheus_rules import rows as rule_rows
from prometheus_rules import rules_file

import stream_detector
from stream_detector import errors
from stream_detector.bundle.manifest import Manifest
from stream_detector.cli import app
from stream_detector.core.codec.formats import CONTENT_TYPES, FORMATS
from stream_detector.log_events import LOG_EVENTS
from stream_detector.settings import (
    ENVIRONMENT_PREFIX,
    ConnectionSettings,
    DetectSettings,
    RouteSettings,
)
from stream_detector.telemetry import Metrics, RouteMetrics

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
SCHEMA = ROOT / "docs" / "alert.schema.json"
EXAMPLE = ROOT / "docs" / "alert.example.json"
RULES = ROOT / "deploy" / "prometheus" / "stream-detector.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "stream-detector.json"

_BLOCK = re.compile(
    r"^<!-- generated: (?P<name>.+) -->\n.*?^<!-- end of generated: (?P=name) -->\n",
    re.MULTILINE | re.DOTALL,
)


def main() -> int:
    """Write what is stale, or with `--check` only say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    is_check = parser.parse_args().check
    found = contents()
    stale = [
        path
        for path, text in found.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    if is_check:
        if stale:
            sys.stderr.write("stale: run python docs/generate.py\n")
        return int(bool(stale))
    for path in stale:
        path.write_text(found[path], encoding="utf-8")
    return 0


def contents() -> dict[Path, str]:
    """Return what each file must hold."""
    texts = blocks()
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md"))}
    shown = [match["name"] for text in pages.values() for match in _BLOCK.finditer(text)]
    if sorted(shown) != sorted(texts):
        message = f"docs/reference: expected each of {sorted(texts)} once, found {sorted(shown)}"
        raise SystemExit(message)
    _require_mentions(pages)
    written = {
        path: _BLOCK.sub(lambda match: _marked(match["name"], texts), text)
        for path, text in pages.items()
    }
    return {
        **written,
        SCHEMA: json.dumps(schema(), indent=2) + "\n",
        EXAMPLE: _pretty(example().value) + "\n",
        RULES: rules_file(),
        DASHBOARD: dashboard_file(),
    }


def blocks() -> dict[str, str]:
    """Return the generated parts by name."""
    found = {
        "commands": "\n\n".join(_commands()),
        "settings": as_table(
            ("Setting", "Flag", "Environment", "Default", "Meaning"),
            _settings(DetectSettings, "detect"),
        ),
        "route settings": as_table(
            ("Setting", "Flag", "Environment", "Default", "Meaning"),
            _settings(RouteSettings, "route", leaving_out=ConnectionSettings),
        ),
        "routes": "\n\n".join(route_tables()),
        "recipe": "\n\n".join(recipe_tables()),
        "metrics": as_table(("Metric", "Type", "Labels", "Meaning"), _metrics(Metrics)),
        "route metrics": as_table(("Metric", "Type", "Labels", "Meaning"), _metrics(RouteMetrics)),
        "rules": as_table(("Rule", "Fires while", "For", "Severity", "Meaning"), rule_rows()),
        "log events": "\n\n".join(_log_events()),
        "exit codes": as_table(("Code", "Raised as", "Meaning"), _exit_codes()),
        "error tree": _error_tree(),
        "record formats": as_table(
            ("`content-type` header", "`--format` of `replay`", "`content_type` setting", "Holds"),
            _record_formats(),
        ),
        "record errors": as_table(("Class", "Meaning"), _record_errors()),
        "alert fields": as_table(("Field", "Type", "Meaning"), _alert_fields()),
        "alert example": f"```json\n{_pretty(example().value)}\n```",
        "alert headers": as_table(("Header", "Example"), _alert_headers()),
        "python names": "\n\n".join(_names()),
    }
    return {name: re.sub(r" +$", "", text, flags=re.MULTILINE) for name, text in found.items()}


def _marked(name: str, texts: dict[str, str]) -> str:
    """Return a block between its markers."""
    return f"<!-- generated: {name} -->\n{texts[name]}\n<!-- end of generated: {name} -->\n"


def _require_mentions(pages: dict[Path, str]) -> None:
    """Fail where a page that is written by hand leaves out what the code has."""
    known = {
        "record-formats.md": [each.decode() for each in CONTENT_TYPES.values()],
        "bundle.md": list(Manifest.model_fields),
        "settings.md": [
            name
            for name in ConnectionSettings.model_fields
            if not name.startswith(("security_", "ssl_", "sasl_", "schema_registry_"))
        ],
    }
    for name, words in known.items():
        by_hand = _BLOCK.sub("", pages[REFERENCE / name])
        missing = [word for word in words if f"`{word}`" not in by_hand]
        if missing:
            message = f"docs/reference/{name} says nothing of {', '.join(missing)}"
            raise SystemExit(message)


def _names() -> Iterator[str]:
    """Yield what mkdocstrings is to show: each public name of the package."""
    for name in stream_detector.__all__:
        home = stream_detector._HOMES[name]  # noqa: SLF001  (the name itself would load Keras)
        path = f"stream_detector.{home}.{name}"
        if (ROOT / (path.replace(".", "/") + ".py")).exists():  # a module of the same name
            path += f".{name}"
        yield f"::: {path}\n    options:\n      heading: stream_detector.{name}"


def _commands() -> Iterator[str]:
    """Yield a section for the program and one for each command."""
    root: Any = typer.main.get_command(app)
    yield _command("stream-detector", root, "COMMAND ...")
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        for part, each in (inner or {"": command}).items():
            yield _command(f"stream-detector {name} {part}".rstrip(), each, "")


def _command(name: str, command: Any, rest: str) -> str:
    """Return a section with what `--help` of a command says."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    words = [name, "[OPTIONS]", *(each.name.upper() for each in arguments), rest]
    title = name.removeprefix("stream-detector ")
    rows = [_parameter_row(each, command.callback) for each in (*arguments, *options)]
    parts = [
        f"## `{title}`" if title == name else f"### `{title}`",
        f"`{' '.join(words).rstrip()}`",
        re.sub(r"(?<!\n)\n(?!\n)", " ", command.help.strip()),
        as_table(("Argument or option", "Default", "Meaning"), rows),
        (command.epilog or "").strip(),
    ]
    return "\n\n".join(part for part in parts if part)


def _parameter_row(parameter: Any, callback: Any) -> Row:
    """Return the row of one argument or option."""
    is_argument = parameter.param_type_name == "argument"
    kind = get_type_hints(callback).get(parameter.name)
    kinds = [kind, *get_args(kind)]
    values = [value for each in kinds if get_origin(each) is Literal for value in get_args(each)]
    name = f"`{parameter.name.upper()}`" if is_argument else f"`{max(parameter.opts, key=len)}`"
    if not parameter.help:
        message = f"{parameter.opts}: expected a help text, found none"
        raise SystemExit(message)
    meaning = parameter.help.rstrip(".")
    is_shown = parameter.default not in (None, False, True, ..., [], ())
    default = "required" if parameter.required else f"`{parameter.default}`" if is_shown else ""
    return name, default, f"{meaning}{one_of(values)}"


def _settings(
    section: type[ConnectionSettings],
    command: str,
    leaving_out: type[ConnectionSettings] | None = None,
) -> Iterator[Row]:
    """Yield a row for each setting of a command, but for those that another section has."""
    root: Any = typer.main.get_command(app)
    flags = {option.name: option.opts[0] for option in root.commands[command].params}
    known = set() if leaving_out is None else set(leaving_out.model_fields)
    for name, field in section.model_fields.items():
        if name in known:
            continue
        flag = flags.get(name) or flags.get(name.removesuffix("_s"))
        default = "" if field.default is None else f"`{str(field.default).lower()}`"
        if isinstance(field.default, str):
            default = f"`{field.default}`"
        yield (
            f"`{name}`",
            f"`{flag}`" if flag else "",
            f"`{ENVIRONMENT_PREFIX}{name.upper()}`",
            default,
            meaning_of(name, field),
        )


def _metrics(command: type[Metrics | RouteMetrics]) -> Iterator[Row]:
    """Yield a row for each metric of a command."""
    for each in metric_table(command).values():
        labels = ", ".join(f"`{label}`" for label in each.labels)
        yield f"`{each.name}`", each.kind, labels, each.meaning


def _log_events() -> Iterator[str]:
    """Yield a section for each log event."""
    calls = log_calls(ROOT / "stream_detector")
    if set(calls) != set(LOG_EVENTS):
        message = f"LOG_EVENTS: expected {sorted(calls)}, found {sorted(LOG_EVENTS)}"
        raise SystemExit(message)
    for name, event in LOG_EVENTS.items():
        written = calls[name].fields | (calls[name].others & set(event.fields))
        if written != set(event.fields):
            message = (
                f"LOG_EVENTS[{name!r}]: expected {sorted(written)}, found {list(event.fields)}"
            )
            raise SystemExit(message)
        yield f"## `{name}`"
        yield f"{calls[name].level}. {event.meaning}"
        rows = [(f"`{field}`", meaning) for field, meaning in event.fields.items()]
        yield as_table(("Field", "Meaning"), rows)


def _exit_codes() -> Iterator[Row]:
    """Yield a row for each exit code, from the errors that carry one of their own."""
    yield "0", "", "Done, stopped by a first signal, or nobody reads the output any more."
    yield "1", "", "Something unexpected; `stream-detector --debug` shows the traceback."
    found = errors.StreamDetectorError.__subclasses__()
    coded = [error for error in found if "exit_code" in vars(error)]
    for error in sorted(coded, key=lambda error: error.exit_code):
        yield str(error.exit_code), f"`{error.__name__}`", first_line(error)
    yield "130", "", "Ended by Ctrl-C, except for `detect`, `route`, `alerts` and `broker`."


def _error_tree() -> str:
    """Return the drawing of all errors in the docstring of their module."""
    drawing = (errors.__doc__ or "").partition("::\n")[2].partition("\nA message")[0]
    return f"```text\n{textwrap.dedent(drawing).strip()}\n```"


def _record_formats() -> Iterator[Row]:
    """Yield a row for each format that a record's header can name."""
    for each in FORMATS:
        shapes = {
            "windows": each.holds_windows,
            "samples": each.holds_samples,
            "images": each.holds_images,
            "with `[input]`": each.holds_documents,
        }
        held = ", ".join(shape for shape, is_held in shapes.items() if is_held)
        for name, media_type in each.media_types.items():
            written = f"`{name}`" if name in CONTENT_TYPES else ""
            yield f"`{media_type.decode()}`", written, f"`{each.name}`", held


def _record_errors() -> Iterator[Row]:
    """Yield a row for each reason why a record is a dead letter."""
    for error in errors.DataError.__subclasses__():
        yield f"`{error.__name__}`", first_line(error)


def _alert_fields() -> Iterator[Row]:
    """Yield a row for each field of an alert, those within its objects included."""
    yield from _fields_of(schema()["properties"], "")


def _fields_of(properties: dict[str, Any], prefix: str) -> Iterator[Row]:
    """Yield a row for each field of an object, and after it those of the objects in it."""
    definitions = schema()["$defs"]
    for name, field in properties.items():
        yield f"`{prefix}{name}`", _kind(field, definitions), field["description"]
        inner = [field, *field.get("anyOf", ()), field.get("items", {})]
        for each in inner:
            part = each.get("$ref", "").rsplit("/", 1)[-1]
            if part in {known.__name__ for known in PARTS}:
                dots = "[]." if each is field.get("items") else "."
                yield from _fields_of(definitions[part]["properties"], f"{prefix}{name}{dots}")


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what a field of the schema holds, in words."""
    if "anyOf" in field:
        return " or ".join(_kind(each, definitions) for each in field["anyOf"])
    if "$ref" in field:
        return "object"
    if field["type"] == "array":
        inner = field["items"]
        return f"array of {'objects' if '$ref' in inner else _kind(inner, definitions)}"
    return str(field["type"])


def _alert_headers() -> Iterator[Row]:
    """Yield a row for each header of the example alert."""
    for name, value in example().headers:
        yield f"`{name}`", f"`{(value or b'').decode()}`"


def _pretty(value: bytes | None) -> str:
    """Return JSON for people: one field a line, lists of plain values on one line."""
    text = json.dumps(orjson.loads(value or b""), indent=2)
    return re.sub(r"\[([^][{}]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)


if __name__ == "__main__":
    sys.exit(main())
