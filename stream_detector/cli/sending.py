"""The command that feeds a topic: replay."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from stream_detector.assembly import require_topic
from stream_detector.cli.online import Client, Servers, SettingsFile
from stream_detector.cli.output import console, progress_bar
from stream_detector.cli.replay_options import (
    FLAGS,
    BundlePath,
    Chunk,
    Delay,
    DelayMs,
    Drop,
    Duplicate,
    Format,
    IntervalMs,
    IsSamples,
    Nan,
    Part,
    Rate,
    Seed,
    Shuffle,
    Source,
    Speed,
    StartMs,
    Times,
    given,
    refuse,
    require_pace,
)
from stream_detector.errors import ConfigError
from stream_detector.ports import Client as KafkaClient
from stream_detector.ports import SystemClock
from stream_detector.replay import (
    Faults,
    ReplayOptions,
    ReplaySummary,
    SampleReplayOptions,
    SampleReplaySummary,
    replay_samples,
)
from stream_detector.replay import replay as replay_windows
from stream_detector.settings import ConnectionSettings, load_settings

Report = Callable[[int, int], None]


class Job(NamedTuple):
    """Something to send.

    Parameters
    ----------
    name
        What it is, for people.
    send
        Sends it to a topic, and reports records handed over so far, and of how many.
    """

    name: str
    send: Callable[[KafkaClient, str, Report], ReplaySummary]


class BundleFacts(NamedTuple):
    """What a bundle says of the records it takes."""

    is_samples: bool
    sample_interval_ms: float | None = None
    n_channels: int = 1


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("replay")(replay)


def replay(
    source: Source,
    topic: Annotated[str, typer.Option(help="Topic to write.")] = "telemetry",
    bootstrap_servers: Servers = None,
    rate: Rate = None,
    speed: Speed = None,
    format_: Format = "json",
    split: Annotated[str | None, typer.Option(help="ecg5000: tutorial or official.")] = None,
    part: Part = "test",
    features: Annotated[
        int | None, typer.Option(help="Values at each step of a file's windows. Default 1.", min=1)
    ] = None,
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
    """Write a data set or file to a topic: whole windows, or samples some to a record.

    A label travels in the header `label`; the detector never reads it. Of windows, keys are the
    file's column key, else SOURCE-NUMBER, and a record's time is the time of sending. Of samples,
    keys are the series and times those of the data: records leave in their order, and with
    --drop, --delay, --duplicate, --shuffle and --nan some go wrong, the same ones each time.
    """
    settings = load_settings(
        ConnectionSettings, settings_file, bootstrap_servers=bootstrap_servers, client=client
    )
    require_pace(rate, speed)
    faults = given(
        drop=drop, delay=delay, duplicate=duplicate, shuffle=shuffle, nan=nan, seed=seed,
        delay_ms=delay_ms,
    )  # fmt: skip
    of_samples = given(
        speed=speed, sample_interval_ms=interval_ms, chunk_samples=chunk, times=times,
        start_ms=start_ms,
    )  # fmt: skip
    sent_as = _kind_of(source, is_samples, bundle)
    if sent_as.is_samples:
        refuse({"--split": split, "--features": features}, "whole windows")
        own_ms = sent_as.sample_interval_ms
        if own_ms is not None and interval_ms not in (None, own_ms):
            message = (
                f"--interval-ms: expected the {own_ms!r} of --bundle {bundle}, received "
                f"{interval_ms!r}; leave one of the two flags out"
            )
            raise ConfigError(message)
        of_samples = {"sample_interval_ms": own_ms} | of_samples
        options = of_samples | {"rate": rate, "content_type": format_}
        job = _sample_job(source, part, options, faults)
    else:
        refuse({FLAGS[name]: 1 for name in of_samples | faults}, "samples")
        options = {"rate": rate, "content_type": format_, "n_channels": sent_as.n_channels}
        job = _window_job(source, split, part, features or 1, options)
    _send(job, topic, settings)


def _kind_of(source: str, is_samples: bool, bundle: Path | None) -> BundleFacts:
    """Return whether samples are sent, and the interval where a bundle says it."""
    from stream_detector.cli.feeding import is_sample_set

    is_asked = is_samples or is_sample_set(source)
    if bundle is None:
        return BundleFacts(is_asked)
    from stream_detector.bundle import read_bundle

    window = read_bundle(bundle).manifest.recipe.window
    is_samples = window.record == "samples"
    if is_asked and not is_samples:
        message = (
            f"--bundle {bundle}: expected a bundle that takes samples, received one that takes "
            f"whole windows; send it windows, or give the bundle that {source} is for"
        )
        raise ConfigError(message)
    return BundleFacts(is_samples, float(window.sample_interval_ms) or None, window.channels)


def _window_job(
    source: str,
    split: str | None,
    part: Literal["test", "all"],
    n_features: int,
    options: dict[str, Any],
) -> Job:
    """Load windows to send."""
    from stream_detector.cli.feeding import load_feed

    feed = load_feed(source, split, part, n_features)
    checked = ReplayOptions(**options, keys=feed.keys, labels=feed.label_values)

    def send(client: KafkaClient, topic: str, report: Report) -> ReplaySummary:
        def on_progress(n_sent: int) -> None:
            report(n_sent, len(feed.windows))

        try:
            return replay_windows(
                feed.windows,
                client,
                topic,
                options=checked,
                clock=SystemClock(),
                on_progress=on_progress,
            )
        except ValueError as error:
            message = f"{source} cannot be sent as {checked.content_type}: {error}"
            raise ConfigError(message) from None

    return Job(source, send)


def _sample_job(
    source: str, part: Literal["test", "all"], options: dict[str, Any], faults: dict[str, Any]
) -> Job:
    """Load samples to send, with the interval of the data set where no other is given."""
    from stream_detector.cli.feeding import SAMPLE_INTERVALS_MS, load_sample_feed

    if options["sample_interval_ms"] is None:
        options["sample_interval_ms"] = SAMPLE_INTERVALS_MS.get(source.partition(":")[0])
    try:
        checked = SampleReplayOptions(**options, faults=Faults(**faults))
    except ValueError as error:
        message = f"replay: {error}"
        for name, flag in FLAGS.items():
            message = message.replace(f"{name}:", f"{flag}:")
        raise ConfigError(message) from None
    feed = load_sample_feed(source, part)

    def send(client: KafkaClient, topic: str, report: Report) -> ReplaySummary:
        try:
            return replay_samples(
                feed.samples,
                client,
                topic,
                options=checked,
                clock=SystemClock(),
                on_progress=report,
            )
        except ValueError as error:
            message = f"{source} cannot be sent: {error}"
            raise ConfigError(message) from None

    return Job(f"{len(feed.samples):,} samples of {source}", send)


def _send(job: Job, topic: str, settings: ConnectionSettings) -> None:
    """Connect, send and say what was sent."""
    from stream_detector.clients import connect

    connection = connect(settings)
    try:
        require_topic(connection, topic, settings.bootstrap_servers)
        with progress_bar() as progress:
            task = progress.add_task(f"replaying {job.name}", total=None)

            def report(n_sent: int, n_records: int) -> None:
                progress.update(task, completed=n_sent, total=n_records)

            summary = job.send(connection, topic, report)
    finally:
        connection.close()
    per_s = summary.n_records / max(summary.seconds, 1e-9)
    console().print(
        f"{summary.n_records} records to {topic} in {summary.seconds:.1f} s, {per_s:.0f} a second"
    )
    if isinstance(summary, SampleReplaySummary) and any(asdict(summary.counts).values()):
        counts = asdict(summary.counts)
        told = ", ".join(f"{name.removeprefix('n_')} {count}" for name, count in counts.items())
        console().print(f"{summary.n_made} records made; {told}")
