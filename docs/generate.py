"""Write the parts of the documentation that the code already says.

`python docs/generate.py` writes the tables between the markers of README.md, the alert's JSON
Schema and an example alert. With `--check` it writes nothing and exits 1 if any of them is stale.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import orjson
import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

from stream_detector.cli import app
from stream_detector.core.alerting import encode_alert, open_alert
from stream_detector.core.records import Alert, BundleReference, Origin, OutputRecord
from stream_detector.errors import StreamDetectorError
from stream_detector.settings import ENVIRONMENT_PREFIX, DetectSettings
from stream_detector.telemetry import Metrics

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SCHEMA = ROOT / "docs" / "alert.schema.json"
EXAMPLE = ROOT / "docs" / "alert.example.json"

_START, _END = "<!-- generated: {} -->\n", "<!-- end of generated: {} -->\n"
_FIELDS = {
    "schema_version": "Version of this format. New fields may come within a version; ignore what "
    "you do not know.",
    "alert_id": "32 hexadecimal digits: a hash of the record's topic, partition and offset and of "
    "the bundle's version. The same record and bundle give the same id again.",
    "event": "`open`, `update` or `close`. A record that is a whole window opens an alert and does "
    "nothing more.",
    "event_number": "Counted from 1 within one alert.",
    "key": "Series key as text; bytes that are not UTF-8 appear as backslash escapes. Empty where "
    "the record has no key.",
    "window_start_ms": "Time of the first sample, milliseconds since 1970-01-01 UTC: the record's "
    "`timestamp_ms` where it gives one, else the time of the Kafka record.",
    "window_end_ms": "Time of the last sample. The same as `window_start_ms` where the recipe's "
    "`sample_interval_ms` is 0, which means unknown.",
    "source": "Topic, partition and offset of the input record.",
    "reconstruction_error": "How far the reconstruction is from the window, in the unit of the "
    "scaled signal.",
    "threshold": "The bundle's threshold, same unit. The window is anomalous because the error "
    "exceeds it.",
    "anomaly_score": "`reconstruction_error` / `threshold`, above 1.",
    "severity": "The highest level of the recipe's `[alerting]` table that the anomaly score "
    "reaches.",
    "bundle": "Name and version of the bundle that scored; the version is a digest of its content.",
    "explanation": "Where in the window the error lies. Null for now.",
    "detected_at_ms": "When the alert was made. The only field in which two runs may differ.",
}


def main() -> int:
    """Write what is stale, or with `--check` only say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    is_check = parser.parse_args().check
    stale = [
        path
        for path, text in contents().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    if is_check:
        if stale:
            sys.stderr.write("stale: run python docs/generate.py\n")
        return int(bool(stale))
    for path, text in contents().items():
        path.write_text(text, encoding="utf-8")
    return 0


def contents() -> dict[Path, str]:
    """Return what each file must hold."""
    readme = README.read_text(encoding="utf-8")
    for name, text in blocks().items():
        readme = _replace(readme, name, text)
    return {
        README: readme,
        SCHEMA: json.dumps(schema(), indent=2) + "\n",
        EXAMPLE: json.dumps(orjson.loads(example().value or b""), indent=2) + "\n",
    }


def blocks() -> dict[str, str]:
    """Return README's generated parts by name."""
    return {
        "settings": _table(("Setting", "Flag", "Environment", "Default", "Meaning"), _settings()),
        "metrics": _table(("Metric", "Type", "Labels", "Meaning"), _metrics()),
        "exit codes": _table(("Code", "Raised as", "Meaning"), _exit_codes()),
        "alert fields": _table(("Field", "Type", "Meaning"), _alert_fields()),
        "alert example": f"```json\n{json.dumps(orjson.loads(example().value or b''), indent=2)}"
        "\n```",
        "alert headers": _table(("Header", "Example"), _alert_headers()),
    }


def schema() -> dict[str, Any]:
    """Return the alert's JSON Schema, each field described as the code describes it."""
    found = TypeAdapter(Alert).json_schema()
    for name, field in found["properties"].items():
        field["description"] = _FIELDS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "description": "What is published about an anomalous window.",
    }


def example() -> OutputRecord:
    """Return an alert as it is published: one that the README's quick start gave."""
    origin = Origin("telemetry", 0, 254, 1795425129799, b"ecg5000-00991", ())
    bundle = BundleReference(
        "ecg5000-dense", "932f937bd9d3765dbdfc6eb7d69418a249df6ca8410707005d3ecc3354ee96d8"
    )
    score = (0.07023855298757553, 0.0335112059425766, "critical")
    times_ms = (origin.timestamp_ms, origin.timestamp_ms)
    alert = open_alert(origin, times_ms, score, bundle)
    return encode_alert(alert, "alerts", origin.key, 1795425129801)


def _settings() -> Iterator[tuple[str, ...]]:
    """Yield a row for each setting of `detect`."""
    options = typer.main.get_command(app).commands["detect"].params  # type: ignore[attr-defined]
    flags = {option.name: option.opts[0] for option in options}
    for name, field in DetectSettings.model_fields.items():
        flag = flags.get(name) or flags.get(name.removesuffix("_s"))
        default = "" if field.default is None else f"`{str(field.default).lower()}`"
        if isinstance(field.default, str):
            default = f"`{field.default}`"
        yield (
            f"`{name}`",
            f"`{flag}`" if flag else "",
            f"`{ENVIRONMENT_PREFIX}{name.upper()}`",
            default,
            f"{field.description}{_choices(field)}",
        )


def _choices(field: FieldInfo) -> str:
    """Return the values a setting accepts where they are few."""
    parts = (field.annotation, *get_args(field.annotation))
    values = [value for part in parts if get_origin(part) is Literal for value in get_args(part)]
    if SecretStr in parts:
        return ". Never shown or logged"
    return f". One of {', '.join(f'`{value}`' for value in values)}" if values else ""


def _metrics() -> Iterator[tuple[str, ...]]:
    """Yield a row for each metric."""
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            # The library tells label names nowhere else.
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
            yield f"`{name}`", family.type, labels, family.documentation


def _exit_codes() -> Iterator[tuple[str, ...]]:
    """Yield a row for each exit code, from the errors that carry one of their own."""
    yield "0", "", "Done, or stopped by a first signal."
    yield "1", "", "Something unexpected; `stream-detector --debug` shows the traceback."
    errors = [error for error in StreamDetectorError.__subclasses__() if "exit_code" in vars(error)]
    for error in sorted(errors, key=lambda error: error.exit_code):
        summary = (error.__doc__ or "").strip().splitlines()[0]
        yield str(error.exit_code), f"`{error.__name__}`", summary


def _alert_fields() -> Iterator[tuple[str, ...]]:
    """Yield a row for each field of an alert."""
    found = schema()
    for name, field in found["properties"].items():
        kind = field.get("type")
        if kind is None:
            parts = found["$defs"][field["$ref"].rsplit("/", 1)[-1]]["properties"]
            kind = f"object of {', '.join(f'`{part}`' for part in parts)}"
        yield f"`{name}`", kind, field["description"]


def _alert_headers() -> Iterator[tuple[str, ...]]:
    """Yield a row for each header of the example alert."""
    for name, value in example().headers:
        yield f"`{name}`", f"`{(value or b'').decode()}`"


def _table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _replace(text: str, name: str, block: str) -> str:
    """Return a text with what stands between two markers replaced."""
    start, end = _START.format(name), _END.format(name)
    before, found, rest = text.partition(start)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        message = f"README.md has no markers for the generated part {name!r}"
        raise SystemExit(message)
    return f"{before}{start}{block}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
