"""The command `demo`: the whole product at once, on an embedded broker."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import numpy as np
import typer

from stream_detector.cli.demo_run import Run, detecting, running, wait_until
from stream_detector.cli.options import examples
from stream_detector.cli.terminal import print_table, progress_bar, say, to_json
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.errors import ConfigError, DataError, DatasetError
from stream_detector.ports import SystemClock
from stream_detector.settings import DetectSettings

if TYPE_CHECKING:
    from stream_detector.cli.sources import Feed
    from stream_detector.datasets.base import Dataset

EXAMPLES = examples(
    "stream-detector demo",
    "stream-detector demo --dataset synthetic --json figures.json",
    "stream-detector demo --console",
)

RATE = 250.0
"""Records a second of the live part, far below the throughput, so that no queue adds to latency."""

N_BACKLOG_MIN = 20_000
"""Records of the part that measures throughput; the embedded broker can hold them."""

CONSOLE_PORT = 8_100


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo", epilog=EXAMPLES)(demo)


def demo(
    dataset: Annotated[
        Literal["ecg5000", "synthetic"] | None,
        typer.Option(help="Default ecg5000 where it can be downloaded, else synthetic."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    has_page: Annotated[
        bool,
        typer.Option(
            "--console",
            help="Instead of the table, show a fleet of pumps on a page in the browser until "
            "Ctrl-C; needs the console extra.",
        ),
    ] = False,
) -> None:
    """Show the whole product: train, stream labelled beats, detect, read the alerts back.

    A small autoencoder is fitted to normal heartbeats and served. Test beats are sent at a steady
    rate, and then a backlog as fast as possible. The table at the end has accuracy, latency and
    throughput, whether the live scores equal the offline ones, and how many alerts were lost or
    duplicated.

    With --console a simulated fleet of pumps is shown live in the browser instead. Faults begin a
    few seconds after the page opens; a table says which.

    Needs the train and confluent extras and no Kafka: a broker is started inside this process.
    """
    if has_page:
        from stream_detector.cli.demo_fleet import show_fleet

        if dataset is not None or json_file is not None:
            message = "--console: expected it alone; --dataset and --json are about the table"
            raise ConfigError(message)
        show_fleet(CONSOLE_PORT)
        return
    _show_figures(dataset, json_file)
    say("see a stream live in the browser: stream-detector demo --console")


def _show_figures(dataset: str | None, json_file: Path | None) -> None:
    """Train, stream beats live and as a backlog, and print what came of it."""
    from stream_detector.assembly import embedded_broker, open_bundle
    from stream_detector.cli.sources import feed_of
    from stream_detector.cli.train import train_with_progress
    from stream_detector.recipes import load_recipe, shipped_recipe

    data = _choose_data(dataset)
    recipe = load_recipe(shipped_recipe(f"{data.name}-dense.toml"))
    with tempfile.TemporaryDirectory(prefix="stream-detector-") as folder:
        bundle = train_with_progress(recipe, Path(folder) / recipe.name)
        served = open_bundle(bundle.path)
        with embedded_broker() as broker:
            run = Run(served, broker.bootstrap_servers, broker.create_topic)
            figures = _measure_live(run, feed_of(data, "test"))
            figures |= _measure_backlog(run, feed_of(data, "all"))
            broker.check_retention()
            figures = {"dataset": f"{data.name} {data.split}".strip(), **figures}
            _show(figures)
            if json_file is not None:
                json_file.write_text(to_json(figures) + "\n", encoding="utf-8")


@dataclass(slots=True)
class _Observed:
    """What a detector did: the error of each record by key, and when each batch was done."""

    errors: dict[str, float] = field(default_factory=dict)
    done: list[tuple[float, int]] = field(default_factory=list)
    n_records: int = 0

    def on_step(self, batch: RecordBatch, step: Step) -> None:
        """Record one finished batch."""
        self.n_records += len(batch)
        self.done.append((time.monotonic(), self.n_records))
        rows = zip(step.scores.indices, step.scores.scores, strict=True)
        for index, error in rows:
            self.errors[(batch.metadata(int(index)).key or b"").decode()] = float(error)


def _measure_live(run: Run, feed: "Feed") -> dict[str, Any]:
    """Stream the test windows at a steady rate and compare with offline scores and labels."""
    from stream_detector.core.evaluation import evaluate

    settings = run.settings("live")
    served, observed = run.served, _Observed()
    with detecting(run, settings, observed.on_step), _reading(settings) as received:
        _send(feed, settings, RATE, f"replaying {feed.name}, detecting")
        offline = served.detector.score(feed.windows)
        threshold = served.detector.scorer.threshold
        expected = {feed.keys[row] for row in np.flatnonzero(offline > threshold)}
        wait_until(lambda: observed.n_records >= len(feed.windows), "detector", len(feed.windows))
        wait_until(lambda: len(received) >= len(expected), "alert reader", len(expected))
    live = np.array([observed.errors.get(key, np.nan) for key in feed.keys])
    keys = [alert.key for alert, _ in received]
    latencies_ms = [at_ms - alert.window_start_ms for alert, at_ms in received]
    unscored = sum(key not in observed.errors for key in feed.keys)
    figures: dict[str, Any] = {"n_records": observed.n_records, "n_alerts": len(received)}
    if received:
        worst = max((alert for alert, _ in received), key=lambda alert: alert.anomaly_score or 0.0)
        figures["worst_alert"] = {"key": worst.key, "sentence": worst.sentence}
    if feed.labels is not None and not unscored:
        positive_class = served.bundle.manifest.recipe.evaluation.positive_class
        result = evaluate(live, feed.labels, threshold, positive_class).as_dict()
        names = ("accuracy", "precision", "recall", "auroc", "positive_class")
        figures |= {name: result[name] for name in names}
    return figures | {
        "latency_ms_p50": float(np.percentile(latencies_ms, 50)) if latencies_ms else None,
        "latency_ms_p99": float(np.percentile(latencies_ms, 99)) if latencies_ms else None,
        "live_equals_offline": bool(np.array_equal(live, offline)),
        "n_lost": unscored + len(expected - set(keys)),
        "n_duplicated": len(keys) - len(set(keys)),
    }


def _measure_backlog(run: Run, feed: "Feed") -> dict[str, Any]:
    """Build up a backlog, then measure how fast the detector works through it."""
    from stream_detector.cli.sources import Feed, number

    repeats = -(-N_BACKLOG_MIN // len(feed.windows))
    windows = np.concatenate([feed.windows] * repeats)[:N_BACKLOG_MIN]
    backlog = Feed(feed.name, windows, number("backlog", windows), None)
    settings = run.settings("backlog", poll_records_max=2_048)
    _send(backlog, settings, None, "sending a backlog")
    observed = _Observed()
    with detecting(run, settings, observed.on_step):
        wait_until(lambda: observed.n_records >= len(windows), "detector", len(windows))
    (first_s, n_first), (last_s, n_last) = observed.done[0], observed.done[-1]
    errors = np.array(list(observed.errors.values()))
    return {
        "records_per_s": (n_last - n_first) / max(last_s - first_s, 1e-9),
        "backlog_alert_share": float((errors > run.served.detector.scorer.threshold).mean()),
    }


def _send(feed: "Feed", settings: DetectSettings, rate: float | None, title: str) -> None:
    """Replay a feed onto the input topic."""
    from stream_detector.assembly import connect_writer
    from stream_detector.replay import ReplayOptions, replay

    client = connect_writer(settings)
    content_type: Literal["json", "float32"] = "json" if rate else "float32"
    options = ReplayOptions(
        rate=rate, content_type=content_type, keys=feed.keys, labels=feed.label_values
    )
    try:
        with progress_bar() as progress:
            task = progress.add_task(title, total=len(feed.windows))
            replay(
                feed.windows,
                client,
                settings.input_topic,
                options=options,
                clock=SystemClock(),
                on_progress=lambda n_done: progress.update(task, completed=n_done),
            )
    finally:
        client.close()


@contextmanager
def _reading(settings: DetectSettings) -> Iterator[list[tuple[Alert, int]]]:
    """Read alerts back in a thread while the block lasts: (alert, milliseconds when read)."""
    from stream_detector.outputs.alerts import parse_alerts, read_values

    received: list[tuple[Alert, int]] = []
    stop = threading.Event()

    def read() -> None:
        values = read_values(
            settings, settings.alerts_topic, from_beginning=True, is_stopping=stop.is_set
        )
        for _, alert in parse_alerts(values, settings, _refuse):
            received.append((alert, time.time_ns() // 1_000_000))

    with running(read, "alert reader", stop.set):
        yield received


def _refuse(problem: DataError) -> NoReturn:
    """Raise what is wrong with an alert: the demo's own are right."""
    raise problem


def _choose_data(dataset: str | None) -> "Dataset":
    """Load the data set asked for, or ECG5000 where possible; print which one in the first line."""
    from stream_detector.datasets import load_dataset

    if dataset == "synthetic":
        say("data set: the built-in synthetic ECG")
        return load_dataset("synthetic-ecg")
    try:
        data = load_dataset("ecg5000")
    except DatasetError as error:
        if dataset == "ecg5000":
            raise
        say(f"data set: the built-in synthetic ECG, because ECG5000 is not available: {error}")
        return load_dataset("synthetic-ecg")
    say("data set: ECG5000, the tutorial's split")
    return data


def _show(figures: dict[str, Any]) -> None:
    """Print the table."""
    positive = figures.get("positive_class", "-")
    rows = [
        ("data set", figures["dataset"]),
        ("records", figures["n_records"]),
        ("alerts", figures["n_alerts"]),
        ("accuracy", figures.get("accuracy")),
        (f"precision ({positive} is positive)", figures.get("precision")),
        (f"recall ({positive} is positive)", figures.get("recall")),
        ("AUROC", figures.get("auroc")),
        (
            f"throughput, backlog with {figures['backlog_alert_share']:.0%} alerts",
            f"{figures['records_per_s']:,.0f} records/s",
        ),
        (f"latency p50 at {RATE:.0f} records/s", f"{figures['latency_ms_p50']:.0f} ms"),
        (f"latency p99 at {RATE:.0f} records/s", f"{figures['latency_ms_p99']:.0f} ms"),
        ("live scores equal offline scores", "yes" if figures["live_equals_offline"] else "NO"),
        ("delivery", f"lost {figures['n_lost']}, duplicated {figures['n_duplicated']}"),
    ]
    print_table("stream-detector demo", ("", ""), rows)
    worst = figures.get("worst_alert")
    if worst is not None:
        say(f"worst alert, of {worst['key']}: {worst['sentence']}")
