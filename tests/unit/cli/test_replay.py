"""The replay command and the producers, on a broker in this process."""

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image
from present import present

from stream_detector import cli
from stream_detector.clients.memory import MemoryBroker, StoredRecord
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.image_format import MEDIA_TYPES as IMAGE_TYPES
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.datasets import Dataset, ImageChoice
from stream_detector.recipes.columns import BY_NAME
from stream_detector.recipes.input import InputSection

ROOT = Path(__file__).parents[3]
START_MS = 1_767_225_600_000

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("telemetry", 1)
    monkeypatch.setattr("stream_detector.clients.connect", lambda *_, **__: made.connect())
    return made


@pytest.fixture
def run(
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """Return a runner of `replay` in an empty folder, on that broker."""
    del broker  # needed for its side effect
    monkeypatch.chdir(tmp_path)

    def run_here(line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stream-detector", "replay", *line.split()])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return code, capsys.readouterr().err

    return run_here


def make_samples(n_samples: int = 90, interval_ms: float = 10.0) -> Samples:
    rng = np.random.default_rng(3)
    return Samples(
        keys=("pump-1", "pump-2"),
        series=np.repeat([0, 1], n_samples),
        times_ms=START_MS + np.tile(interval_ms * np.arange(n_samples), 2),
        values=rng.normal(size=(2 * n_samples, 2)).astype(np.float32),
        labels=np.zeros(2 * n_samples, np.int8),
    )


@pytest.fixture
def sample_sets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Replace the loader of sample data sets; returns the calls it got."""
    asked = []

    def load_samples(name: str, *, series: str) -> SimpleNamespace:
        asked.append((name, series))
        interval_ms = {"mitdb": 1_000 / 360, "smd": 60_000.0, "nab": 300_000.0}[name]
        both = make_samples(interval_ms=interval_ms)
        is_train = np.tile(np.arange(90) < 30, 2)
        train, test = (
            Samples(
                both.keys,
                both.series[rows],
                both.times_ms[rows],
                both.values[rows],
                np.zeros(rows.sum(), np.int8),
            )
            for rows in (is_train, ~is_train)
        )
        return SimpleNamespace(train=train, test=test)

    monkeypatch.setattr("stream_detector.datasets.load_samples", load_samples, raising=False)
    monkeypatch.setattr("stream_detector.cli.sources.load_samples", load_samples)
    return asked


def write_samples(path: Path, n_samples: int = 8) -> None:
    rows = ["key,timestamp_ms,heat,flow,label"]
    for step in range(n_samples):
        rows += [
            f"pump-{number},{START_MS + 10 * step},{step}.5,{number},{int(step == 5)}"
            for number in (1, 2)
        ]
    path.write_text("\n".join(rows) + "\n")


def bundle_of(window: SimpleNamespace, **table: Any) -> SimpleNamespace:
    """Return what `replay` needs to know of a bundle."""
    data = SimpleNamespace(columns=BY_NAME)
    recipe = SimpleNamespace(window=window, data=data, input=InputSection(**table))
    manifest = SimpleNamespace(recipe=recipe)
    return SimpleNamespace(manifest=manifest, features=Features(("heat", "flow")))


def times_of(records: list[StoredRecord]) -> list[int]:
    return [record.metadata.timestamp_ms - START_MS for record in records]


def test_a_file_of_samples_is_sent_as_samples(
    run: Run, broker: MemoryBroker, tmp_path: Path
) -> None:
    write_samples(tmp_path / "pumps.csv")
    code, err = run("pumps.csv --samples --interval-ms 10 --chunk 3 --format float32")
    assert (code, err[:25]) == (0, "6 records to telemetry in")
    records = broker.records("telemetry")
    assert [record.metadata.key for record in records] == [b"pump-1", b"pump-2"] * 3
    assert times_of(records) == [0, 0, 30, 30, 60, 60]
    assert np.frombuffer(records[3].value or b"", "<f4").tolist() == [3.5, 2, 4.5, 2, 5.5, 2]
    assert dict(records[3].metadata.headers) == {
        "content-type": CONTENT_TYPES["float32"],
        "label": b"1",
    }


def test_without_a_chunk_each_sample_is_a_record(
    run: Run, broker: MemoryBroker, tmp_path: Path
) -> None:
    write_samples(tmp_path / "pumps.csv")
    assert run("pumps.csv --samples")[0] == 0
    records = broker.records("telemetry")
    assert len(records) == 16
    assert orjson.loads(records[1].value or b"") == {
        "values": [[0.5, 2.0]],
        "timestamp_ms": START_MS,
    }


def test_each_sample_may_say_its_time_and_all_be_shifted(
    run: Run, broker: MemoryBroker, tmp_path: Path
) -> None:
    write_samples(tmp_path / "pumps.csv")
    assert run("pumps.csv --samples --chunk 100 --times each --start-ms 50")[0] == 0
    document = orjson.loads(broker.records("telemetry")[0].value or b"")
    assert document["timestamps_ms"] == list(range(50, 130, 10))


@pytest.mark.parametrize(
    ("source", "asked", "n_records"),
    [
        ("mitdb:106", ("mitdb", "106"), 4),
        ("smd:1-6", ("smd", "1-6"), 4),
        ("nab:realKnownCause/machine", ("nab", "realKnownCause/machine"), 4),
        ("mitdb:106 --part all", ("mitdb", "106"), 6),
        ("mitdb:106 --interval-ms 60000", ("mitdb", "106"), 120),  # the flag wins
    ],
)
def test_a_data_set_of_samples_is_known_with_its_interval(
    run: Run,
    broker: MemoryBroker,
    sample_sets: list[tuple[str, str]],
    source: str,
    asked: tuple[str, str],
    n_records: int,
) -> None:
    assert run(f"{source} --chunk 36")[0] == 0
    assert sample_sets == [asked]
    assert len(broker.records("telemetry")) == n_records


def test_faults_are_counted(
    run: Run, broker: MemoryBroker, sample_sets: list[tuple[str, str]]
) -> None:
    del sample_sets
    faults = "--drop 0.1 --delay 0.1 --delay-ms 20 --duplicate 0.1 --shuffle 0.1 --nan 0.1 --seed 7"
    code, err = run(f"mitdb:106 {faults}")
    assert code == 0
    first, second = err.splitlines()
    words = second.replace(",", "").split()
    assert words[:3] == ["120", "records", "made;"]
    assert words[3::2] == ["dropped", "delayed", "duplicated", "shuffled", "missing"]
    n_sent = 120 - int(words[4]) + int(words[8])
    assert len(broker.records("telemetry")) == n_sent
    assert first.startswith(f"{n_sent} records to telemetry")


@pytest.mark.parametrize(
    ("record", "interval_ms", "line", "n_records"),
    [
        ("samples", 10, "pumps.csv --chunk 4", 4),
        ("samples", 99, "pumps.csv --chunk 4", 16),
        ("samples", 10, "pumps.csv --chunk 4 --interval-ms 10", 4),
        ("window", 0, "windows.csv", 2),
    ],
)
def test_a_bundle_decides_what_is_sent(
    run: Run,
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    record: str,
    interval_ms: int,
    line: str,
    n_records: int,
) -> None:
    write_samples(tmp_path / "pumps.csv")
    (tmp_path / "windows.csv").write_text("0.5,1.5\n2.5,3.5\n")
    window = SimpleNamespace(record=record, sample_interval_ms=interval_ms, channels=1)
    monkeypatch.setattr("stream_detector.bundle.read_bundle", lambda _: bundle_of(window))
    assert run(f"{line} --bundle pumps")[0] == 0
    assert len(broker.records("telemetry")) == n_records


@pytest.mark.parametrize(("table", "name"), [({}, "json"), ({"preset": "flat"}, "values")])
def test_a_bundle_with_an_input_is_sent_what_it_reads_without(
    table: dict[str, Any],
    name: str,
    run: Run,
    broker: MemoryBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_samples(tmp_path / "pumps.csv")
    window = SimpleNamespace(record="samples", sample_interval_ms=0, channels=1)
    found = bundle_of(window, **table)
    monkeypatch.setattr("stream_detector.bundle.read_bundle", lambda _: found)
    assert run("pumps.csv --bundle b")[0] == 0
    types = {dict(each.metadata.headers)["content-type"] for each in broker.records("telemetry")}
    assert types == {CONTENT_TYPES[name]}


def test_a_bundle_of_windows_takes_no_samples(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    window = SimpleNamespace(record="window", sample_interval_ms=0)
    monkeypatch.setattr("stream_detector.bundle.read_bundle", lambda _: bundle_of(window))
    code, err = run("mitdb:106 --bundle beats")
    assert code == 2
    assert "expected a bundle that takes samples" in err


def test_another_interval_than_the_bundle_s_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = SimpleNamespace(record="samples", sample_interval_ms=1_000, channels=1)
    monkeypatch.setattr("stream_detector.bundle.read_bundle", lambda _: bundle_of(window))
    code, err = run("pumps.csv --bundle pumps --interval-ms 500")
    assert code == 2
    assert "--interval-ms: expected the 1000.0 of --bundle pumps, received 500.0; leave" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("synthetic-ecg --drop 0.1 --chunk 3", "--chunk, --drop: only for samples"),
        ("synthetic-ecg --speed 2", "--speed: only for samples"),
        ("mitdb:106 --split official", "--split: only for whole windows"),
        ("mitdb:106 --features 2", "--features: only for whole windows"),
        ("mitdb", "expected one of its series, as in mitdb:106, received none"),
        ("mitdb:106 --rate 1 --speed 1", "--rate, --speed: expected at most one of them, received"),
        ("mitdb:106 --speed 0", "--speed: expected seconds of event time a second above zero"),
        ("mitdb:106 --drop 1.5", "equal to 1. See stream-detector replay --help."),
        ("mitdb:106 --times each --format float32", "--times: float32 records have no place"),
        ("mnist --split official", "--split: only for ecg5000, received 'official' with mnist"),
        ("mitdb:106 --format png", "expected json or values or float32, received 'png'"),
        ("ones.csv --format png", "ones.csv cannot be sent as png: pixels: expected whole numbers"),
        ("ecg5000 --samples", "source of samples: expected mitdb:SERIES"),
        ("csv", "expected one of ecg5000, synthetic-ecg, mnist, fashion-mnist, mitdb:SERIES"),
        ("pumps.csv --samples --chunk 3", "--interval-ms: expected the time between samples"),
        ("absent --bundle absent", "absent"),
    ],
)
def test_flags_that_do_not_fit_are_refused_on_one_line(
    run: Run, tmp_path: Path, line: str, words: str
) -> None:
    (tmp_path / "ones.csv").write_text("v0,v1\n1,1.5\n")
    code, err = run(line)
    assert code in (2, 3)
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "line", "asked", "keys"),
    [
        (
            "ecg_monitor",
            "--patients 3 --minutes 0.01 --rate 1e9 --format float32",
            [("mitdb", "100"), ("mitdb", "106"), ("mitdb", "112")],
            {b"patient-000", b"patient-001", b"patient-002"},
        ),
        (
            "machines",
            "--machines 5 --minutes 120 --speed 1e9 --chunk 36",
            [("smd", "1-6"), ("smd", "2-1"), ("smd", "2-7"), ("smd", "3-3")],
            {b"machine-%03d" % number for number in range(5)},
        ),
    ],
)
def test_a_producer_sends_a_fleet(
    broker: MemoryBroker,
    sample_sets: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    line: str,
    asked: list[tuple[str, str]],
    keys: set[bytes],
) -> None:
    sent = []
    for more in ("", " --seed 1 --drop 0.5 --start-ms 7"):
        broker.create_topic("telemetry", 1)
        monkeypatch.setattr(sys, "argv", [name, *(line + more).split()])
        load_producer(name, monkeypatch).main()
        sent.append(broker.records("telemetry"))
    plain, faulty = sent
    assert sample_sets == asked * 2
    assert {record.metadata.key for record in plain} == keys
    assert 0 < len(faulty) < len(plain)
    assert {each.metadata.timestamp_ms for each in faulty} <= {
        each.metadata.timestamp_ms - plain[0].metadata.timestamp_ms + 7 for each in plain
    }
    assert plain[0].metadata.timestamp_ms >= START_MS


@pytest.fixture
def image_sets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Replace the loader of image data sets; returns the calls it got."""
    asked: list[tuple[object, ...]] = []

    def load_images(*given: object) -> Dataset:
        asked.append(given)
        pixels = np.random.default_rng(5).integers(0, 256, (10, 6, 5)).astype(np.float32)
        labels = np.repeat([0, 1], [8, 2]).astype(np.int8)
        keys = tuple(f"mnist/test/{number}" for number in range(10))
        none = np.zeros(0, np.int8)
        return Dataset("mnist", "", pixels[:0], none, pixels, labels, test_keys=keys)

    monkeypatch.setattr("stream_detector.datasets.load_images", load_images)
    monkeypatch.setattr("stream_detector.cli.sources.load_images", load_images)
    return asked


@pytest.mark.parametrize("format_", ["png", "jpeg", "uint8", "json"])
def test_a_data_set_of_images_is_sent(
    run: Run, broker: MemoryBroker, image_sets: list[tuple[object, ...]], format_: str
) -> None:
    code, err = run(f"mnist --format {format_}")
    assert (code, err[:26]) == (0, "10 records to telemetry in")
    assert image_sets == [("mnist",)]
    records = broker.records("telemetry")
    known = {**CONTENT_TYPES, **IMAGE_TYPES}
    assert dict(records[9].metadata.headers) == {"content-type": known[format_], "label": b"1"}


def test_a_bundle_decides_the_channels_of_an_image(
    run: Run, broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = SimpleNamespace(record="image", sample_interval_ms=0, channels=3)
    monkeypatch.setattr("stream_detector.bundle.read_bundle", lambda _: bundle_of(window))
    (tmp_path / "colours.csv").write_text("v0,v1,v2,v3,v4,v5\n0,1,2,253,254,255\n")
    line = "colours.csv --features 6 --format png"
    assert run(f"{line} --bundle b")[0] == 0
    assert run(line)[0] == 0
    shown = []
    for record in broker.records("telemetry"):
        with Image.open(io.BytesIO(record.value or b"")) as opened:
            shown.append((opened.mode, opened.size, opened.tobytes()))
    values = bytes([0, 1, 2, 253, 254, 255])
    assert shown == [("RGB", (2, 1), values), ("L", (6, 1), values)]


def test_the_producer_of_images_references_each_image(
    broker: MemoryBroker,
    image_sets: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = []
    more = "--normal 1 --anomalous-from mnist --anomalous 9 --seed 1 --format uint8"
    for line in ("", "", more):
        broker.create_topic("telemetry", 1)
        words = f"images --rate 1e9 --n-records 60 --share 0.3 {line}".split()
        monkeypatch.setattr(sys, "argv", words)
        load_producer("images", monkeypatch).main()
        sent.append(broker.records("telemetry"))
    first, again, other = ([(each.value, each.metadata.headers) for each in part] for part in sent)
    assert first == again
    assert [dict(headers)["reference"] for _, headers in other] != [
        dict(headers)["reference"] for _, headers in first
    ]
    labels = {b"0": 0, b"1": 0}
    for _, headers in first:
        number = int(present(dict(headers)["reference"]).decode().removeprefix("mnist/test/"))
        assert dict(headers)["label"] == str(int(number >= 8)).encode()
        labels[present(dict(headers)["label"])] += 1
    assert 5 < labels[b"1"] < 35
    assert {dict(headers)["content-type"] for _, headers in first} == {b"image/png"}
    assert image_sets == [
        ("mnist", ImageChoice(anomalous_from="fashion-mnist")),
        ("mnist", ImageChoice(anomalous_from="fashion-mnist")),
        ("mnist", ImageChoice(normal=(1,), anomalous=(9,))),
    ]


def test_the_producer_of_synthetic_beats_labels_each(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "synthetic_ecg --rate 1e9 --n-records 40 --seed 1 --format float32"
    monkeypatch.setattr(sys, "argv", line.split())
    load_producer("synthetic_ecg", monkeypatch).main()
    records = broker.records("telemetry")
    labels = [dict(record.metadata.headers)["label"] for record in records]
    assert len(records) == 40
    assert {record.metadata.key for record in records} == {
        b"series-%d" % number for number in range(16)
    }
    assert capsys.readouterr().out.endswith(f", {labels.count(b'1')} anomalous\n")


def load_producer(name: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a producer as a module, found as when it is run by its path."""
    monkeypatch.syspath_prepend(str(ROOT / "producers"))
    sys.modules.pop("_common", None)  # it took `connect` when it was loaded
    spec = importlib.util.spec_from_file_location(name, ROOT / "producers" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module  # type: ignore[return-value]


def test_the_live_pumps_have_a_file_to_train_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    producer = load_producer("live_pumps", monkeypatch)
    file = tmp_path / "normal.csv"
    monkeypatch.setattr(sys, "argv", ["live_pumps.py", "--normal", str(file), "--pumps", "2"])
    producer.main()
    lines = file.read_text().splitlines()
    assert lines[0].startswith("key,timestamp_ms,temperature,pressure,vibration,label")
    assert {line.partition(",")[0] for line in lines[1:]} == {"pump-00", "pump-01"}
    assert capsys.readouterr().out == f"{len(lines) - 1:,} samples of 2 pumps to {file}\n"
