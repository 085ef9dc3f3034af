"""Write the parts of the documentation that the code already says.

`python docs/generate.py` writes the tables between the markers of README.md, the alert's JSON
Schema and an example alert. With `--check` it writes nothing and exits 1 if any of them is stale.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import orjson
import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

from stream_detector.cli import app
from stream_detector.core.alerting.alert import Alert, encode_alert
from stream_detector.core.alerting.lifecycle import advance
from stream_detector.core.alerting.tracking import ScoredWindow
from stream_detector.core.records import BundleReference, OutputRecord, RecordMetadata
from stream_detector.core.scoring.explanation import WindowEvidence, explain
from stream_detector.core.scoring.reconstruction_error import window_errors
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.errors import StreamDetectorError
from stream_detector.recipes.networks import NetworkSection
from stream_detector.recipes.sections import AlertingSection, TrainingSection, WindowSection
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
    "alert_id": "32 hexadecimal digits: a hash of the record's topic, partition and offset, of the "
    "bundle's version and, where windows are cut from samples, of the window's start. The same "
    "record and bundle give the same id again.",
    "event": "`open`, `update` or `close`. A record that is a whole window opens an alert and does "
    "nothing more.",
    "event_number": "Counted from 1 within one alert.",
    "key": "Series key as text; bytes that are not UTF-8 appear as backslash escapes. Empty where "
    "the record has no key.",
    "window_start_ms": "Time of the first sample of the alert's worst window so far, milliseconds "
    "since 1970-01-01 UTC: the record's `timestamp_ms` where it gives one, else the time of the "
    "Kafka record.",
    "window_end_ms": "Time of its last sample. The same as `window_start_ms` where the recipe's "
    "`sample_interval_ms` is 0, which means unknown.",
    "source": "Topic, partition and offset of the input record that caused this event; and its "
    "header `reference`, which says where the data came from, null where it has none that is UTF-8 "
    "and at most 256 bytes long.",
    "reconstruction_error": "How far the reconstruction is from the worst window, in the unit of "
    "the scaled signal.",
    "threshold": "The bundle's threshold, same unit. The window is anomalous because the error "
    "exceeds it.",
    "anomaly_score": "`reconstruction_error` / `threshold`, above 1.",
    "severity": "The highest level of the recipe's `[alerting]` table that the anomaly score "
    "reaches.",
    "bundle": "Name and version of the bundle that scored; the version is a digest of its content.",
    "explanation": "Where in the worst window the error lies.",
    "event_time_ms": "Event time of this event: the end of the window that caused it, or the "
    "watermark that made the alert of an idle key close.",
    "opened_ms": "`event_time_ms` of the alert's open.",
    "last_anomalous_ms": "End of the last anomalous window.",
    "n_windows": "Windows scored since the alert opened, the one that opened it included.",
    "n_anomalous": "Anomalous windows among them.",
    "reason": "Why this event. Open: `anomalous`, `continued` (from an alert that was open too "
    "long) or `flood` (a summary instead of one alert too many). Update: `severity` (it rose) or "
    "`periodic`. Close: `recovered`, `max_duration` (it, or its key restless, "
    "for too long) or `key_expired` (no "
    "more samples).",
    "continues_alert_id": "`alert_id` of the alert that was open too long and that this one "
    "goes on from; "
    "else null.",
    "is_summary": "Whether it stands for the many alerts of a key that has too many.",
    "n_alerts": "1; in a summary, how many alerts it stands for.",
    "detected_at_ms": "When the alert was made. The only field in which two runs may differ.",
}
_PARTS = {
    "Explanation": {
        "worst_start_ms": "Start of the worst span: the unbroken steps around the largest error "
        "that have at least half of it; of an image, that of the window.",
        "worst_end_ms": "End of the worst span.",
        "features": "At most 3 features, those with the largest shares, the largest first; none of "
        "an image.",
        "shares": "Each feature's part of the error; together 1. Empty for an image.",
        "times_ms": "At most 64 times, spread evenly over the worst span. Empty for an image.",
        "imputed_share": "Part of the window's values that were missing and imputed, 0 to 1.",
        "n_gaps": "How often the series started again after a gap in the last "
        "`flood_window_ms` before "
        "this event.",
        "image": "Where in an image the error lies; null where the record is none.",
    },
    "ImageExplanation": {
        "n_rows": "Rows of the image.",
        "n_columns": "Its columns.",
        "n_channels": "Values of a pixel: 1 of grey, 3 of colour.",
        "first_row": "First of the worst rows, from 0 at the top: the unbroken ones around the "
        "largest error that have at least half of it.",
        "last_row": "Last of them, included.",
        "first_column": "First of the worst columns within these rows, from 0 at the left.",
        "last_column": "Last of them, included.",
        "share": "Part of the error that lies in these rows and columns.",
        "heat_map": "The error of each pixel as a grey PNG in base64, at most 64 x 64 pixels and "
        "6,144 characters; each is the mean of a square where the image is larger.",
        "heat_map_max": "The error that is white on it; black is none.",
    },
    "FeatureExplanation": {
        "feature": "Which feature, counted from 0.",
        "share": "Its part of the error.",
        "expected": "What was expected at `times_ms`, in the signal's unit.",
        "observed": "What was seen then; null where the value was missing and imputed.",
    },
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
        EXAMPLE: _pretty(example().value) + "\n",
    }


def blocks() -> dict[str, str]:
    """Return README's generated parts by name."""
    return {
        "settings": _table(("Setting", "Flag", "Environment", "Default", "Meaning"), _settings()),
        "metrics": _table(("Metric", "Type", "Labels", "Meaning"), _metrics()),
        "window keys": _table(("Key of `[window]`", "Default", "Meaning"), _keys(WindowSection)),
        "network keys": _table(
            ("Key of `[network]`", "Kinds", "Default", "Meaning"), _network_keys()
        ),
        "training keys": _table(
            ("Key of `[training]`", "Default", "Meaning"), _keys(TrainingSection)
        ),
        "alerting keys": _table(
            ("Key of `[alerting]`", "Default", "Meaning"), _keys(AlertingSection)
        ),
        "exit codes": _table(("Code", "Raised as", "Meaning"), _exit_codes()),
        "alert fields": _table(("Field", "Type", "Meaning"), _alert_fields()),
        "alert example": f"```json\n{_pretty(example().value)}\n```",
        "alert headers": _table(("Header", "Example"), _alert_headers()),
    }


def schema() -> dict[str, Any]:
    """Return the alert's JSON Schema, each field described as the code describes it."""
    found = TypeAdapter(Alert).json_schema()
    for part in found["$defs"].values():
        part["required"] = list(part["properties"])  # what is published has them all
    for name, field in found["properties"].items():
        field["description"] = _FIELDS[name]
    for name, descriptions in _PARTS.items():
        part = found["$defs"][name]
        part["description"] = part["description"].splitlines()[0]
        for field_name, field in part["properties"].items():
            field["description"] = descriptions[field_name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "description": "What is published about the anomalous windows of a series.",
    }


def example() -> OutputRecord:
    """Return an alert as it is published: a pump that shakes more and more, one value missing."""
    bundle = BundleReference(
        "pump", "932f937bd9d3765dbdfc6eb7d69418a249df6ca8410707005d3ecc3354ee96d8"
    )
    scaler = Scaler("min-max", np.float32([0.0, 40.0]), np.float32([0.25, 0.125]))
    alerts, events = None, ()
    for number, peak in enumerate((3.75, 6.25)):
        window = np.float32([[1.0, 41.0], [1.25, 41.0], [1.0, 41.0], [1.25, 41.5]] * 2)
        expected = scaler.transform(window[np.newaxis] - np.float32([0.0, 0.25]))[0]
        window[4:7, 0] = [peak - 0.5, peak, peak - 0.25]
        imputed = np.zeros(window.shape, bool)
        imputed[5, 1] = True
        start_ms = 1_767_225_600_000 + 4_000 * number
        scored = WindowEvidence(
            window, scaler.transform(window), expected, start_ms, 1_000, imputed
        )
        judged = ScoredWindow(
            lambda number=number: RecordMetadata("telemetry", 0, 254 + number, 0, b"pump-7", ()),
            start_ms,
            start_ms + 7_000,
            float(window_errors(scored.scaled[None], expected[None], "mae")[0]),
            0.09375,
            lambda scored=scored: explain(scored, scaler, "mae"),
        )
        alerts, events, _ = advance(alerts, judged, AlertingSection().rules, bundle)
    explanation = replace(events[0].explanation, n_gaps=1)
    return encode_alert(
        replace(events[0], explanation=explanation),
        "alerts",
        b"pump-7",
        events[0].event_time_ms + 12,
    )


def _pretty(value: bytes | None) -> str:
    """Return JSON for people: one field a line, lists of plain values on one line."""
    text = json.dumps(orjson.loads(value or b""), indent=2)
    return re.sub(r"\[([^][{}]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)


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


def _keys(section: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield the keys of one table of a recipe."""
    for name, field in section.model_fields.items():
        default = "" if field.is_required() or field.default is None else f"`{field.default}`"
        meaning = f"{field.description}{_choices(field)}"
        yield f"`{name}`", default, meaning


def _network_keys() -> Iterator[tuple[str, ...]]:
    """Yield the keys of all kinds of network, those that mean the same in several once."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for section in get_args(get_args(NetworkSection)[0]):
        own = get_args(section.model_fields["kind"].annotation)
        for key, default, meaning in _keys(section):
            if key != "`kind`":
                kinds.setdefault((key, default, meaning), []).extend(own)
    for (key, default, meaning), names in sorted(kinds.items(), key=lambda row: -len(row[1])):
        yield key, ", ".join(f"`{name}`" for name in names), default, meaning


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
    """Yield a row for each field of an alert, those within the explanation included."""
    found = schema()
    for name, field in found["properties"].items():
        yield f"`{name}`", _kind(field, found["$defs"]), field["description"]
        if name == "explanation":
            parts = (("Explanation", ""), ("FeatureExplanation", "features[]."))
            for part, prefix in (*parts, ("ImageExplanation", "image.")):
                for inner_name, inner in found["$defs"][part]["properties"].items():
                    path = f"`{name}.{prefix}{inner_name}`"
                    yield path, _kind(inner, found["$defs"]), inner["description"]


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what a field of the schema holds, in words."""
    if "anyOf" in field:
        return " or ".join(_kind(each, definitions) for each in field["anyOf"])
    if "$ref" in field:
        part = definitions[field["$ref"].rsplit("/", 1)[-1]]["properties"]
        return f"object of {', '.join(f'`{name}`' for name in part)}"
    if field["type"] == "array":
        inner = field["items"]
        return f"array of {'objects' if '$ref' in inner else _kind(inner, definitions)}"
    return str(field["type"])


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
