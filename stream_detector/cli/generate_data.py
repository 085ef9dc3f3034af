"""The command `generate-data`: files of simulated telemetry, to try everything on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream_detector.cli.options import OFFLINE, OutFile, examples
from stream_detector.cli.terminal import csv_rows, say

if TYPE_CHECKING:
    from stream_detector.datasets.pumps import Fleet

EXAMPLES = examples(
    "stream-detector generate-data pumps --hours 8 --out pumps.csv",
    "stream-detector generate-data pumps --hours 5 --healthy --out normal.csv",
)

_NORMAL_SHARE = 5 / 8
"""Share of the hours that has no faults, from the start."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("generate-data", epilog=EXAMPLES, rich_help_panel=OFFLINE)(generate_data)


def generate_data(
    what: Annotated[
        Literal["pumps"], typer.Argument(help="pumps: temperature, pressure, vibration at 1 Hz.")
    ],
    hours: Annotated[float, typer.Option(min=0.01, max=168.0, help="Hours of telemetry.")] = 8.0,
    pumps: Annotated[int, typer.Option(min=1, max=1_000, help="Number of pumps.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same file.")
    ] = 0,
    healthy: Annotated[bool, typer.Option("--healthy", help="Without any faults.")] = False,
    out: OutFile = None,
) -> None:
    """Write simulated telemetry as CSV, one row a sample, in the order of time.

    The first five eighths of the time have no faults; after that, three pumps of four have faults:
    spikes, stuck sensors, level shifts, drifts, oscillations, noise bursts and dead features. The
    column label is 1 while a fault lasts; label_kind and label_feature say of which kind it is and
    in which feature. Some samples and values are missing, as they are in real telemetry.
    """
    del what
    from stream_detector.datasets.pumps import simulate

    normal_hours = hours if healthy else hours * _NORMAL_SHARE
    fleet = simulate(seed, n_pumps=pumps, train_hours=normal_hours, test_hours=hours - normal_hours)
    write_fleet(fleet, out)
    note = f"{len(fleet.samples):,} samples of {pumps:,} pumps, {len(fleet.faults):,} faults"
    say(note if out is None else f"{note}, written to {out}")


def write_fleet(fleet: "Fleet", out: Path | None) -> None:
    """Write a fleet as CSV, to standard output where `out` is None."""
    from stream_detector.datasets.pumps import FEATURES
    from stream_detector.recipes.columns import LABEL_NOTES

    with csv_rows(out) as write_row:
        write_row(("key", "timestamp_ms", *FEATURES, "label", *LABEL_NOTES))
        for row in _rows(fleet):
            write_row(row)


def _rows(fleet: "Fleet") -> Iterator[Sequence[object]]:
    """Yield the rows of the file in the order of time; an empty cell is a missing value."""
    import numpy as np

    from stream_detector.core.stream_evaluation import event_rows, labelled_events

    known = [fault.as_event for fault in fleet.faults]
    samples = fleet.samples
    notes: dict[int, tuple[str, str]] = {}  # by row
    events = zip(event_rows(samples).tolist(), labelled_events(samples, known), strict=True)
    for (first, last), event in events:
        note = event.kind, ";".join(event.features)
        notes |= dict.fromkeys(range(first, last + 1), note)
    order = np.argsort(samples.times_ms, kind="stable")  # (n_samples,)
    # Text of a float32 is the shortest that reads back exactly.
    values = np.where(np.isnan(samples.values), "", samples.values.astype(str))[order]
    labels = samples.labels if samples.labels is not None else np.zeros(len(order), np.int8)
    columns = (
        order,
        samples.series[order],
        samples.times_ms[order].astype(np.int64),
        labels[order],
    )
    rows = zip(*(column.tolist() for column in columns), values.tolist(), strict=True)
    for row, number, time_ms, label, cells in rows:
        yield samples.keys[number], time_ms, *cells, label, *notes.get(row, ("", ""))
