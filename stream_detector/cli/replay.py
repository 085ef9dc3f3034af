"""The command `replay`: its options, which of them go together, and the sending.

The data are loaded and checked before the command connects, so that a wrong flag or file is
reported without a broker.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from stream_detector.cli.options import (
    ONLINE,
    Client,
    CountOrNames,
    Key,
    Label,
    Long,
    SaidColumns,
    Servers,
    SettingsFile,
    Time,
    TimeFormat,
    connection_settings,
    count_or_names,
    examples,
)
from stream_detector.cli.terminal import progress_bar, say
from stream_detector.core.codec.formats import FormatName
from stream_detector.core.codec.json_format import OWN
from stream_detector.errors import ConfigError
from stream_detector.recipes.columns import BY_NAME, ColumnMap
from stream_detector.recipes.datasets import DATASETS, built_in

if TYPE_CHECKING:
    from stream_detector.core.features import Features
    from stream_detector.ports import Client as KafkaClient
    from stream_detector.replay import ReplaySummary
    from stream_detector.settings import ConnectionSettings

EXAMPLES = examples(
    "stream-detector replay ecg5000 --rate 200",
    "stream-detector replay mitdb:106 --speed 1 --chunk 36 --bundle bundles/mitdb-dense",
    "stream-detector replay readings.csv --samples --rate 100 --drop 0.01 --delay 0.05",
)


def _share(what: str) -> Any:
    """Return the option of one kind of fault."""
    return typer.Option(help=f"Samples: share of {what}, 0 to 1.", min=0.0, max=1.0)


Source = Annotated[
    str,
    typer.Argument(
        help=f"Windows: {', '.join((*built_in('window'), *built_in('image')))}. Samples: "
        f"{', '.join(f'{name}:{DATASETS[name].example}' for name in built_in('samples'))}. Or "
        "FILE.csv or FILE.parquet, with one window a row, or with --samples one sample a row."
    ),
]
Rate = Annotated[
    float | None, typer.Option(help="Records a second. Default as fast as Kafka takes them.")
]
Speed = Annotated[
    float | None,
    typer.Option(
        help="Samples: seconds of event time to send in a second, instead of --rate. 1 is as "
        "recorded, 60 is a minute each second."
    ),
]
Format = Annotated[
    FormatName,
    typer.Option(
        "--format",
        help="Format of the values. png, jpeg and uint8 (raw pixels) are for images only.",
    ),
]
Part = Annotated[
    Literal["test", "all"], typer.Option(help="Send the test part, or training and test part.")
]
IsSamples = Annotated[
    bool,
    typer.Option(
        "--samples",
        help="The rows of the file are samples: columns key, timestamp_ms, one for each feature.",
    ),
]
IntervalMs = Annotated[
    float | None,
    typer.Option(
        "--interval-ms",
        help="Samples: milliseconds between two samples, such as 2.7778 for 360 a second. Known "
        "for a data set; a file needs it where --chunk is above 1.",
    ),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        min=1,
        help="Samples: most samples in a record; of 360 a second, 36 are a tenth of a second. A "
        "gap or a time off the interval starts a new record. Default 1.",
    ),
]
Times = Annotated[
    Literal["first", "each"] | None,
    typer.Option(
        help="Samples: a record has the time of its first sample, or (json only) a time for each "
        "sample, for series without a steady interval. Default first."
    ),
]
StartMs = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Samples: shift all times so that the first is this, milliseconds since 1970 UTC.",
    ),
]
BundlePath = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="Bundle that will score the records: its recipe decides whether they are windows, "
        "samples or images, their interval and their channels.",
    ),
]
DelayMs = Annotated[
    float | None,
    typer.Option(min=0.0, help="Samples: delay of late records in event time. Default 1000."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Samples: seed of the faults. Default 0.")]
Drop = Annotated[float | None, _share("records not sent")]
Delay = Annotated[float | None, _share("records sent late")]
Duplicate = Annotated[float | None, _share("records sent twice")]
Shuffle = Annotated[float | None, _share("records swapped with a neighbour of their series")]
Nan = Annotated[float | None, _share("single values replaced by a missing one")]

FLAGS = {
    "speed": "--speed",
    "sample_interval_ms": "--interval-ms",
    "chunk_samples": "--chunk",
    "times": "--times",
    "start_ms": "--start-ms",
    "delay_ms": "--delay-ms",
    **{name: f"--{name}" for name in ("drop", "delay", "duplicate", "shuffle", "nan", "seed")},
}
"""Flags of samples and faults, by their names in `stream_detector.replay`."""

OnProgress = Callable[[int, int | None], None]


class Job(NamedTuple):
    """Something to send.

    Parameters
    ----------
    name
        Name to print.
    send
        Sends it to a topic; reports the number of records sent so far and of all records.
    """

    name: str
    send: "Callable[[KafkaClient, str, OnProgress], ReplaySummary]"


class RecordFacts(NamedTuple):
    """What the records hold, as flags and bundle say.

    Parameters
    ----------
    is_samples
        Samples, else whole windows.
    sample_interval_ms
        Time between two samples; None where the bundle does not say it.
    n_channels
        Channels of an image.
    features
        Names of the features; None where no bundle names them.
    columns
        Which column of a file is what.
    is_mapped
        Whether the bundle has an `[input]`, by which it reads JSON that other programs write.
    """

    is_samples: bool
    sample_interval_ms: float | None = None
    n_channels: int = 1
    features: "Features | None" = None
    columns: ColumnMap = BY_NAME
    is_mapped: bool = False


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("replay", epilog=EXAMPLES, rich_help_panel=ONLINE)(replay)


def replay(
    source: Source,
    topic: Annotated[str, typer.Option(help="Topic to write to.")] = "telemetry",
    bootstrap_servers: Servers = None,
    rate: Rate = None,
    speed: Speed = None,
    format_: Format = "json",
    split: Annotated[str | None, typer.Option(help="ecg5000: tutorial or official.")] = None,
    part: Part = "test",
    features: CountOrNames = None,
    key: Key = None,
    time: Time = None,
    time_format: TimeFormat = None,
    label: Label = None,
    long: Long = None,
    is_samples: IsSamples = False,
    interval_ms: IntervalMs = None,
    chunk: Chunk = None,
    times: Times = None,
    start_ms: StartMs = None,
    bundle: BundlePath = None,
    drop: Drop = None,
    delay: Delay = None,
    delay_ms: DelayMs = None,
    duplicate: Duplicate = None,
    shuffle: Shuffle = None,
    nan: Nan = None,
    seed: Seed = None,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Send a data set or a file to a topic, as whole windows or as samples.

    Windows: the key is the file's column key, else SOURCE-NUMBER, and a record has the time it is
    sent at. Samples: the key is the series, and times are those of the data. Records are sent in
    time order; --drop, --delay, --duplicate, --shuffle and --nan inject faults, the same ones in
    every run with the same --seed.

    Labels are sent in the header `label`, so that alerts can be compared with them. The detector
    never reads it.
    """
    settings = connection_settings(bootstrap_servers, client, settings_file)
    _require_pace(rate, speed)
    faults = _given(
        drop=drop, delay=delay, duplicate=duplicate, shuffle=shuffle, nan=nan, seed=seed,
        delay_ms=delay_ms,
    )  # fmt: skip
    of_samples = _given(
        speed=speed, sample_interval_ms=interval_ms, chunk_samples=chunk, times=times,
        start_ms=start_ms,
    )  # fmt: skip
    n_features, names = count_or_names(features)
    said = SaidColumns(key, time, time_format, label, names, long)
    said.require_file(source, "a")
    facts = _record_facts(source, is_samples, bundle, said)
    _require_format(format_, facts, bundle)
    if facts.is_mapped and format_ == "json":
        format_ = OWN
    if facts.is_samples:
        _refuse({"--split": split, "--features": n_features}, "whole windows")
        _require_interval(interval_ms, facts.sample_interval_ms, bundle)
        of_samples = {"sample_interval_ms": facts.sample_interval_ms} | of_samples
        job = _sample_job(
            (source, part, facts.features, facts.columns),
            of_samples | {"rate": rate, "content_type": format_},
            faults,
        )
    else:
        _refuse({FLAGS[name]: 1 for name in of_samples | faults}, "samples")
        options = {"rate": rate, "content_type": format_, "n_channels": facts.n_channels}
        job = _window_job((source, split, part, n_features or 1, facts.columns), options)
    _send(job, topic, settings)


def _record_facts(
    source: str, is_samples: bool, bundle: Path | None, said: SaidColumns
) -> RecordFacts:
    """Return what the records hold.

    Raises
    ------
    ConfigError
        If the source is samples and the bundle takes windows.
    """
    from stream_detector.cli.sources import is_sample_set

    is_asked = is_samples or is_sample_set(source)
    if bundle is None:
        return RecordFacts(is_asked, columns=said.over(BY_NAME))
    from stream_detector.bundle import read_bundle

    found = read_bundle(bundle)
    recipe, window = found.manifest.recipe, found.manifest.recipe.window
    is_samples = window.record == "samples"
    if is_asked and not is_samples:
        message = (
            f"--bundle {bundle}: expected a bundle that takes samples, received one that takes "
            f"whole windows; send it windows, or give the bundle that {source} is for"
        )
        raise ConfigError(message)
    interval_ms = float(window.sample_interval_ms) or None
    columns, is_mapped = said.over(recipe.data.columns.lenient), recipe.input.is_given
    return RecordFacts(is_samples, interval_ms, window.channels, found.features, columns, is_mapped)


def _window_job(
    chosen: tuple[str, str | None, Literal["test", "all"], int, ColumnMap],
    options: dict[str, Any],
) -> Job:
    """Look at the windows of a split and part, and return the job that sends them."""
    from stream_detector.cli.sources import load_feeds
    from stream_detector.ports import SystemClock
    from stream_detector.replay import ReplayOptions, replay_parts

    source, (n_windows, feeds) = chosen[0], load_feeds(*chosen)
    checked = ReplayOptions(**options)
    parts = (
        (feed.windows, replace(checked, keys=feed.keys, labels=feed.label_values)) for feed in feeds
    )

    def send(client: "KafkaClient", topic: str, on_progress: OnProgress) -> "ReplaySummary":
        try:
            return replay_parts(
                parts,
                client,
                topic,
                clock=SystemClock(),
                on_progress=lambda n_sent: on_progress(n_sent, n_windows),
            )
        except ValueError as error:
            message = f"{source} cannot be sent as {checked.content_type}: {error}"
            raise ConfigError(message) from None

    return Job(source, send)


def _sample_job(
    chosen: "tuple[str, Literal['test', 'all'], Features | None, ColumnMap]",
    options: dict[str, Any],
    faults: dict[str, Any],
) -> Job:
    """Load samples and return the job that sends them; a data set's interval is the default."""
    from stream_detector.cli.sources import SAMPLE_INTERVALS_MS, load_sample_feed
    from stream_detector.ports import SystemClock
    from stream_detector.replay import Faults, SampleReplayOptions, replay_samples

    source = chosen[0]
    if options["sample_interval_ms"] is None:
        options["sample_interval_ms"] = SAMPLE_INTERVALS_MS.get(source.partition(":")[0])
    try:
        checked = SampleReplayOptions(**options, faults=Faults(**faults))
    except ValueError as error:
        message = f"replay: {error}"
        for name, flag in FLAGS.items():
            message = message.replace(f"{name}:", f"{flag}:")
        raise ConfigError(message) from None
    feed = load_sample_feed(*chosen)

    def send(client: "KafkaClient", topic: str, on_progress: OnProgress) -> "ReplaySummary":
        try:
            return replay_samples(
                feed.samples,
                client,
                topic,
                options=checked,
                clock=SystemClock(),
                on_progress=on_progress,
            )
        except ValueError as error:
            message = f"{source} cannot be sent: {error}"
            raise ConfigError(message) from None

    return Job(f"samples of {source}", send)


def _send(job: Job, topic: str, settings: "ConnectionSettings") -> None:
    """Connect, send, and print what was sent."""
    from stream_detector.assembly import connect_writer, require_topic
    from stream_detector.replay import SampleReplaySummary

    client = connect_writer(settings)
    try:
        require_topic(client, topic, settings.bootstrap_servers)
        with progress_bar() as progress:
            task = progress.add_task(f"replaying {job.name}", total=None)

            def on_progress(n_sent: int, n_records: int | None) -> None:
                progress.update(task, completed=n_sent, total=n_records)

            summary = job.send(client, topic, on_progress)
    finally:
        client.close()
    per_s = summary.n_records / max(summary.seconds, 1e-9)
    say(f"{summary.n_records} records to {topic} in {summary.seconds:.1f} s, {per_s:.0f} a second")
    if isinstance(summary, SampleReplaySummary) and any(asdict(summary.counts).values()):
        counts = asdict(summary.counts)
        faults = ", ".join(f"{name.removeprefix('n_')} {count}" for name, count in counts.items())
        say(f"{summary.n_made} records made; {faults}")


def _given(**flags: Any) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def _require_pace(rate: float | None, speed: float | None) -> None:
    """Refuse a pace that is not above zero, and two paces."""
    for flag, value, unit in (
        ("--rate", rate, "records"),
        ("--speed", speed, "seconds of event time"),
    ):
        if value is not None and not value > 0:
            message = f"{flag}: expected {unit} a second above zero, received {value}"
            raise ConfigError(message)
    if rate is not None and speed is not None:
        message = "--rate, --speed: expected at most one of them, received both; leave one out"
        raise ConfigError(message)


def _require_interval(
    interval_ms: float | None, bundle_ms: float | None, bundle: Path | None
) -> None:
    """Refuse an interval that is not the bundle's."""
    if bundle_ms is not None and interval_ms not in (None, bundle_ms):
        message = (
            f"--interval-ms: expected the {bundle_ms!r} of --bundle {bundle}, received "
            f"{interval_ms!r}; leave one of the two flags out"
        )
        raise ConfigError(message)


def _require_format(format_name: str, facts: RecordFacts, bundle: Path | None) -> None:
    """Refuse float32 for a bundle that subtracts an origin before values are rounded to it."""
    if facts.features is not None and facts.features.origin and format_name == "float32":
        message = (
            f"--format: expected json for --bundle {bundle}, received 'float32', which cannot hold "
            "how its features vary around their offsets; leave --format out"
        )
        raise ConfigError(message)


def _refuse(flags: dict[str, Any], kind: str) -> None:
    """Refuse flags that do not apply to what is sent."""
    given = [flag for flag, value in flags.items() if value is not None]
    if given:
        hint = "leave them out"
        if kind == "samples":
            hint = "give --samples with a file, or a data set of samples such as mitdb:106"
        message = f"{', '.join(given)}: only for {kind}, which is not what is sent here; {hint}"
        raise ConfigError(message)
