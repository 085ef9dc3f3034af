"""What the producers share: flags, faults, the connection and the sending."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from stream_detector.assembly import connect_writer
from stream_detector.core.records import Samples
from stream_detector.errors import StreamDetectorError
from stream_detector.ports import Client, SystemClock
from stream_detector.replay import (
    Faults,
    ReplayOptions,
    ReplaySummary,
    SampleReplayOptions,
    replay,
    replay_samples,
)
from stream_detector.settings import ConnectionSettings, load_settings

FAULTS = {
    "drop": "records not sent",
    "delay": "records sent late",
    "duplicate": "records sent twice",
    "shuffle": "records swapped with a neighbour of their series",
    "nan": "single values replaced by a missing one",
}


def window_parser(
    description: str | None, formats: Sequence[str], n_records: int
) -> argparse.ArgumentParser:
    """Return a parser with the flags of the producers of whole windows."""
    parser = new_parser(description)
    add = parser.add_argument
    add("--rate", type=float, default=100.0, help="records a second (%(default)s)")
    add("--format", choices=formats, default=formats[0], help="of values (%(default)s)")
    add("--n-records", type=int, default=n_records, help="records to send (%(default)s)")
    return parser


def sample_parser(description: str | None, speed: float, chunk: int) -> argparse.ArgumentParser:
    """Return a parser with the flags of the producers of samples."""
    parser = new_parser(description)
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=float, default=speed, help="1 is real time (%(default)s)")
    pace.add_argument("--rate", type=float, help="records a second, instead of --speed")
    add = parser.add_argument
    add("--format", choices=("json", "float32"), default="json", help="of values (%(default)s)")
    add("--chunk", type=int, default=chunk, help="samples a record (%(default)s)")
    add("--seed", type=int, default=0, help="of the series' starts and the faults (%(default)s)")
    start_help = "time of the first sample, milliseconds since 1970; repeats a run exactly (now)"
    add("--start-ms", type=int, help=start_help)
    group = parser.add_argument_group("faults", "shares from 0 to 1, chosen by --seed")
    for kind, what in FAULTS.items():
        group.add_argument(f"--{kind}", type=float, default=0.0, metavar="SHARE", help=what)
    group.add_argument(
        "--delay-ms", type=float, default=1_000.0, help="delay of late records (%(default)s)"
    )
    return parser


def send_windows(
    windows: NDArray[np.float32], options: ReplayOptions, arguments: argparse.Namespace
) -> None:
    """Send each window as a record, and print how many were sent.

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), unit: the signal's.
    options
        Rate, format, keys and labels.
    arguments
        Topic and connection, as parsed.
    """
    with connected(arguments) as client, Progress() as progress:
        task = progress.add_task(arguments.topic, total=len(windows))
        summary = replay(
            windows,
            client,
            arguments.topic,
            options=options,
            clock=SystemClock(),
            on_progress=lambda n_sent: progress.update(task, completed=n_sent),
        )
    print(f"{_text(summary)}, {sum(options.labels or ())} anomalous")


def send_samples(
    samples: Samples, sample_interval_ms: float, arguments: argparse.Namespace
) -> None:
    """Send samples as the flags say, and print how many records were sent and which went wrong.

    Parameters
    ----------
    samples
        Samples of one series or several.
    sample_interval_ms
        Time between two samples of a series.
    arguments
        As `sample_parser` parsed them.
    """
    flags = vars(arguments)
    options = SampleReplayOptions(
        sample_interval_ms=sample_interval_ms,
        chunk_samples=arguments.chunk,
        rate=arguments.rate,
        speed=arguments.speed if arguments.rate is None else None,
        content_type=arguments.format,
        start_ms=_start_ms(samples, arguments),
        faults=Faults(**{kind: flags[kind] for kind in (*FAULTS, "seed", "delay_ms")}),
    )
    with connected(arguments) as client, Progress() as progress:
        task = progress.add_task(arguments.topic, total=None)
        summary = replay_samples(
            samples,
            client,
            arguments.topic,
            options=options,
            clock=SystemClock(),
            on_progress=lambda n, of: progress.update(task, completed=n, total=of),
        )
    print(f"{_text(summary)}, {summary.counts}")


def run(main: Callable[[], None]) -> None:
    """Run a program: an error is one line, Ctrl-C waits until what was sent is acknowledged."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (StreamDetectorError, ValueError) as error:
        sys.exit(f"error: {error}")


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the flags that all producers have."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    add = parser.add_argument
    add("--bootstrap-servers", metavar="HOST:PORT", help="address of Kafka (127.0.0.1:9092)")
    add("--client", choices=("kafka-python", "confluent"), help="client library (kafka-python)")
    add("--topic", default="telemetry", help="topic to send to (%(default)s)")
    return parser


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Client]:
    """Connect to Kafka while the block lasts."""
    servers, library = arguments.bootstrap_servers, arguments.client
    settings = load_settings(ConnectionSettings, bootstrap_servers=servers, client=library)
    with closing(connect_writer(settings)) as client:
        yield client


def _start_ms(samples: Samples, arguments: argparse.Namespace) -> int:
    """Return the time of the first sample: now, or so long ago that a fast run ends about now.

    Kafka soon drops records with old timestamps, and may refuse those with future ones.
    """
    if arguments.start_ms is not None:
        return int(arguments.start_ms)
    is_live = arguments.rate is None and arguments.speed <= 1
    span_ms = 0 if is_live else round(samples.times_ms.max() - samples.times_ms.min())
    return SystemClock().now_ms() - span_ms


def _text(summary: ReplaySummary) -> str:
    """Return how many records were sent, and in what time."""
    return f"{summary.n_records} records in {summary.seconds:.1f} s"
