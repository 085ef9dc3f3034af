"""The command `doctor`."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_detector.cli.options import (
    ONLINE,
    BundlePath,
    Client,
    Engine,
    InputTopic,
    Json,
    Servers,
    Set,
    SettingsFile,
    examples,
    run_changes,
    setting_option,
)
from stream_detector.cli.terminal import (
    StopFlag,
    parse_duration_s,
    print_json,
    print_table,
    write_line,
)
from stream_detector.core.codec.formats import ContentType
from stream_detector.settings import DetectSettings, load_settings

if TYPE_CHECKING:
    from stream_detector.doctor import Report

EXAMPLES = examples(
    "stream-detector doctor bundles/machine --topic telemetry",
    "stream-detector doctor bundles/machine --bootstrap-servers kafka:9092 --for 60s --json",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("doctor", epilog=EXAMPLES, rich_help_panel=ONLINE)(doctor)


def doctor(
    bundle: BundlePath,
    topic: InputTopic = None,
    bootstrap_servers: Servers = None,
    client: Client = None,
    content_type: Annotated[ContentType | None, setting_option("content_type")] = None,
    overrides: Set = None,
    read_for: Annotated[
        str, typer.Option("--for", help="How long to read, such as 5s or 2m.")
    ] = "5s",
    engine: Engine = "onnx",
    as_json: Json = False,
    settings_file: SettingsFile = None,
) -> None:
    """Check whether what arrives on a topic fits a bundle.

    Reads the newest records of the topic, and those that come meanwhile, for some seconds, and
    judges them as `detect` would. For each check the table says what was found and what to do:
    format, features, keys, partitioning, clock, rate, gaps, missing values, warm-up, value range,
    and how much would be scored. Joins no group, and writes and commits nothing.

    Exits with 1 if nothing would be scored.
    """
    from stream_detector.assembly import (
        connect_reader,
        make_schemas,
        open_bundle,
        require_content_type,
        require_topic,
    )
    from stream_detector.doctor import Examination, Reading, make_report, read_recent
    from stream_detector.ports import SystemClock

    settings = load_settings(
        DetectSettings,
        settings_file,
        input_topic=topic,
        bootstrap_servers=bootstrap_servers,
        client=client,
        content_type=content_type,
        **run_changes(overrides),
    )
    seconds = parse_duration_s(read_for, "--for")
    served = open_bundle(bundle, engine, changes=settings.changes)
    require_content_type(settings.content_type, served)
    examination = Examination(served.detector, served.bundle.scaler, settings.content_type)
    schemas = make_schemas(settings, served.detector)
    reading, clock, stop = Reading(), SystemClock(), StopFlag()
    reader = connect_reader(settings, settings.input_topic)
    with stop.on_signals(), closing(reader):
        require_topic(reader, settings.input_topic, settings.bootstrap_servers)
        for batch in read_recent(reader, clock, seconds, reading, lambda: stop.is_set):
            examination.add(schemas.attach(batch))
    report = make_report(examination, reading, clock.now_ms())
    if as_json:
        print_json(_as_dict(report, settings.input_topic, served.bundle.manifest.name))
    else:
        _print(report, settings.input_topic, served.bundle.manifest.name)
    raise typer.Exit(0 if report.would_score else 1)


def _as_dict(report: "Report", topic: str, bundle: str) -> dict[str, Any]:
    """Return the report as one JSON object has it."""
    return {
        "topic": topic,
        "bundle": bundle,
        "would_score": report.would_score,
        "n_records": report.n_records,
        "n_windows": report.n_windows,
        "n_anomalous": report.n_anomalous,
        "n_keys": report.n_keys,
        "n_keys_scored": report.n_keys_scored,
        "checks": [each._asdict() for each in report.findings],
    }


def _print(report: "Report", topic: str, bundle: str) -> None:
    """Print the report as a table, and what to do below it."""
    rows = [each[:3] for each in report.findings]
    print_table(f"{topic} for {bundle}", ("check", "", "found"), rows, is_text=True)
    for each in report.findings:
        if each.status != "ok":
            write_line(f"{each.check}: {each.what_to_do}")
    write_line("windows would be scored" if report.would_score else "nothing would be scored")
