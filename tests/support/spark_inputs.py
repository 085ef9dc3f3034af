"""Bundles and streams for the tests of Spark, and what `detect` makes of a stream."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import sample_streams
from delivery_stream import alert_bytes, dead_letter_bytes
from fault_stage import read_all
from halving_bundle import ROOT, make_bundle, make_bundle_of_samples
from image_files import HEADERS, bad_files

from stream_detector.assembly import connect_writer, open_bundle
from stream_detector.clients import connect
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.image_format import ImageFormat, ImageShape, encode_image
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import OutputRecord, Samples
from stream_detector.datasets import load_dataset, load_samples
from stream_detector.ports import SystemClock
from stream_detector.recipes import load_recipe
from stream_detector.service import Service
from stream_detector.settings import ConnectionSettings, DetectSettings
from stream_detector.telemetry import Metrics

N_PARTITIONS = 2
START_MS = 1_767_225_600_000
FLOAT32 = ("content-type", CONTENT_TYPES["float32"])

Lines = dict[tuple[str, int], list[bytes]]
"""What two runs must write alike: alerts and dead letters of each partition of the input."""


@dataclass(frozen=True)
class Case:
    """A stream that Spark and `detect` must judge alike.

    Parameters
    ----------
    make_bundle
        Writes the bundle to a folder.
    records
        Gives the records of a topic.
    settings
        Of the run.
    """

    make_bundle: Callable[[Path], None]
    records: Callable[[str], Iterator[OutputRecord]]
    settings: dict[str, Any]


def beats(topic: str) -> Iterator[OutputRecord]:
    """Yield 300 beats of ECG5000, a third of them three times as high; 1 % are poison."""
    data = load_dataset("ecg5000")
    poison: list[tuple[bytes | None, list[tuple[str, bytes | None]]]] = [
        (b"?", [FLOAT32]),
        (np.full(140, np.nan, "<f4").tobytes(), [FLOAT32]),
        (None, [("h", None), ("h", b"")]),
        (b'{"values": [1, 2]}', []),
    ]
    for number, window in enumerate(data.test[:300]):
        value = (
            window.astype("<f4").tobytes() if number % 3 else (3 * window).astype("<f4").tobytes()
        )
        headers: list[tuple[str, bytes | None]] = [FLOAT32]
        if number % 75 == 40:
            value, headers = poison[number // 75]
        key = None if number % 50 == 7 else b"beat-%d" % (number % 9)
        place = number % N_PARTITIONS
        yield OutputRecord(topic, key, value, headers, START_MS + 1_000 * number, place)


def images(topic: str) -> Iterator[OutputRecord]:
    """Yield dark and bright images in each format, and files that are none."""
    draw = np.random.default_rng(1)
    formats: tuple[ImageFormat, ...] = ("png", "jpeg", "uint8")
    for number in range(24):
        pixels = draw.integers(100 * (number % 2), 150 + 100 * (number % 2), (28, 28))
        form = formats[number % 3]
        value = encode_image(pixels.astype(np.uint8), 1, form)
        yield OutputRecord(topic, b"i%d" % number, value, HEADERS[form], START_MS + number, 0)
    for number, (_, value, *_) in enumerate(bad_files(ImageShape(28, 28, 1))):
        yield OutputRecord(topic, b"bad", value, HEADERS["png"], START_MS + number, 1)


def samples_of(topic: str, samples: Samples, chunk: int) -> Iterator[OutputRecord]:
    """Yield samples as float32, the series in turn, each in a partition of its own."""
    rows = [np.flatnonzero(samples.series == each) for each in range(len(samples.keys))]
    for start in range(0, max(map(len, rows)), chunk):
        for number, of_series in enumerate(rows):
            some = of_series[start : start + chunk]
            if len(some):
                value = samples.values[some].astype("<f4").tobytes()
                time_ms = round(float(samples.times_ms[some[0]]))
                key, place = samples.keys[number].encode(), number % N_PARTITIONS
                yield OutputRecord(topic, key, value, [FLOAT32], time_ms, place)


def heartbeats(topic: str) -> Iterator[OutputRecord]:
    """Yield half a minute of the patients 106 and 119 of MIT-BIH."""
    for name in ("106", "119"):
        data = load_samples("mitdb", series=name).test
        is_first = data.times_ms < data.times_ms.min() + 30_000  # (n_samples,)
        some = Samples(
            data.keys, data.series[is_first], data.times_ms[is_first], 3 * data.values[is_first]
        )
        for each in samples_of(topic, some, 36):
            yield each._replace(partition=int(name) % N_PARTITIONS)


def pumps(topic: str) -> Iterator[OutputRecord]:
    """Yield ten minutes of five pumps, one sample a record, with values missing."""
    data = load_samples("pumps", series="0").test
    is_some = (data.series < 5) & (data.times_ms < data.times_ms.min() + 600_000)  # (n_samples,)
    values = data.values[is_some]  # (n_samples, 3)
    values = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    some = Samples(data.keys[:5], data.series[is_some], data.times_ms[is_some], 1.2 * values)
    yield from samples_of(topic, some, 1)


def odd_ones(topic: str) -> Iterator[OutputRecord]:
    """Yield what comes late, twice or not at all, of keys that go idle and clocks that are set."""
    draw = random.Random(3)
    behind = [0] * 12 + [2, 6, 2, 6, 100_000, -100_000, 9, -9]
    plans = [
        (
            draw.choice([0, 0, 1]),
            draw.choice([0, 0, 0, 1, 2]),
            draw.choice(behind),
            draw.choice([0] * 18 + [50, 2_000, -50]),
            draw.choice([*sample_streams.KINDS * 5, *sample_streams.BAD]),
            [
                (
                    draw.choice([1] * 8 + [0, 2, 5]),
                    draw.choice([0.0, 0.1, 0.2, 0.3, 3.5, 9.0, -9.0, None]),
                    draw.choice([0.0, 0.1, 0.2, 0.3, None]),
                )
                for _ in range(draw.randint(1, 5))
            ],
        )
        for _ in range(400)
    ]
    for each in sample_streams.stream_of(plans):
        place = each.key, each.value, each.headers, each.timestamp_ms, each.partition
        yield OutputRecord(topic, *place)


def bundle_of(recipe: str) -> Callable[[Path], None]:
    """Return what writes a bundle of a recipe that halves."""

    def write(path: Path) -> None:
        make_bundle(path, recipe)

    return write


def pump_bundle(path: Path) -> None:
    """Write a bundle for samples of three features, one a second."""
    make_bundle_of_samples(path, 20, 3, no_data_after_ms=30_000)


def odd_bundle(path: Path) -> None:
    """Write a bundle with all that depends on time: lateness, idle keys, warm-ups, incidents."""
    recipe = load_recipe(ROOT / "models" / "smd-dense.toml")
    data = recipe.data.model_copy(update={"name": "csv", "series": None, "path": "odd.csv"})
    window = recipe.window.model_copy(
        update={
            "steps": 4,
            "features": 2,
            "stride": 2,
            "sample_interval_ms": 10.0,
            "gap_ms_max": 25.0,
            "allowed_lateness_ms": 35.0,
            "key_ttl_ms": 300.0,
        }
    )
    alerting = recipe.alerting.model_copy(
        update={
            "close_after_ms": 20,
            "update_interval_ms": 20,
            "open_ms_max": 100,
            "flood_alerts_max": 3,
            "flood_window_ms": 1_000,
            "no_data_after_ms": 60,
            "incident_within_ms": 300,
        }
    )
    offset, scale = np.array([[0.1, 0.2]], np.float32), np.array([[2, 0.5]], np.float32)
    features = Features(("a", "b"), (), KeyScales([b"k1"], offset, scale), 20)
    scaling = recipe.scaling.model_copy(update={"per_key": True, "warm_up_samples": 20})
    made = {"name": "odd", "data": data, "window": window, "scaling": scaling, "alerting": alerting}
    make_bundle(path, recipe.model_copy(update=made), features=features)


CASES = {
    "beats": Case(bundle_of("ecg5000-dense"), beats, {}),
    "beats without incidents": Case(
        bundle_of("ecg5000-dense"), beats, {"alerting": {"incident_within_ms": 0}}
    ),
    "images": Case(bundle_of("digit-one"), images, {}),
    "heartbeats": Case(bundle_of("mitdb-dense"), heartbeats, {}),
    "pumps": Case(pump_bundle, pumps, {}),
    "odd ones": Case(odd_bundle, odd_ones, {}),
}


def send(servers: str, records: Iterator[OutputRecord]) -> int:
    """Write records; return how many."""
    settings = ConnectionSettings(bootstrap_servers=servers, client="confluent")
    every = list(records)
    with closing(connect_writer(settings)) as writer:
        writer.produce(every)
        writer.flush(30_000)
    return len(every)


def send_aborted(servers: str, topic: str) -> None:
    """Write a record to each partition in a transaction, and abort it: nobody may judge them."""
    settings = ConnectionSettings(bootstrap_servers=servers, client="confluent")
    writer = connect(settings, transactional_id=f"aborted-{topic}")
    with closing(writer):
        writer.produce(OutputRecord(topic, b"k", b"?", partition=n) for n in range(N_PARTITIONS))
        writer.flush(30_000)
        writer.abort()


def detect(
    bundle: Path,
    settings: DetectSettings,
    n_records: int,
    on_read: Callable[[int], object] = lambda _: None,
) -> None:
    """Let the service of `detect` read a topic of so many records to its end.

    After each batch `on_read` is called with how many were read so far.
    """
    served = open_bundle(bundle, changes=settings.changes)
    topic = settings.input_topic
    client = connect(settings, topics=[topic], group=settings.group or f"detect-{topic}")
    service = Service(client, served.detector, settings, Metrics(), SystemClock())
    n_read = 0

    def count(batch: Any, step: Any) -> None:
        nonlocal n_read
        del step
        n_read += len(batch)
        on_read(n_read)
        if n_read >= n_records:
            service.stop()

    service.add_observer(count)
    service.run()


def lines_of(records: Iterable[OutputRecord], dead_letter_topic: str) -> Lines:
    """Return alerts and dead letters by topic and partition of the record that each is about.

    Each as two runs must write it, in order.
    """
    found: Lines = {}
    for each in records:
        value, key, headers = each.value, each.key, list(each.headers)
        if each.topic == dead_letter_topic:
            place = "dead letter", int(dict(headers)["__connect.errors.partition"] or b"")
            line = dead_letter_bytes(value, key, headers)
        else:
            place = "alert", orjson.loads(value or b"")["source"]["partition"]
            line = alert_bytes(value, key, headers)
        found.setdefault(place, []).append(line)
    return found


def lines_in(servers: str, alerts_topic: str, dead_letter_topic: str) -> Lines:
    """Return the alerts and dead letters of two topics, as `lines_of` does."""
    records = [
        OutputRecord(topic, key, value, headers)
        for topic in (alerts_topic, dead_letter_topic)
        for value, key, headers in read_all(servers, topic)
    ]
    return lines_of(records, dead_letter_topic)
