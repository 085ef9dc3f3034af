"""Runs commands in processes that have loaded Python and the package already.

    python command_server.py NUMBER

NUMBER is that of a socket. To start Python and load what commands need takes longer than most
commands, and here it is done once: each command is a fork of this process, so it has a process of
its own as ever. This process has no thread but one, else a fork would not be safe.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

PROGRAMS: dict[str, Callable[[], object]] = {}
"""What can be run, by its name."""

N_BYTES_MAX = 200_000
N_DESCRIPTORS = 4  # standard input, output and error, and where the exit code goes


class ForkedCommand:
    """A command that was started, with those methods of `subprocess.Popen` that tests use.

    Parameters
    ----------
    link
        Where the number of its process comes from, and once it has ended its exit code.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self.returncode: int | None = None
        self.pid = int(link.recv(N_BYTES_MAX))

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code: -N if a signal of number N ended it."""
        if self.returncode is None:
            self._link.settimeout(timeout)
            try:
                self.returncode = int(self._link.recv(N_BYTES_MAX))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._link.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once if it still runs."""
        self.send_signal(signal.SIGKILL)


class CommandServer:
    """A process that runs commands; it ends with the one that made it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        atexit.register(self.close)

    def start(
        self,
        program: str,
        arguments: list[str],
        output: IO[Any],
        errors: IO[Any],
        environment: Mapping[str, str] | None = None,
    ) -> ForkedCommand:
        """Start a program of `PROGRAMS` here, with more in its environment if given."""
        link, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        values = dict(os.environ) | dict(environment or {})
        message = json.dumps([str(Path.cwd()), values, program, arguments]).encode()
        with theirs, Path(os.devnull).open() as no_input:
            given = (no_input.fileno(), output.fileno(), errors.fileno(), theirs.fileno())
            socket.send_fds(self._socket, [message], given)
        return ForkedCommand(link)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


# Of all tests that one process runs.
command_server = functools.cache(CommandServer)


def take_command(requests: socket.socket) -> list[str] | None:
    """Wait for commands, and return program and words of one in a process of its own for each.

    None once there will be no more.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody need wait for those below
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, N_BYTES_MAX, N_DESCRIPTORS)
        if not message:
            return None
        if os.fork() == 0:
            return _become_command(message, descriptors)
        for number in descriptors:
            os.close(number)


def _become_command(message: bytes, descriptors: list[int]) -> list[str]:
    """Fork once more: the child is the command, and the other one says how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, answers = descriptors
    process = os.fork()
    if process:
        os.write(answers, b"%d" % process)
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(answers, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(answers)
    for number, given in enumerate(streams):
        os.dup2(given, number)
        os.close(given)
    folder, environment, program, arguments = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return [program, *arguments]


def _load() -> None:
    """Load what most commands need; ONNX Runtime and TensorFlow would begin threads."""
    import fault_worker

    from stream_detector.cli import main

    for name in ("clients.kafka_python.client", "outputs.alerts"):
        importlib.import_module(f"stream_detector.{name}")
    PROGRAMS.update({"stream-detector": main, "fault-worker": fault_worker.main})


if __name__ == "__main__":
    _load()
    words = take_command(socket.socket(fileno=int(sys.argv[1])))
    if words is not None:
        sys.argv = words
        PROGRAMS[words[0]]()
