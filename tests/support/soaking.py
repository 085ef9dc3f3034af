"""The long run: `detect` in a process of its own under a steady load, and what it uses meanwhile.

The load has all that an ordinary day has: keys that come and go, alerts that open and close, bad
records. What the process uses is read from /proc. `make soak` lasts, a test is a short one.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from command_line import RunningCommand
from confluent_kafka import Producer

RECIPE = Path(__file__).parents[2] / "models" / "mitdb-dense.toml"
CHANGES = (
    "data.series=100",
    "training.epochs=1",
    "threshold.n_mad=20",  # what is sent is noise, normal until a burst
    "window.allowed_lateness_ms=200",
    "window.key_ttl_ms=10_000",
    "alerting.update_interval_ms=1_000",
)
"""Of the recipe: trained in seconds, and keys are soon forgotten."""

SHAPE = (256, 2)  # of its windows

N_KEYS = 20
N_PARTITIONS = 4
CHUNK = 36  # samples a record: 100 ms of 360 a second
TICK_MS = 100
LIFE_TICKS = 100  # of a key, then another takes its place
BURST_TICKS = 20  # anomalous in the middle of that life
BAD_EVERY = 47

READ_EVERY_S = 1.0


class Load:
    """Sends each of `N_KEYS` sensors' next record, ten times a second."""

    def __init__(self, servers: str, topic: str) -> None:
        random = np.random.default_rng(0)
        shape = (64, CHUNK, 2)
        calm = random.normal(0, 0.1, shape).round(4)
        self._calm = [orjson.dumps({"values": each.tolist()}) for each in calm]
        self._wild = [orjson.dumps({"values": (50 * each + 20).tolist()}) for each in calm]
        self._producer = Producer({"bootstrap.servers": servers})
        self._topic = topic
        self._start_ms = int(time.time() * 1000)
        self._n_ticks = 0
        self.n_records = 0

    def send_due(self) -> None:
        """Send all whose time has come."""
        while self._start_ms + TICK_MS * self._n_ticks <= time.time() * 1000:
            for place in range(N_KEYS):
                self._send(place)
            self._n_ticks += 1
        self._producer.poll(0)

    def _send(self, place: int) -> None:
        age = self._n_ticks + place * LIFE_TICKS // N_KEYS
        life, at = divmod(age, LIFE_TICKS)
        is_wild = 0 <= at - LIFE_TICKS // 2 < BURST_TICKS
        value = (self._wild if is_wild else self._calm)[self.n_records % len(self._calm)]
        if self.n_records % BAD_EVERY == 0:
            value = b"not a record"
        key, partition = f"sensor-{place}-{life}", place % N_PARTITIONS
        time_ms = self._start_ms + TICK_MS * self._n_ticks
        self._producer.produce(self._topic, value, key, partition, timestamp=time_ms)
        self.n_records += 1

    def finish(self) -> None:
        """Wait until all is acknowledged."""
        assert self._producer.flush(30) == 0


@dataclass(frozen=True)
class Usage:
    """What a process uses at a moment.

    Parameters
    ----------
    at_s
        Seconds since it was ready.
    resident_kib
        VmRSS.
    n_descriptors, n_threads
        Open files and sockets; threads.
    """

    at_s: float
    resident_kib: int
    n_descriptors: int
    n_threads: int


def usage_of(pid: int, at_s: float) -> Usage:
    """Read what a process uses now."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    n_descriptors = sum(1 for _ in (process / "fd").iterdir())
    return Usage(at_s, int(status["VmRSS"].split()[0]), n_descriptors, int(status["Threads"]))


class Spread(NamedTuple):
    """Of several readings."""

    median: float
    least: int
    most: int

    @classmethod
    def of(cls, readings: Sequence[int]) -> "Spread":
        """Sum up."""
        return cls(statistics.median(readings), min(readings), max(readings))


class Part(NamedTuple):
    """What a process used over a part of the run."""

    from_s: float
    to_s: float
    resident_kib: Spread
    n_descriptors: Spread
    n_threads: Spread

    @classmethod
    def of(cls, usages: Sequence[Usage]) -> "Part":
        """Sum up."""
        return cls(
            usages[0].at_s,
            usages[-1].at_s,
            Spread.of([each.resident_kib for each in usages]),
            Spread.of([each.n_descriptors for each in usages]),
            Spread.of([each.n_threads for each in usages]),
        )


@dataclass(frozen=True)
class Soaked:
    """What came of a long run.

    Parameters
    ----------
    usages
        In order of time.
    n_records
        Sent, all of them done.
    metrics
        The process's own, in the end.
    """

    usages: Sequence[Usage]
    n_records: int
    metrics: dict[str, float]

    @property
    def warm(self) -> Part:
        """The second quarter; the first is the warm-up."""
        n = len(self.usages)
        return Part.of(self.usages[n // 4 : n // 2])

    @property
    def last(self) -> Part:
        """The last quarter."""
        return Part.of(self.usages[-(len(self.usages) // 4) :])

    @property
    def growth(self) -> float:
        """Share by which resident memory grew from the second quarter to the last."""
        return self.last.resident_kib.median / self.warm.resident_kib.median - 1

    def leaks(self, growth_max: float) -> list[str]:
        """Return what is not flat.

        Memory is not where its median differs by more than a share. Descriptors and threads are
        not where the least of them rises: for a moment there may be one more, while the metrics are
        read for example, and what is leaked stays.
        """
        found = []
        if abs(self.growth) > growth_max:
            found.append(f"resident memory {self.growth:+.1%}")
        for name in ("n_descriptors", "n_threads"):
            warm, last = (getattr(part, name).least for part in (self.warm, self.last))
            if last > warm:
                found.append(f"{name} {warm} -> {last}")
        return found

    def total(self, name: str) -> float:
        """Return a counter over all its labels."""
        full = f"stream_detector_{name}_total"
        return sum(n for key, n in self.metrics.items() if key.partition("{")[0] == full)


def soak(
    running: RunningCommand,
    load: Load,
    *,
    seconds: float,
    n_records_max: int,
    on_read: Callable[[Usage], None] = lambda _: None,
) -> Soaked:
    """Send a steady load to a running `detect` and read what it uses; then let it end in order.

    Parameters
    ----------
    running
        Serves its metrics.
    load
        Sends to its topic.
    seconds, n_records_max
        How long and how much at most, whichever is reached first.
    on_read
        Called with each reading.
    """
    usages: list[Usage] = []
    start_s = time.monotonic()
    while (at_s := time.monotonic() - start_s) < seconds and load.n_records < n_records_max:
        load.send_due()
        if at_s >= READ_EVERY_S * (len(usages) + 1):
            usages.append(usage_of(running.process.pid, at_s))
            on_read(usages[-1])
            running.scrape()  # as an operator's Prometheus does, and ends where detect has ended
        time.sleep(TICK_MS / 2000)
    load.finish()
    metrics = running.wait_until_done(load.n_records)
    code = running.terminate()
    assert code == 0, f"exit code {code}: {running.output}"
    soaked = Soaked(usages, load.n_records, metrics)
    for name in ("alerts", "idle_keys"):
        assert soaked.total(name), f"no {name}: a run in which nothing happens shows nothing"
    return soaked
