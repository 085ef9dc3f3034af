"""The main job on a real Kafka, through the command line as a person runs it."""

import csv
import io
import itertools
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CommandLine

from stream_detector.clients import connect
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.records import OutputRecord
from stream_detector.settings import ConnectionSettings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="session")
def offline(
    bundle: Path, beats_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, tuple[float, float]]]:
    """(error, anomaly score) of each anomalous beat by key, as `score` gives it, by engine."""
    runner = CommandLine(tmp_path_factory.mktemp("offline"))
    return {engine: score_file(runner, bundle, beats_csv, engine) for engine in ("onnx", "keras")}


def score_file(
    runner: CommandLine, bundle: Path, file: Path, engine: str
) -> dict[str, tuple[float, float]]:
    done = runner.run("score", bundle, file, "--engine", engine)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 4998
    return {
        row["key"]: (float(row["reconstruction_error"]), float(row["anomaly_score"]))
        for row in rows
        if row["is_anomalous"] == "true"
    }


def read_alerts(
    command_line: CommandLine, servers: str, topic: str, idle: str = "3s"
) -> list[dict[str, Any]]:
    done = command_line.run(
        *("alerts", "--bootstrap-servers", servers, "--topic", topic, "--json"),
        *("--from-beginning", "--stop-when-idle", idle),
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def flags(options: dict[str, str]) -> list[str]:
    return list(itertools.chain.from_iterable(options.items()))


@pytest.mark.parametrize("engine", ["onnx", "keras"])
@pytest.mark.parametrize("content_type", ["json", "float32"])
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_live_alerts_equal_offline_scores_bit_for_bit(
    client: str,
    content_type: str,
    engine: str,
    kafka: str,
    bundle: Path,
    beats_csv: Path,
    offline: dict[str, dict[str, tuple[float, float]]],
    topic_options: dict[str, str],
    command_line: CommandLine,
) -> None:
    common = ["--bootstrap-servers", kafka, "--client", client]
    replay = ["--topic", topic_options["--input-topic"], "--format", content_type]
    command_line.run("replay", beats_csv, *common, *replay)
    command_line.run(
        *("detect", bundle, *common, *flags(topic_options), "--group", client),
        *("--engine", engine, "--stop-when-idle", "1s"),
    )
    alerts = read_alerts(command_line, kafka, topic_options["--alerts-topic"])
    live = {
        alert["key"]: (alert["reconstruction_error"], alert["anomaly_score"]) for alert in alerts
    }
    assert len(alerts) == len(live), "an alert came twice"
    assert live == offline[engine]


def test_a_label_in_the_header_changes_nothing(
    kafka: str,
    bundle: Path,
    topic_options: dict[str, str],
    command_line: CommandLine,
    beats_csv: Path,
) -> None:
    """The same beats, labelled all wrong, give the same alerts."""
    window = np.loadtxt(beats_csv, delimiter=",", skiprows=1, usecols=range(1, 141), max_rows=200)
    records = [
        OutputRecord(
            topic_options["--input-topic"],
            f"{label}-{row}".encode(),
            values.astype("<f4").tobytes(),
            [("content-type", CONTENT_TYPES["float32"]), ("label", label.encode())],
        )
        for row, values in enumerate(window)
        for label in ("0", "1")
    ]
    send(kafka, records)
    command_line.run(
        *("detect", bundle, "--bootstrap-servers", kafka, *flags(topic_options)),
        *("--group", "labels", "--stop-when-idle", "1s"),
    )
    alerts = read_alerts(command_line, kafka, topic_options["--alerts-topic"])
    found = {label: {a["key"][2:] for a in alerts if a["key"][0] == label} for label in "01"}
    assert found["0"] == found["1"] != set()


def send(servers: str, records: list[OutputRecord]) -> None:
    client = connect(ConnectionSettings(bootstrap_servers=servers))
    client.produce(records)
    client.flush(30_000)
    client.close()


def bad_records(topic: str, good: bytes) -> list[OutputRecord]:
    """One record of each kind that cannot be used; keys say which class of error is due."""
    nan = np.full(140, np.nan, "<f4").tobytes()
    infinite = np.full(140, np.inf, "<f4").tobytes()
    json_type = [("content-type", CONTENT_TYPES["json"])]
    float_type = [("content-type", CONTENT_TYPES["float32"])]
    bad: list[tuple[str, bytes | None, list[tuple[str, bytes]]]] = [
        ("RecordDecodeError/not-json", b"{oops", json_type),
        ("RecordDecodeError/empty", b"", json_type),
        ("RecordDecodeError/tombstone", None, json_type),
        ("RecordDecodeError/unknown-type", good, [("content-type", b"text/xml")]),
        ("RecordShapeError/short", b'{"values": [1, 2]}', json_type),
        ("RecordShapeError/floats", good[:-4], float_type),
        ("RecordValueError/nan", nan, float_type),
        ("RecordValueError/infinite", infinite, float_type),
        ("RecordDecodeError/large", b"x" * 10_000_000, json_type),
    ]
    headers = [("trace", b"\x00\xff")]
    return [OutputRecord(topic, key.encode(), value, headers + own) for key, value, own in bad]


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_every_bad_record_is_a_dead_letter_and_its_neighbours_are_scored(
    client: str,
    kafka: str,
    bundle: Path,
    topics: Any,
    command_line: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = {"max_message_bytes": "20000000"}
    monkeypatch.setenv("STREAM_DETECTOR_DEAD_LETTER_BYTES_MAX", "19000000")
    options = {
        "--input-topic": topics(1, **large),
        "--alerts-topic": topics(1),
        "--dead-letter-topic": topics(1, **large),
    }
    anomalous = np.linspace(-4, 4, 140, dtype="<f4").tobytes()
    good_headers = [("content-type", CONTENT_TYPES["float32"])]
    bad = bad_records(options["--input-topic"], anomalous)
    records = []
    for number, each in enumerate(bad):
        neighbour = OutputRecord(
            options["--input-topic"], f"good-{number}".encode(), anomalous, good_headers
        )
        records += [each, neighbour]
    send(kafka, records)
    done = command_line.run(
        *("detect", bundle, "--bootstrap-servers", kafka, *flags(options), "--client", client),
        *("--group", f"bad-{client}", "--stop-when-idle", "1s"),
    )
    assert f"n_dead_letters={len(bad)}" in done.stderr
    alerts = read_alerts(command_line, kafka, options["--alerts-topic"])
    assert sorted(a["key"] for a in alerts) == [f"good-{number}" for number in range(len(bad))]
    letters = read_all(kafka, options["--dead-letter-topic"], len(bad))
    originals = {each.key: each for each in bad}
    for value, metadata in letters:
        original = originals.pop(metadata.key)
        assert value == original.value
        headers = dict(metadata.headers)
        assert list(metadata.headers)[: len(original.headers)] == list(original.headers)
        expected = metadata.key.decode().split("/")[0].encode()
        assert headers["__connect.errors.exception.class.name"] == expected
        assert headers["__connect.errors.exception.message"]
    assert not originals


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_dead_letter_that_its_topic_would_not_take_goes_without_its_value(
    client: str, kafka: str, bundle: Path, topics: Any, command_line: CommandLine
) -> None:
    options = {
        "--input-topic": topics(1),
        "--alerts-topic": topics(1),
        "--dead-letter-topic": topics(1),
    }
    topic = options["--input-topic"]
    # As large as Kafka takes by default, or just small enough with the headers that are added.
    records = [
        OutputRecord(topic, b"a", b"x" * 1_048_400),
        OutputRecord(topic, b"b", b"x" * 1_047_400),
        OutputRecord(topic, b"k" * 1_048_400, b"?"),
        OutputRecord(topic, b"c", b"?"),
    ]
    send(kafka, records)
    done = command_line.run(
        *("detect", bundle, "--bootstrap-servers", kafka, *flags(options), "--client", client),
        *("--group", f"large-{client}", "--stop-when-idle", "1s"),
    )
    assert "n_dead_letters=4" in done.stderr
    assert sum(map(int, re.findall(r"n_left_out=(\d+)", done.stderr))) == 2
    letters = read_all(kafka, options["--dead-letter-topic"], len(records))
    found = [(metadata.key, value, metadata.headers[-1]) for value, metadata in letters]
    left_out = "stream-detector.left-out"
    assert found[0] == (b"a", None, (left_out, b"value 1048400"))
    assert found[1][:2] == (b"b", records[1].value)
    assert found[2] == (None, None, (left_out, b"value 1, key 1048400"))
    assert found[3][:2] == (b"c", b"?")


def read_all(servers: str, topic: str, n_records: int) -> list[tuple[bytes | None, Any]]:
    client = connect(ConnectionSettings(bootstrap_servers=servers), topics=[topic])
    found: list[tuple[bytes | None, Any]] = []
    for _ in range(100):
        batch = client.poll(1_000, 200)
        found += [(value, batch.metadata(index)) for index, value in enumerate(batch.values)]
        if len(found) >= n_records:
            break
    client.close()
    return found


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_sigterm_finishes_the_batch_and_the_next_run_repeats_nothing(
    client: str,
    kafka: str,
    bundle: Path,
    beats_csv: Path,
    offline: dict[str, dict[str, tuple[float, float]]],
    topic_options: dict[str, str],
    command_line: CommandLine,
) -> None:
    common = ["--bootstrap-servers", kafka, "--client", client]
    detect = ["detect", bundle, *common, *flags(topic_options), "--group", f"term-{client}"]
    first = command_line.start(*detect)
    first.wait_for("ready")
    replay = command_line.start(
        *("replay", beats_csv, *common, "--topic", topic_options["--input-topic"], "--rate", 2500)
    )
    assert read_all(kafka, topic_options["--alerts-topic"], 1), "the first alert did not come"
    assert first.terminate() == 0, first.output
    assert replay.process.wait(60) == 0, replay.output
    command_line.run(*detect, "--stop-when-idle", "1s")
    alerts = read_alerts(command_line, kafka, topic_options["--alerts-topic"])
    assert sorted(alert["key"] for alert in alerts) == sorted(offline["onnx"])


def test_a_second_signal_aborts(
    kafka: str, bundle: Path, topic_options: dict[str, str], command_line: CommandLine
) -> None:
    running = command_line.start(
        *("detect", bundle, "--bootstrap-servers", kafka, *flags(topic_options)),
        *("--group", "twice"),
    )
    running.wait_for("ready")
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        running.process.send_signal(number)  # the two wait until the last one
    assert running.process.wait(20) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert "stopped" not in running.output


def test_an_absent_broker_is_retried_said_and_given_up_with_exit_code_4(
    bundle: Path, command_line: CommandLine
) -> None:
    done = command_line.run(
        *("detect", bundle, "--bootstrap-servers", "127.0.0.1:1", "--broker-timeout", "7s"),
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr.count("WARNING retrying") >= 2
    assert "gave up after" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_missing_topic_is_named_with_the_command_that_makes_it(
    kafka: str, bundle: Path, command_line: CommandLine
) -> None:
    done = command_line.run(
        "detect", bundle, "--bootstrap-servers", kafka, "--input-topic", "not-there", check=False
    )
    assert done.returncode == 4
    assert "--create --topic not-there" in done.stderr
    # On a busy machine the library remarks on its own speed.
    lines = [each for each in done.stderr.splitlines() if "logger=kafka.net.selector" not in each]
    assert len(lines) == 1


def test_ready_takes_little_computing_and_never_loads_tensorflow(
    kafka: str, bundle: Path, topic_options: dict[str, str], command_line: CommandLine
) -> None:
    running = command_line.start_python(
        *("detect", bundle, "--bootstrap-servers", kafka, *flags(topic_options)),
        *("--group", "ready"),
    )
    running.wait_for("ready")
    # About one second; how soon that is on a quiet machine is in docs/explanation/measurements.md.
    times = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    computed_s = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    assert computed_s < 5
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    (resident,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    assert int(resident.split()[1]) < 250 * 1024
    maps = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "tensorflow" not in maps
    assert running.terminate() == 0
