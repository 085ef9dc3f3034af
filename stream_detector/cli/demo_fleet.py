"""What `demo --console` shows: a simulated fleet of pumps, live on the page, until Ctrl-C.

The hour before the page opens is sent at once, and then each sample when it is due.
"""

import tempfile
import threading
from contextlib import closing
from pathlib import Path

import numpy as np

from stream_detector.assembly import connect_writer, embedded_broker, open_bundle
from stream_detector.cli.console import make_console, require_extra, run_console
from stream_detector.cli.demo_run import Run, detecting, running, wait_until
from stream_detector.cli.generate_data import write_fleet
from stream_detector.cli.terminal import print_table, time_text
from stream_detector.cli.train import train_with_progress
from stream_detector.core.records import OutputRecord, RecordBatch, Samples
from stream_detector.core.results import Step
from stream_detector.datasets.live_pumps import N_PUMPS, PAST_HOURS, fleet_around
from stream_detector.datasets.pumps import FEATURES, UNITS, Fault, Fleet
from stream_detector.ports import SystemClock
from stream_detector.recipes import load_recipe, shipped_recipe
from stream_detector.replay import replay_live
from stream_detector.settings import DetectSettings

N_EPOCHS = 4
"""Enough for these faults, and the page opens in half of a minute."""

UNUSABLE_EVERY = 40
"""In each second of so many, one gateway sends what cannot be used: the page shows that, too."""

UNUSABLE_KEY, UNUSABLE = b"pump-03", b'{"timestamp_ms": %d, "values": [52.1, "n/a", 1.6]}'
N_FAULTS_PRINTED = 9


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
    fleet = fleet_around(now_ms, N_PUMPS, PAST_HOURS)
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
    """Send the fleet, and now and then what cannot be used, until asked to stop."""
    topic, clock = settings.input_topic, SystemClock()
    with closing(connect_writer(settings)) as client:

        def send_unusable(number: int) -> None:
            if number % UNUSABLE_EVERY == 0:
                value = UNUSABLE % clock.now_ms()
                client.produce([OutputRecord(topic, UNUSABLE_KEY, value)])

        replay_live(
            samples, client, topic, clock=clock, is_stopping=stop.is_set, on_part=send_unusable
        )
    stop.wait()


def _print_faults(faults: list[Fault]) -> None:
    """Print which faults come first."""
    rows = [
        (time_text(round(each.start_ms))[11:19], each.key, each.feature, each.kind)
        for each in faults[:N_FAULTS_PRINTED]
    ]
    print_table("faults that begin soon, times in UTC", ("from", "key", "feature", "kind"), rows)
