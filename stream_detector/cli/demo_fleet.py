"""What `demo --console` shows: a simulated fleet of pumps, live on the page, until Ctrl-C.

The signal of each pump is moved in time so that its first fault begins at a chosen moment after the
page opens. The hour before is sent at once, and then each sample when it is due.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.assembly import connect_writer, embedded_broker, open_bundle
from stream_detector.cli.console import make_console, require_extra, run_console
from stream_detector.cli.demo import Run, detecting, running, wait_until
from stream_detector.cli.generate_data import write_fleet
from stream_detector.cli.terminal import print_table, time_text
from stream_detector.cli.train import train_with_progress
from stream_detector.core.records import OutputRecord, RecordBatch, Samples
from stream_detector.core.results import Step
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.pumps import FEATURES, UNITS, Fault, Fleet, simulate
from stream_detector.ports import Client, SystemClock
from stream_detector.recipes import load_recipe, shipped_recipe
from stream_detector.replay import SampleReplayOptions, replay_samples
from stream_detector.settings import DetectSettings

N_PUMPS = 12
TRAIN_HOURS, PAST_HOURS, LIVE_HOURS = 1.5, 1.0, 8.0
"""What is trained on, what the page begins with, and how long the pumps then run."""

N_EPOCHS = 4
"""Enough for these faults, and the page opens in half of a minute."""

FIRST_FAULT_S, FAULT_EVERY_S = 15, 30
KIND_ORDER = ("shift", "noise", "stuck", "oscillation", "dead", "drift", "spike")
"""Which kind of fault begins first: those that are seen soonest."""

PART_MS = 1_000
UNUSABLE_EVERY = 40
"""In each part of so many, one gateway sends what cannot be used: the page shows that, too."""

UNUSABLE_KEY, UNUSABLE = b"pump-03", b'{"timestamp_ms": %d, "values": [52.1, "n/a", 1.6]}'
N_FAULTS_PRINTED = 9

_HOUR_MS = 3_600_000


class LiveFleet(NamedTuple):
    """A fleet around a moment.

    Parameters
    ----------
    trained_on
        The first hours of each pump, at the times of the simulation.
    shown
        From an hour before the moment on, by time.
    faults
        The faults in it, by time; all begin after the moment.
    """

    trained_on: Samples
    shown: Samples
    faults: list[Fault]


def fleet_around(now_ms: int) -> LiveFleet:
    """Return a fleet whose faults begin soon after a moment, one after the other."""
    hours = TRAIN_HOURS + PAST_HOURS
    samples, faults = simulate(0, n_pumps=N_PUMPS, train_hours=hours, test_hours=LIVE_HOURS)
    starts_ms = dict.fromkeys(samples.keys, BASE_MS + hours * _HOUR_MS)  # of the simulation
    first = {fault.key: fault for fault in reversed(faults)}
    order = sorted(first.values(), key=lambda fault: KIND_ORDER.index(fault.kind))
    for number, fault in enumerate(order):
        starts_ms[fault.key] = fault.start_ms - 1_000 * (FIRST_FAULT_S + number * FAULT_EVERY_S)
    shifts_ms = np.array([now_ms - starts_ms[key] for key in samples.keys])
    times_ms = samples.times_ms + shifts_ms[samples.series]
    rows = np.flatnonzero(times_ms >= now_ms - PAST_HOURS * _HOUR_MS)
    moved = [
        fault._replace(start_ms=fault.start_ms + shift_ms, end_ms=fault.end_ms + shift_ms)
        for fault in faults
        for shift_ms in [now_ms - starts_ms[fault.key]]
    ]
    return LiveFleet(
        _rows(samples, np.flatnonzero(samples.times_ms < BASE_MS + TRAIN_HOURS * _HOUR_MS)),
        _rows(replace(samples, times_ms=times_ms), rows[np.argsort(times_ms[rows])]),
        sorted(moved, key=lambda fault: fault.start_ms),
    )


def _rows(samples: Samples, rows: NDArray[np.intp]) -> Samples:
    """Return some samples."""
    columns = samples.series[rows], samples.times_ms[rows], samples.values[rows]
    return Samples(samples.keys, *columns, None if samples.labels is None else samples.labels[rows])


def show_fleet(port: int) -> None:
    """Train on the fleet's normal hours, then stream it and serve the page until a signal.

    Parameters
    ----------
    port
        Of the page; 0 takes a free one.
    """
    require_extra()
    trained_on = fleet_around(0).trained_on
    with tempfile.TemporaryDirectory(prefix="stream-detector-") as folder:
        file = Path(folder, "pumps.csv")
        write_fleet(Fleet(trained_on, ()), file)
        recipe = load_recipe(shipped_recipe("telemetry.toml"), fleet_recipe(file))
        bundle = train_with_progress(recipe, Path(folder) / recipe.name)
        served = open_bundle(bundle.path)
        with embedded_broker() as broker:
            stream_fleet(Run(served, broker.bootstrap_servers, broker.create_topic), port)


def fleet_recipe(file: Path) -> list[str]:
    """Return what the fleet's recipe changes of the shipped one."""
    units = ", ".join(f'{name} = "{unit}"' for name, unit in zip(FEATURES, UNITS, strict=True))
    return [
        "name=pumps",
        "data.name=csv",
        f'data.path="{file}"',
        f"data.units={{{units}}}",
        f"training.epochs={N_EPOCHS}",
    ]


def stream_fleet(run: Run, port: int) -> None:
    """Stream the fleet, detect and serve the page until a signal."""
    settings, stop = run.settings("page"), threading.Event()
    now_ms = SystemClock().now_ms()
    fleet = fleet_around(now_ms)
    n_past = int(np.searchsorted(fleet.shown.times_ms, now_ms))
    n_done = 0

    def count(batch: RecordBatch, _: Step) -> None:
        nonlocal n_done
        n_done += len(batch)

    with (
        running(lambda: _send(fleet.shown, settings, stop), "pumps", stop.set),
        detecting(run, settings, count),
    ):
        wait_until(lambda: n_done >= n_past, "detector", f"{n_past} records")
        _print_faults(fleet.faults)
        run_console(make_console(run.served, settings), "127.0.0.1", port, None)


def _send(samples: Samples, settings: DetectSettings, stop: threading.Event) -> None:
    """Send what is due at once, and then each sample at its time, until asked to stop."""
    topic, clock = settings.input_topic, SystemClock()

    def parts(client: Client, first: int) -> Iterator[Samples]:
        number = 0
        while first < len(samples) and not stop.is_set():
            last = int(np.searchsorted(samples.times_ms, samples.times_ms[first] + PART_MS))
            number += 1
            if number % UNUSABLE_EVERY == 0:
                value = UNUSABLE % clock.now_ms()
                client.produce([OutputRecord(topic, UNUSABLE_KEY, value)])
            yield _rows(samples, np.arange(first, last))
            first = last

    with closing(connect_writer(settings)) as client:
        n_due = int(np.searchsorted(samples.times_ms, clock.now_ms()))
        due = _rows(samples, np.arange(n_due))
        replay_samples(due, client, topic, options=SampleReplayOptions(), clock=clock)
        live = SampleReplayOptions(speed=1.0)
        replay_samples(parts(client, n_due), client, topic, options=live, clock=clock)
    stop.wait()


def _print_faults(faults: list[Fault]) -> None:
    """Print which faults come first."""
    rows = [
        (time_text(round(each.start_ms))[11:19], each.key, each.feature, each.kind)
        for each in faults[:N_FAULTS_PRINTED]
    ]
    print_table("faults that begin soon, times in UTC", ("from", "key", "feature", "kind"), rows)
