"""Workers end where one process would, and their lines say which of them wrote it."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from halving_bundle import make_bundle  # tests/support

pytestmark = pytest.mark.slow


def detect(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run two workers where no broker listens."""
    make_bundle(folder / "bundle")
    command = [sys.executable, "-m", "stream_detector", "detect", str(folder / "bundle")]
    command += ["--bootstrap-servers", "127.0.0.1:1", "--workers", "2", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_without_a_broker_workers_end_as_one_process_does(tmp_path: Path, client: str) -> None:
    if client == "confluent" and find_spec("confluent_kafka") is None:
        pytest.skip("needs the confluent extra")
    ended = detect(tmp_path, "--broker-timeout", "1s", "--client", client)
    assert ended.returncode == 4
    lines = ended.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors
    for line in errors:
        assert line.startswith(("error: worker 0: gave up after", "error: worker 1: gave up after"))
    logged = [line for line in lines if line not in errors]
    assert logged
    assert [line for line in logged if not line.endswith((" worker=0", " worker=1"))] == []
    assert "worker-died" not in ended.stderr


def test_with_json_every_line_is_an_object(tmp_path: Path) -> None:
    ended = detect(tmp_path, "--broker-timeout", "1s", "--log-format", "json")
    assert ended.returncode == 4
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {line["worker"] for line in lines} <= {0, 1}
    failed = [line for line in lines if line["event"] == "failed"]
    assert {line["exit_code"] for line in failed} == {4}
    assert {line["error"] for line in failed} == {"BrokerUnavailableError"}
    assert all(line["reason"].startswith("gave up after") for line in failed)
