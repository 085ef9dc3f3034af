"""The command `doctor`, on a broker in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from halving_bundle import make_bundle_of_samples

from stream_detector import cli
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import OutputRecord

TIME_MS = 1_767_225_600_000


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("telemetry", 2)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, topics=(), **__: made.connect(topics=topics)
    )
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of windows of 20 samples, one a second."""
    path = tmp_path_factory.mktemp("bundles") / "pumps"
    make_bundle_of_samples(path)
    return path


@pytest.fixture
def run(
    broker: MemoryBroker,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Return a runner of `doctor` on that broker and bundle."""
    del broker  # needed for its side effect
    monkeypatch.setenv("COLUMNS", "200")

    def run_here(*words: str) -> Ended:
        line = ["stream-detector", "doctor", str(bundle), "--for", "300ms", *words]
        monkeypatch.setattr(sys, "argv", line)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Ended(code, *capfd.readouterr())

    return run_here


def feed(broker: MemoryBroker, interval_s: int, key: bytes = b"pump-7") -> None:
    broker.feed(
        "telemetry",
        [
            OutputRecord("telemetry", key, b'{"values":[0.1]}', (), TIME_MS + 1_000 * each)
            for each in range(0, 60 * interval_s, interval_s)
        ],
    )


def test_a_topic_that_fits(broker: MemoryBroker, run: Run) -> None:
    feed(broker, 1)
    ended = run()
    assert (ended.code, ended.err) == (0, "")
    assert "received samples about 1000 ms apart, expected 1000" in ended.out
    assert ended.out.endswith("windows would be scored\n")
    assert not broker.committed


def test_a_topic_that_does_not_fit_ends_with_1(broker: MemoryBroker, run: Run) -> None:
    feed(broker, 2)
    ended = run()
    assert ended.code == 1
    assert "received samples about 2000 ms apart, expected 1000" in ended.out
    assert ended.out.endswith("nothing would be scored\n")


def test_json(broker: MemoryBroker, run: Run) -> None:
    feed(broker, 2, "\x1b[31m\u202e[/red]".encode())
    ended = run("--json")
    assert ended.code == 1
    report = json.loads(ended.out)
    assert (report["topic"], report["bundle"]) == ("telemetry", "pumps")
    assert (report["would_score"], report["n_records"], report["n_windows"]) == (False, 60, 0)
    rate = next(each for each in report["checks"] if each["check"] == "rate")
    assert rate["status"] == "problem"
    assert "about 2000 ms apart" in rate["found"]
    assert rate["what_to_do"]


def test_a_nasty_key_is_shown_as_text(broker: MemoryBroker, run: Run) -> None:
    feed(broker, 1, "\x1b[31m\u202e[/red]".encode())
    ended = run()
    assert ended.code == 0
    assert r"\x1b[31m\u202e[/red]" in ended.out


@pytest.mark.parametrize("n_partitions", [1, 2])
def test_keys_in_the_records_are_those_that_are_checked(
    broker: MemoryBroker, run: Run, n_partitions: int
) -> None:
    producer = broker.connect()
    for at in range(60):
        value = {"id": "pump-7", "values": [0.1], "timestamp_ms": TIME_MS + 1_000 * at}
        record = OutputRecord("telemetry", None, json.dumps(value).encode(), (), TIME_MS)
        producer.produce([record._replace(partition=at % n_partitions)])
    producer.flush(1_000)
    ended = run("--json", "--set", "input.key=id")
    checks = {each["check"]: each for each in json.loads(ended.out)["checks"]}
    assert checks["keys"]["found"] == "1 key, such as pump-7"
    assert checks["partitioning"]["status"] == ("ok" if n_partitions == 1 else "problem")


def test_an_absent_topic_is_exit_4(run: Run) -> None:
    ended = run("--topic", "absent")
    assert ended.code == 4
    assert "--create --topic absent" in ended.err


def test_images_for_a_bundle_of_samples_are_refused(run: Run) -> None:
    ended = run("--content-type", "image")
    assert ended.code == 2
    assert "content_type: expected json or float32" in ended.err
