"""Silence on a real Kafka: `doctor` and `detect` say why nothing is scored, with both clients."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from halving_bundle import make_bundle_of_samples

from stream_detector.clients import connect
from stream_detector.core.records import OutputRecord
from stream_detector.ports import SystemClock
from stream_detector.settings import ConnectionSettings

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of windows of 20 samples of one feature, one a second."""
    path = tmp_path_factory.mktemp("bundles") / "pumps"
    make_bundle_of_samples(path)
    return path


def send(servers: str, topic: str, interval_s: int, value: bytes = b'{"values":[0.1]}') -> None:
    """Send 120 samples of one key, the last one now."""
    client = connect(ConnectionSettings(bootstrap_servers=servers), topics=[])
    start_ms = SystemClock().now_ms() - 120 * 1_000 * interval_s
    client.produce(
        OutputRecord(topic, b"pump-7", value, (), start_ms + 1_000 * interval_s * each)
        for each in range(120)
    )
    client.flush(30_000)
    client.close()


@each_client
def test_doctor_tells_a_topic_that_fits_from_one_that_does_not(
    client: str, kafka: str, pumps: Path, topics: Callable[..., str], command_line: CommandLine
) -> None:
    right, slow = topics(3), topics(3)
    send(kafka, right, 1)
    send(kafka, slow, 2)
    options = ("--bootstrap-servers", kafka, "--client", client, "--json", "--for", "6s")
    for topic, code in ((right, 0), (slow, 1)):
        ended = command_line.run("doctor", pumps, "--topic", topic, *options, check=False)
        assert ended.returncode == code, ended.stderr
        report = json.loads(ended.stdout)
        assert report["would_score"] == (code == 0)
        assert (report["n_records"], report["n_keys"]) == (120, 1)
        status = {each["check"]: each["status"] for each in report["checks"]}
        assert (status["records"], status["rate"]) == ("ok", "problem" if code else "ok")


@each_client
def test_detect_says_why_nothing_is_scored_or_all_is_rejected(
    client: str, kafka: str, pumps: Path, topics: Callable[..., str], command_line: CommandLine
) -> None:
    def detect(topic: str, *more: str, code: int = 0) -> str:
        outputs = ("--alerts-topic", topics(1), "--dead-letter-topic", topics(1))
        common = ("--bootstrap-servers", kafka, "--client", client, "--group", topic)
        line = ("detect", pumps, "--input-topic", topic, *outputs, *common)
        ended = command_line.run(*line, "--stop-when-idle", "2s", *more, check=False)
        assert ended.returncode == code, ended.stderr
        return ended.stderr

    slow, other = topics(2), topics(2)
    send(kafka, slow, 60)
    said = detect(slow)
    assert "WARNING unscored reason=interval n_keys=1 keys=pump-7 " in said
    assert "received samples about 60000 ms apart, expected 1000" in said
    assert "n_scored_windows=0 n_unscored_keys=1 unscored=interval:1" in said
    send(kafka, other, 1, b'{"values":[[1,2]]}')
    said = detect(other, "--fail-when-all-rejected", code=7)
    assert "ERROR all-rejected n_in_a_row=100 " in said
