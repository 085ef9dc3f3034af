"""The options of `replay`: what they are called, what they say, which go together."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream_detector.core.codec.windows import Format as FormatName
from stream_detector.errors import ConfigError
from stream_detector.replay import SampleTimes


def share(what: str) -> Any:
    """Return the option of one kind of fault."""
    return typer.Option(help=f"Samples: share of {what}, 0 to 1.", min=0.0, max=1.0)


Source = Annotated[
    str,
    typer.Argument(
        help="Windows: ecg5000, synthetic-ecg, mnist or fashion-mnist. Samples: mitdb:106, "
        "smd:1-6 or nab:realKnownCause/machine_temperature_system_failure. Or FILE.csv or "
        "FILE.parquet, a window a row, with --samples a sample a row."
    ),
]
Rate = Annotated[
    float | None, typer.Option(help="Records a second, steadily; default as fast as it goes.")
]
Speed = Annotated[
    float | None,
    typer.Option(
        help="Samples: event time a second instead of --rate; 1 is as it was recorded, 60 a "
        "minute each second."
    ),
]
Format = Annotated[
    FormatName,
    typer.Option(
        "--format", help="Format of the values; png, jpeg and uint8, which is raw, are of images."
    ),
]
Part = Annotated[Literal["test", "all"], typer.Option(help="Test part only, or training first.")]
IsSamples = Annotated[
    bool,
    typer.Option(
        "--samples", help="A file's rows are samples: key, timestamp_ms, a column a feature."
    ),
]
IntervalMs = Annotated[
    float | None,
    typer.Option(
        "--interval-ms",
        help="Samples: milliseconds from one to the next, as 2.7778 for 360 a second. Known of a "
        "data set; a file needs it where --chunk is above 1.",
    ),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        min=1,
        help="Samples a record, at most; 36 of 360 a second are a tenth of a second. A gap starts "
        "a new record, and so does a time that does not follow at the interval. Default 1.",
    ),
]
Times = Annotated[
    SampleTimes | None,
    typer.Option(
        help="Samples: a record's time is that of the first one, or, in json, it has one for "
        "each, which keeps a series without a steady interval. Default first."
    ),
]
StartMs = Annotated[
    int | None,
    typer.Option(min=0, help="Samples: shift all times so that the first is this, ms since 1970."),
]
BundlePath = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="Bundle to send for: its recipe says whether records are windows, samples or images, "
        "the interval, and the channels.",
    ),
]
DelayMs = Annotated[
    float | None, typer.Option(min=0.0, help="How late, in event time. Default 1000.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Which faults. Default 0.")]
Drop = Annotated[float | None, share("records not sent")]
Delay = Annotated[float | None, share("records sent late")]
Duplicate = Annotated[float | None, share("records sent twice")]
Shuffle = Annotated[float | None, share("records swapped with a neighbour")]
Nan = Annotated[float | None, share("single values made missing")]

FLAGS = {
    "speed": "--speed",
    "sample_interval_ms": "--interval-ms",
    "chunk_samples": "--chunk",
    "times": "--times",
    "start_ms": "--start-ms",
    "delay_ms": "--delay-ms",
    **{name: f"--{name}" for name in ("drop", "delay", "duplicate", "shuffle", "nan", "seed")},
}
"""Flags of samples and faults, by what the replayer calls them."""


def given(**flags: Any) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def require_pace(rate: float | None, speed: float | None) -> None:
    """Refuse a pace that is none, and two of them."""
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


def refuse(flags: dict[str, Any], kind: str) -> None:
    """Refuse flags that say nothing of what is sent."""
    given = [flag for flag, value in flags.items() if value is not None]
    if given:
        hint = "leave them out"
        if kind == "samples":
            hint = "give --samples with a file, or a data set of samples such as mitdb:106"
        message = f"{', '.join(given)}: only for {kind}, which is not what is sent here; {hint}"
        raise ConfigError(message)
