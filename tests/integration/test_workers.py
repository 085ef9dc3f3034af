"""`detect --workers`: several processes of a group under one command, on a real Kafka."""

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from command_line import CommandLine, RunningCommand

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def workers_of(command: RunningCommand) -> list[int]:
    """Return the process ids of a command's workers."""
    pid = command.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = {int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in children}
    return [each for each, line in lines.items() if b"spawn_main" in line]


def test_workers_share_the_work_and_are_started_again_when_they_die(
    kafka: str,
    bundle: Path,
    beats_csv: Path,
    topic_options: dict[str, str],
    command_line: CommandLine,
) -> None:
    where = ["--bootstrap-servers", kafka]
    options = [part for pair in topic_options.items() for part in pair]
    command = command_line.start_python(
        *("detect", bundle, *where, *options, "--group", "workers", "--workers", 2),
        *("--delivery", "exactly_once", "--metrics-port", 0),
    )
    command.wait_for("ready")
    replay = ["replay", beats_csv, *where, "--topic", topic_options["--input-topic"]]
    command_line.run(*replay)
    command.wait_until_done(4998)
    command.wait_for_answer("/readyz", "ok\n")

    first = workers_of(command)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    command.wait_for_answer("/readyz", "processes: expected 2, 1 are running\n")
    assert command.ask("/livez") == "ok\n"
    command.wait_for("worker-died")
    command_line.run(*replay)
    # The numbers of the dead worker stay, without its unfinished batch.
    metrics = command.wait_until_done(2 * 4998)
    assert metrics["stream_detector_assigned_partitions"] == 4.0
    assert len(set(workers_of(command)) & set(first)) == 1
    command.wait_for_answer("/readyz", "ok\n")

    assert command.terminate() == 0
    done = command_line.run(
        *("alerts", *where, "--topic", topic_options["--alerts-topic"], "--json"),
        *("--from-beginning", "--stop-when-idle", "3s"),
    )
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    by_key = Counter(alert["key"] for alert in alerts)
    assert set(by_key.values()) == {2}  # sent twice
    assert len({alert["alert_id"] for alert in alerts}) == len(alerts)


def test_a_worker_is_not_started_again_on_a_bundle_that_was_changed_meanwhile(
    kafka: str,
    halving_bundle: Path,
    windows_csv: Path,
    topic_options: dict[str, str],
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    bundle = shutil.copytree(halving_bundle, tmp_path / "bundle")
    where = ["--bootstrap-servers", kafka]
    options = [part for pair in topic_options.items() for part in pair]
    detect = ["detect", bundle, *where, *options, "--group", "workers-of-a-changed-bundle"]
    detect += ["--delivery", "exactly_once"]
    command = command_line.start_python(*detect, "--workers", 2, "--metrics-port", 0)
    command.wait_for("ready")
    replay = ["replay", windows_csv, *where, "--topic", topic_options["--input-topic"]]
    command_line.run(*replay)
    network = bundle / "network.onnx"
    sound = network.read_bytes()
    network.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    command_line.run(*replay)
    command.wait_until_done(80)  # those that run have read it already

    os.kill(workers_of(command)[0], signal.SIGKILL)
    assert command.process.wait(60) == 3
    assert network.name in command.output
    command_line.run(*replay)
    network.write_bytes(sound)
    command_line.run(*detect, "--stop-when-idle", "2s")
    done = command_line.run(
        *("alerts", *where, "--topic", topic_options["--alerts-topic"], "--json"),
        *("--from-beginning", "--stop-when-idle", "3s"),
    )
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    assert Counter(alert["key"] for alert in alerts) == {f"odd-{n}": 3 for n in range(10)}
    assert len({alert["alert_id"] for alert in alerts}) == len(alerts)


def test_what_no_new_start_can_mend_ends_the_command(
    tmp_path: Path, command_line: CommandLine
) -> None:
    done = command_line.run("detect", tmp_path / "nothing", "--workers", 2, check=False)
    assert done.returncode == 3
    assert "nothing" in done.stderr


def test_a_topic_that_is_not_there_ends_the_command(
    kafka: str, bundle: Path, command_line: CommandLine
) -> None:
    done = command_line.run(
        *("detect", bundle, "--bootstrap-servers", kafka, "--input-topic", "not-there"),
        *("--workers", 2),
        check=False,
    )
    assert done.returncode == 4
    assert "no such topic" in done.stderr
    assert "worker-died" not in done.stderr
