"""Draw docs/pictures/alert.png: an ECG, what the network makes of it, its score and its alerts.

Everything in the picture is made by the commands of the product: `train` on the first five minutes
of a record of the MIT-BIH Arrhythmia Database, `replay` of some seconds of the rest to the embedded
broker, `detect`, `alerts`, and `score` and `reconstruct` of the same seconds. Needs the train and
confluent extras and the data set; takes about half a minute.

python docs/pictures/draw.py
"""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_detector.datasets import load_samples

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).parent / "alert.png"
RECORD = "119"
START_S, LENGTH_S = 20.0, 16.0  # of the part that follows the training minutes
SHOWN_S = 13.0  # the rest lets the last alert that is shown close
INTERVAL_MS = 1_000 / 360
ADDRESS = "127.0.0.1:19092"
BLUE, ORANGE, RED, GREY = "#1f5fa8", "#d9730d", "#c62828", "#616161"

Table = dict[str, NDArray[np.float64]]


def main() -> None:
    """Train, stream, detect, read back and draw."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_excerpt(folder / "excerpt.csv")
        recipe = str(ROOT / "models" / "mitdb-dense.toml")
        run(folder, "train", recipe, "--set", f"data.series={RECORD}", "--out", "bundle")
        run(folder, "score", "bundle", "excerpt.csv", "--out", "scores.csv")
        run(folder, "reconstruct", "bundle", "excerpt.csv", "--out", "cleaned.csv")
        events = stream(folder)
        signals = [read_table(folder / f"{name}.csv") for name in ("excerpt", "cleaned")]
        scores = read_table(folder / "scores.csv")
    draw(signals[0], signals[1], scores, events).savefig(PICTURE, dpi=110)


def write_excerpt(path: Path) -> None:
    """Write some seconds of the record as a file of samples; its times begin at 0."""
    test = load_samples("mitdb", series=RECORD).test
    first = round(START_S * 1_000 / INTERVAL_MS)
    rows = slice(first, first + round(LENGTH_S * 1_000 / INTERVAL_MS))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "timestamp_ms", "lead_1", "lead_2"])
        for number, values in enumerate(test.values[rows].tolist()):
            writer.writerow(["patient-119", number * INTERVAL_MS, *values])


def run(folder: Path, *arguments: str) -> str:
    """Run a command of the product and return what it writes."""
    command = [sys.executable, "-m", "stream_detector", *arguments]
    environment = os.environ | {"STREAM_DETECTOR_BOOTSTRAP_SERVERS": ADDRESS}
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def stream(folder: Path) -> list[dict[str, int]]:
    """Send the excerpt through the embedded broker and return the alert events."""
    port = ADDRESS.rpartition(":")[2]
    command = [sys.executable, "-m", "stream_detector", "broker", "--port", port]
    broker = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        interval = ("--interval-ms", str(INTERVAL_MS), "--chunk", "36")
        start = ("--start-ms", "1800000000000")
        run(folder, "replay", "excerpt.csv", "--samples", *interval, *start)
        run(folder, "detect", "bundle", "--stop-when-idle", "2s")
        lines = run(folder, "alerts", "--json", "--from-beginning", "--stop-when-idle", "1s")
    finally:
        broker.send_signal(signal.SIGTERM)
        broker.wait()
    return [json.loads(line) for line in lines.splitlines()]


def read_table(path: Path) -> Table:
    """Return the number columns of a CSV file by name."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("key", "is_anomalous")]
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def draw(signal: Table, cleaned: Table, scores: Table, events: list[dict[str, int]]) -> Figure:
    """Return the picture: signal and reconstruction above, score and alerts below."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    seconds = signal["timestamp_ms"] / 1_000
    above.plot(seconds, signal["lead_1"], color=BLUE, linewidth=1.1, label="ECG of a patient")
    above.plot(seconds, cleaned["lead_1"], color=ORANGE, linewidth=1.0, label="reconstruction")
    above.set_ylabel("mV")
    below.step(
        scores["window_end_ms"] / 1_000,
        scores["anomaly_score"],
        where="post",
        color=GREY,
        linewidth=1.1,
        label="anomaly score of the window that ends here",
    )
    below.axhline(1.0, color=RED, linewidth=0.9, linestyle="--", label="threshold")
    below.set_ylabel("score / threshold")
    below.set_xlabel("seconds")
    shade_alerts(above, below, events)
    below.set_xlim(0, SHOWN_S)
    below.set_ylim(0, 1.3 * float(np.nanmax(scores["anomaly_score"])))
    above.set_ylim(-2.7, 3.9)
    for axes in (above, below):
        axes.legend(loc="upper left", ncols=3, frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def shade_alerts(above: Axes, below: Axes, events: list[dict[str, int]]) -> None:
    """Shade the time from the event that opened each alert to the end of its last bad window."""
    closing = {event["alert_id"]: event for event in events}
    first_ms = 1_800_000_000_000
    for number, event in enumerate(closing.values()):
        span = [(event[name] - first_ms) / 1_000 for name in ("opened_ms", "last_anomalous_ms")]
        label = "alert, first to last anomalous window" if number == 0 else None
        above.axvspan(*span, color=RED, alpha=0.14, linewidth=0, label=label)
        below.axvspan(*span, color=RED, alpha=0.14, linewidth=0)


if __name__ == "__main__":
    main()
