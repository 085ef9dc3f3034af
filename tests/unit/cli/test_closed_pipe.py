"""Output that is not read to its end, as with `| head -1`, is no error; a full disk is one."""

import contextlib
import csv
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from alerts import make_alert
from halving_bundle import make_bundle, untrained_network  # tests/support

from stream_detector import cli
from stream_detector.cli.terminal import describe_error
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import encode_alert
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.records import BundleReference, RecordMetadata, Rejected
from stream_detector.core.scoring.explanation import Explanation, FeatureExplanation
from stream_detector.errors import RecordDecodeError
from stream_detector.recipes import Recipe, load_recipe

MODELS = Path(__file__).parents[3] / "models"
N_ROWS = 3_000  # more than any buffer holds

RunInto = Callable[[int, list[str]], int]


def small_recipe(*changes: str) -> Recipe:
    given = ("data.name=csv", "data.path=windows.csv", "window.steps=4", "network.units=[3,2]")
    return load_recipe(MODELS / "synthetic-ecg-dense.toml", [*given, *changes])


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything connect to a broker with alerts and dead letters."""
    made = MemoryBroker()
    for topic in ("alerts", "dead-letters", "telemetry"):
        made.create_topic(topic, 1)
    metadata = RecordMetadata("telemetry", 0, 7, 0, b"pump-7", ())
    letter = encode_dead_letter(
        Rejected(0, RecordDecodeError("not JSON")), b"?", metadata, "dead-letters", 1_000_000
    )
    explanation = Explanation(
        0, 0, (FeatureExplanation(0, 1.0, (0.5,), (2.5,)),), (1.0,), (0,), 0.0, 0
    )
    bundle = BundleReference("pumps", "v1")
    alert = make_alert(metadata, (0, 0), (0.5, 0.2, "high"), bundle, explanation)
    made.feed("dead-letters", [letter] * N_ROWS)
    made.feed("alerts", [encode_alert(alert, "alerts", b"", 0)] * N_ROWS)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: made.connect(**options)
    )


@pytest.fixture
def run_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunInto:
    """Return a runner whose standard output is a descriptor, where a bundle and windows lie."""
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "bundle", small_recipe())
    with (tmp_path / "windows.csv").open("w", newline="") as file:
        windows = np.random.default_rng(0).normal(size=(N_ROWS, 4)).tolist()
        rows = [[number % 2, *window] for number, window in enumerate(windows)]
        csv.writer(file).writerows([["label", *"abcd"], *rows])

    def run(descriptor: int, line: list[str]) -> int:
        stream = os.fdopen(descriptor, "w")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "argv", ["stream-detector", *line])
            with pytest.raises(SystemExit) as end:
                cli.main()
        with contextlib.suppress(OSError):  # where it was not to be read, something may be left
            stream.close()
        return int(end.value.code or 0)

    return run


def closed_pipe() -> int:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


LINES = [
    ["--help"],
    ["--version"],
    ["score", "--help"],
    ["score", "bundle", "windows.csv"],
    ["reconstruct", "bundle", "windows.csv"],
    ["evaluate", "bundle", "--dataset", "windows.csv"],
    ["evaluate", "bundle", "--dataset", "windows.csv", "--json"],
    ["alerts", "--from-beginning", "--stop-when-idle", "10ms"],
    ["alerts", "--from-beginning", "--stop-when-idle", "10ms", "--json"],
    ["dead-letters", "list"],
    ["dead-letters", "list", "--json"],
    ["dead-letters", "show", "0:7"],
    ["dead-letters", "show", "0:7", "--json"],
    ["dead-letters", "show", "0:7", "--raw"],
    ["dead-letters", "redrive", "--dry-run"],
]


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_closed_pipe_is_no_error(
    run_into: RunInto, capfd: pytest.CaptureFixture[str], line: list[str]
) -> None:
    assert run_into(closed_pipe(), line) == 0
    assert "rror" not in capfd.readouterr().err


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("line", [["encode", "b", "windows.csv"], ["generate", "b", "--n", "3000"]])
def test_a_closed_pipe_is_no_error_for_the_halves_of_a_network(
    run_into: RunInto, tmp_path: Path, line: list[str]
) -> None:
    recipe = load_recipe(
        MODELS / "ecg5000-adversarial.toml",
        ["data.name=csv", "data.path=windows.csv", "window.steps=4", "network.units=[3,2]"],
    )
    make_bundle(tmp_path / "b", recipe, untrained_network(recipe))
    assert run_into(closed_pipe(), line) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
@pytest.mark.parametrize("line", [["--version"], ["score", "bundle", "windows.csv"]], ids=str)
def test_output_that_cannot_be_written_is_an_error(
    run_into: RunInto, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    assert run_into(os.open("/dev/full", os.O_WRONLY), line) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_a_full_disk_is_named_wherever_it_is_met() -> None:
    """Commands that write line by line meet it before their last output is written."""
    code, message = describe_error(OSError(errno.ENOSPC, "No space left on device"))
    assert (code, message[:39]) == (1, "the disk that is written to is full: [E")
    assert describe_error(OSError(errno.EIO, "broken"))[1].startswith("unexpected OSError")


def test_an_error_keeps_its_exit_code_where_nobody_reads(run_into: RunInto) -> None:
    assert run_into(closed_pipe(), ["score", "absent", "windows.csv"]) == 3


def test_the_process_ends_in_silence(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", small_recipe())
    windows = "a,b,c,d\n" + "1,2,3,4\n" * N_ROWS
    (tmp_path / "windows.csv").write_text(windows)
    score = ["score", str(tmp_path / "bundle"), str(tmp_path / "windows.csv")]
    for line in (["--help"], ["--version"], score):
        command = [sys.executable, "-m", "stream_detector", *line]
        done = subprocess.run(command, stdout=closed_pipe(), stderr=subprocess.PIPE, check=False)
        told = f"{tmp_path}/windows.csv: comma, 4 columns of values\n" if "score" in line else ""
        assert (done.returncode, done.stderr.decode()) == (0, told)


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(streams: str) -> None:
    line = f"{sys.executable} -m stream_detector --version {streams}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
