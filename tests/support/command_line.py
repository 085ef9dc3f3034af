"""The command line as a person runs it: in processes of their own, which end with the test.

Those that load TensorFlow share one.
"""

import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from command_server import ForkedCommand, command_server
from keras_commands import keras_commands

RUN_TIMEOUT_S = 120.0

Process = subprocess.Popen[bytes] | ForkedCommand


class CommandLine:
    """Runs `stream-detector` in processes of its own, which end with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def run(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; fail the test if it fails, unless that is expected."""
        words = [str(each) for each in arguments]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            if words[0] == "train" or "keras" in words:
                code = keras_commands().run(words, output, errors, RUN_TIMEOUT_S)
            else:
                code = _run_fork(words, output, errors)
            done = subprocess.CompletedProcess(words, code, _read(output), _read(errors))
        assert not check or done.returncode == 0, done.stderr
        return done

    def start(self, *arguments: object) -> "RunningCommand":
        """Start a command and return at once."""
        words = [str(each) for each in arguments]
        return self._started_as(
            lambda stream: command_server().start("stream-detector", words, stream, stream)
        )

    def start_python(self, *arguments: object) -> "RunningCommand":
        """The same in a Python that is started for it: where its memory or its start matters."""
        command = [sys.executable, "-m", "stream_detector", *(str(each) for each in arguments)]
        return self._started_as(
            lambda stream: subprocess.Popen(command, stdout=stream, stderr=stream)
        )

    def _started_as(self, start: Callable[[IO[bytes]], Process]) -> "RunningCommand":
        """Return what was started with a log of its own, and end it with the test."""
        log = self._folder / f"log-{len(self._started)}.txt"
        with log.open("wb") as stream:
            process = start(stream)
        self._started.append(process)
        return RunningCommand(process, log)

    def close(self) -> None:
        """End what is still running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()


def _run_fork(words: list[str], output: IO[bytes], errors: IO[bytes]) -> int:
    """Run a command in a process of its own and return its exit code."""
    running = command_server().start("stream-detector", words, output, errors)
    try:
        return running.wait(RUN_TIMEOUT_S)
    finally:
        running.kill()


def _read(file: IO[bytes]) -> str:
    """Return all that a command wrote to a file."""
    file.seek(0)
    return file.read().decode()


class RunningCommand:
    """A command that was started, and what it has written so far."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait until the command has written `text`."""
        deadline_s = time.monotonic() + timeout_s
        while text not in self.output:
            assert time.monotonic() < deadline_s, f"{text!r} did not come: {self.output}"
            assert self.process.poll() is None, f"ended before {text!r}: {self.output}"
            time.sleep(0.05)

    def ask(self, path: str) -> str:
        """Return what a `detect` answers at a path, whatever its status; it has said where."""
        (address,) = re.findall(r"metrics address=(\S+)", self.output)
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def wait_for_answer(self, path: str, text: str, timeout_s: float = 60.0) -> None:
        """Wait until a `detect` answers with a text that begins so."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := self.ask(path)).startswith(text):
            assert time.monotonic() < deadline_s, f"{path}: {found!r} instead of {text!r}"
            time.sleep(0.05)

    def scrape(self) -> dict[str, float]:
        """Return all its metrics by their name with labels."""
        lines = self.ask("/metrics").splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def wait_until_done(self, n_records: int, timeout_s: float = 60.0) -> dict[str, float]:
        """Wait until a `detect` has done so many records, and return its metrics."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            metrics = self.scrape()
            done = sum(
                n for key, n in metrics.items() if key.startswith("stream_detector_records_total")
            )
            if done >= n_records:
                return metrics
            assert time.monotonic() < deadline_s, f"{done} of {n_records}: {self.output}"
            time.sleep(0.2)

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)
