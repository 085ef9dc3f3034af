"""Raw samples through a real Kafka: what the shipped recipes find in known streams.

    python benchmarks/streams.py mitdb [--recipe ecg-beats] [--series 106 ...] [--seeds 0 1 2]
    python benchmarks/streams.py smd [--series 1-6 ...]
    python benchmarks/streams.py faults

Every stream goes through the service as `stream-detector detect` runs it. Scores are compared with
those of the same windows cut and scored offline, and the stream is sent again in other records and
through the other client.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import N_PARTITIONS, ROOT, running_broker
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from stream_figures import (
    BEAT_COLUMNS,
    MACHINES,
    QUIET,
    RICH,
    SEGMENT_COLUMNS,
    TARGET,
    Heard,
    counted,
    judge_beats,
    judge_segments,
    show,
    show_faults,
)

from stream_detector.assembly import Served, open_bundle
from stream_detector.clients import connect
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.records import RecordBatch, Samples
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.datasets import load_samples, mitdb
from stream_detector.datasets.windowing import cut_samples
from stream_detector.ports import SystemClock
from stream_detector.recipes import load_recipe
from stream_detector.replay import Faults, SampleReplayOptions, SampleReplaySummary, replay_samples
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics
from stream_detector.training import train

CLIENTS = ("kafka-python", "confluent")
LATENESS_MS = (0, 500)
FAULTS = Faults(
    drop=0.02, delay=0.02, duplicate=0.02, shuffle=0.02, nan=0.001, seed=1, delay_ms=300
)
INTERVAL_MS = {"mitdb": 1000 / 360, "smd": 60_000.0}
IDLE_S = 20.0
"""Longest wait for a record that does not come."""

STEPS_PER_RECORD, STEPS_PER_SEED = 5, 2


class Way(NamedTuple):
    """How samples travel: all ways must give the same scores."""

    client: str
    content_type: ContentType = "float32"
    chunk_samples: int = 36
    poll_records_max: int = 32_768


class Sent(NamedTuple):
    """A filled topic."""

    topic: str
    way: Way
    summary: SampleReplaySummary


class Bench:
    """A broker, a folder for bundles and a progress bar."""

    def __init__(self, servers: str, folder: Path, progress: Progress, n_steps: int) -> None:
        self._servers = servers
        self._folder = folder
        self._progress = progress
        self._task = progress.add_task("", total=n_steps)
        self._n_groups = 0

    def fit(self, recipe: str, *overrides: str) -> Served:
        """Train a shipped recipe; one that was trained in this run is opened again."""
        out = self._folder / "-".join([recipe, *overrides]).replace("=", "-")
        if not out.exists():
            train(load_recipe(ROOT / "models" / f"{recipe}.toml", overrides), out)
        self._progress.advance(self._task)
        return open_bundle(out)

    def fit_to(self, recipe: str, series: str, seed: int, changes: Sequence[str]) -> Served:
        """Train a shipped recipe on one series; one of all series is trained on all of them."""
        overrides = (f"training.seed={seed}", *changes)
        if load_recipe(ROOT / "models" / f"{recipe}.toml").data.series != mitdb.ALL:
            overrides = (f"data.series={series}", *overrides)
        return self.fit(recipe, *overrides)

    def say(self, what: str) -> None:
        """Show what is being done."""
        self._progress.update(self._task, description=what)

    def send(
        self, samples: Samples, interval_ms: float, way: Way, faults: Faults | None = None
    ) -> Sent:
        """Fill a topic of its own with samples."""
        self._n_groups += 1
        topic = f"bench-samples-{self._n_groups}"
        self._make_topics(topic)
        client = connect(self._settings(way, topic, "unused"))
        options = SampleReplayOptions(
            sample_interval_ms=interval_ms,
            chunk_samples=way.chunk_samples,
            content_type=way.content_type,
            faults=faults or Faults(),
        )
        summary = replay_samples(samples, client, topic, options=options, clock=SystemClock())
        client.close()
        self._progress.advance(self._task)
        return Sent(topic, way, summary)

    def detect(self, served: Served, sent: Sent, interval_ms: float) -> Heard:
        """Run the service on a filled topic, and read back what it published."""
        self._n_groups += 1
        settings = self._settings(sent.way, sent.topic, f"bench-group-{self._n_groups}")
        outputs = (settings.alerts_topic, settings.dead_letter_topic)
        self._make_topics(*outputs)
        client = connect(settings, topics=[sent.topic], group=settings.group)
        metrics = Metrics()
        service = Service(client, served.detector, settings, metrics, SystemClock())
        steps: list[Step] = []
        known_ms: list[float] = []
        chunk_ms = (sent.way.chunk_samples - 1) * interval_ms

        def on_step(batch: RecordBatch, step: Step) -> None:
            completing = map(batch.metadata, step.scores.indices.tolist())
            # A record has the time of its first sample, and is sent with its last.
            known_ms.extend(each.timestamp_ms + chunk_ms for each in completing)
            steps.append(step)
            if service.totals.n_records >= sent.summary.n_records:
                service.stop()

        service.add_observer(on_step)
        totals = service.run()
        assert totals.n_records == sent.summary.n_records, "the stream did not come whole"
        events = self._read_back(settings, outputs[0], totals.n_alerts)
        put_aside = self._read_back(settings, outputs[1], totals.n_dead_letters)
        self.delete(*outputs)
        self._progress.advance(self._task)
        counts = {**counted(metrics), "dead letters": {"read back": len(put_aside)}}
        return Heard.of(steps, known_ms, events, counts)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self._servers, "log_level": 4})

    def _make_topics(self, *names: str) -> None:
        """Make topics that keep records of any age: a recording's times are long past."""
        keep = {"retention.ms": "-1"}
        topics = [NewTopic(name, N_PARTITIONS, config=keep) for name in names]
        admin = self._admin()
        for done in admin.create_topics(topics).values():
            done.result(timeout=30)
        # A broker says that a topic is made before it can be asked for it.
        while not {*names} <= {*admin.list_topics(timeout=30).topics}:
            time.sleep(0.05)

    def delete(self, *names: str) -> None:
        """Delete topics."""
        admin = self._admin()  # must outlive what it was asked
        for done in admin.delete_topics(list(names)).values():
            done.result(timeout=30)

    def _settings(self, way: Way, topic: str, group: str) -> DetectSettings:
        return load_settings(
            DetectSettings,
            bootstrap_servers=self._servers,
            client=way.client,
            input_topic=topic,
            alerts_topic=f"{group}-alerts",
            dead_letter_topic=f"{group}-dead-letters",
            group=group,
            content_type=way.content_type,
            poll_records_max=way.poll_records_max,
            stop_when_idle_s=IDLE_S,
        )

    def _read_back(self, settings: DetectSettings, topic: str, n_records: int) -> list[bytes]:
        """Return the values of a topic that holds so many records."""
        client = connect(settings, topics=[topic])
        values: list[bytes] = []
        deadline_s = time.monotonic() + IDLE_S
        while len(values) < n_records:
            assert time.monotonic() < deadline_s, f"{topic} holds fewer than {n_records} records"
            batch = client.poll(settings.poll_records_max, settings.poll_timeout_ms)
            values += [value for value in batch.values if value is not None]
        client.close()
        return values


def measure(bench: Bench, dataset: str, series: str, options: argparse.Namespace) -> list[Any]:
    """Stream one series and return its figures, one item a seed.

    The first seed's bundle hears it in every way.
    """
    streamed = load_samples(dataset, series=series).test
    other = next(name for name in CLIENTS if name != options.client)
    ways = (Way(options.client), Way(options.client, "json", 7, 997), Way(other))
    bench.say(f"{series}: sending")
    sent = [bench.send(streamed, INTERVAL_MS[dataset], way) for way in ways]
    judge = judge_beats if dataset == "mitdb" else judge_segments
    found: list[dict[str, Any]] = []
    for seed in options.seeds:
        bench.say(f"{series} seed {seed}: training")
        served = bench.fit_to(options.recipe or f"{dataset}-dense", series, seed, options.set)
        bench.say(f"{series} seed {seed}: detecting")
        some = sent[:1] if found else sent
        heard = [bench.detect(served, each, INTERVAL_MS[dataset]) for each in some]
        assert isinstance(served.detector, SampleDetector)
        windows = cut_samples(streamed, served.detector.windows)
        errors = served.detector.score(windows.in_key_units(served.detector.features).windows)
        names = ("as_offline", "as_offline_json", f"as_offline_{other}")
        pairs = zip(names, heard, strict=False)
        equal = {name: each.equals(errors, windows) for name, each in pairs}
        found.append({"seed": seed, **judge(heard[0], series, streamed), **equal})
    bench.delete(*(each.topic for each in sent))
    return found


def measure_faults(bench: Bench, options: argparse.Namespace) -> list[Any]:
    """Stream one record with faults, once for each lateness allowed, and return the counts."""
    found = []
    (series,) = options.series
    bench.say("faults")
    streamed = load_samples("mitdb", series=series).test
    sent = bench.send(streamed, INTERVAL_MS["mitdb"], Way(options.client), FAULTS)
    for lateness_ms in LATENESS_MS:
        lateness = f"window.allowed_lateness_ms={lateness_ms}"
        served = bench.fit("mitdb-dense", f"data.series={series}", lateness)
        counts = bench.detect(served, sent, INTERVAL_MS["mitdb"]).counts
        n_sent, by_outcome = sent.summary.n_records, counts["records"]
        put_aside = by_outcome.get("late", 0) + by_outcome.get("dead_letter", 0)
        row = {"allowed_lateness_ms": lateness_ms, "sent": n_sent, **counts}
        row["adds_up"] = sum(by_outcome.values()) == n_sent
        row["dead_letters_add_up"] = counts["dead letters"]["read back"] == put_aside
        found.append(row)
    bench.delete(sent.topic)
    return found


def parse() -> argparse.Namespace:
    """Return the options, the data set's own series filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["mitdb", "smd", "faults"])
    parser.add_argument("--recipe", help="name of a file in models/, the dense one if not given")
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value of the recipe")
    parser.add_argument("--series", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--client", choices=CLIENTS, default=CLIENTS[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    default = {"mitdb": [*RICH, *QUIET], "smd": [*MACHINES], "faults": ["106"]}
    options.series = options.series or default[options.what]
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    logging.getLogger("stream_detector").setLevel(logging.ERROR)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    n_steps = len(options.series) * (STEPS_PER_RECORD + STEPS_PER_SEED * len(options.seeds))
    if options.what == "faults":
        n_steps = 1 + 2 * len(LATENESS_MS)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_broker() as servers,
        Progress(
            *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
        ) as progress,
    ):
        bench = Bench(servers, Path(folder), progress, n_steps)
        if options.what == "faults":
            found = {"faults": measure_faults(bench, options)}
        else:
            found = {each: measure(bench, options.what, each, options) for each in options.series}
    if options.json:
        print(json.dumps(found, indent=2))
    elif options.what == "faults":
        show_faults(found["faults"])
    elif options.what == "mitdb":
        show(found, BEAT_COLUMNS)
        print(f"\n{TARGET}")
    else:
        show(found, SEGMENT_COLUMNS)


if __name__ == "__main__":
    main()
