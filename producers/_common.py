"""What the producers of samples share: flags, faults, and the sending itself."""

import argparse
import sys
from collections.abc import Callable

from rich.progress import Progress

from stream_detector.clients import connect
from stream_detector.core.records import Samples
from stream_detector.errors import StreamDetectorError
from stream_detector.ports import SystemClock
from stream_detector.replay import Faults, SampleReplayOptions, replay_samples
from stream_detector.settings import ConnectionSettings, load_settings


def new_parser(description: str | None, speed: float, chunk: int) -> argparse.ArgumentParser:
    """Return a parser with the flags that all have, given their defaults where these differ."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    add = parser.add_argument
    add("--bootstrap-servers", metavar="HOST:PORT", help="where Kafka is (127.0.0.1:9092)")
    add("--client", choices=("kafka-python", "confluent"), help="library (kafka-python)")
    add("--topic", default="telemetry", help="topic to send to (%(default)s)")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=float, default=speed, help="1 is real time (%(default)s)")
    pace.add_argument("--rate", type=float, help="records a second, instead of --speed")
    add("--format", choices=("json", "float32"), default="json", help="of values (%(default)s)")
    add("--chunk", type=int, default=chunk, help="samples a record (%(default)s)")
    add("--seed", type=int, default=0, help="where series begin, and which faults (%(default)s)")
    start_help = "time of the first sample; give one to repeat a run exactly (no sample is ahead)"
    add("--start-ms", type=int, help=start_help)
    add_fault_arguments(parser)
    return parser


def add_fault_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how much goes wrong on the way."""
    group = parser.add_argument_group(
        "faults", "shares from 0 to 1; the same --seed, the same ones"
    )
    for kind, what in {
        "drop": "records not sent",
        "delay": "records sent late",
        "duplicate": "records sent twice",
        "shuffle": "records swapped with a neighbour of their series",
        "nan": "single values made missing",
    }.items():
        group.add_argument(f"--{kind}", type=float, default=0.0, metavar="SHARE", help=what)
    group.add_argument("--delay-ms", type=float, default=1_000.0, help="how late (%(default)s)")


def send(samples: Samples, sample_interval_ms: float, arguments: argparse.Namespace) -> None:
    """Send samples as the flags say."""
    given = vars(arguments)
    kinds = ("drop", "delay", "duplicate", "shuffle", "nan", "seed", "delay_ms")
    options = SampleReplayOptions(
        sample_interval_ms=sample_interval_ms,
        chunk_samples=arguments.chunk,
        rate=arguments.rate,
        speed=arguments.speed if arguments.rate is None else None,
        content_type=arguments.format,
        start_ms=start_of(samples, arguments),
        faults=Faults(**{kind: given[kind] for kind in kinds}),
    )
    servers, library = arguments.bootstrap_servers, arguments.client
    client = connect(load_settings(ConnectionSettings, bootstrap_servers=servers, client=library))
    try:
        with Progress() as progress:
            task = progress.add_task(arguments.topic, total=None)
            done = replay_samples(
                samples,
                client,
                arguments.topic,
                options=options,
                clock=SystemClock(),
                on_progress=lambda n, of: progress.update(task, completed=n, total=of),
            )
        print(f"{done.n_records} records in {done.seconds:.1f} s, {done.counts}")
    finally:
        client.close()


def start_of(samples: Samples, arguments: argparse.Namespace) -> int:
    """Return when the first sample is: now, or as long ago as they take where they are hurried.

    Kafka soon drops records whose times are long past, and may refuse those of the future.
    """
    if arguments.start_ms is not None:
        return int(arguments.start_ms)
    is_live = arguments.rate is None and arguments.speed <= 1
    span_ms = 0 if is_live else round(samples.times_ms.max() - samples.times_ms.min())
    return SystemClock().now_ms() - span_ms


def run(main: Callable[[], None]) -> None:
    """Run a program: an error is one line, Ctrl-C stops after what was sent has arrived."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (StreamDetectorError, ValueError) as error:
        sys.exit(f"error: {error}")
