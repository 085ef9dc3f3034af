"""Runs commands in processes that have loaded Python and the package already.

    python command_server.py LISTENER LIFE

Both are numbers of sockets: of one that listens, and of one that closes when there will be no more
commands. To start Python and load what commands need takes longer than most commands, and here it
is done once: each command is a fork of this process, so it has a process of its own as ever. This
process has no thread but one, else a fork would not be safe.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PROGRAMS: dict[str, Callable[[], object]] = {}
"""What can be run, by its name."""

N_BYTES_MAX = 200_000
N_DESCRIPTORS = 3  # standard input, output and error


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


def start_command(
    address: Path,
    program: str,
    arguments: Sequence[str],
    streams: Sequence[int],
    environment: Mapping[str, str],
) -> ForkedCommand:
    """Start a program of `PROGRAMS` here, on the server that listens at an address.

    Parameters
    ----------
    streams
        File descriptors of its standard input, output and error.
    environment
        All of its environment.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.connect(str(address))
    message = json.dumps([str(Path.cwd()), dict(environment), program, list(arguments)])
    socket.send_fds(link, [message.encode()], list(streams))
    return ForkedCommand(link)


class CommandServer:
    """A process that runs commands; it ends with the one that made it."""

    def __init__(self) -> None:
        # The name of a socket has about a hundred bytes at most: not below the folder of the tests.
        self._folder = tempfile.mkdtemp()
        self.address = Path(self._folder, "commands")
        self._life, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self.address))
            listener.listen()
            numbers = [listener.fileno(), theirs.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, __file__, *map(str, numbers)], pass_fds=numbers
            )
        atexit.register(self.close)

    def start(
        self,
        program: str,
        arguments: Sequence[str],
        output: IO[Any],
        errors: IO[Any],
        environment: Mapping[str, str] | None = None,
    ) -> ForkedCommand:
        """Start a program of `PROGRAMS` here, with more in its environment if given."""
        values = dict(os.environ) | dict(environment or {})
        with Path(os.devnull).open() as no_input:
            streams = (no_input.fileno(), output.fileno(), errors.fileno())
            return start_command(self.address, program, arguments, streams, values)

    def close(self) -> None:
        """End the process."""
        self._life.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


# Of all tests that one process runs.
command_server = functools.cache(CommandServer)


def take_command(listener: socket.socket, life: socket.socket) -> list[str] | None:
    """Wait for commands, and return program and words of one in a process of its own for each.

    None once there will be no more.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody need wait for those below
    while True:
        ready, _, _ = select.select([listener, life], [], [])
        if life in ready:
            return None
        link, _ = listener.accept()
        message, descriptors, _, _ = socket.recv_fds(link, N_BYTES_MAX, N_DESCRIPTORS)
        if os.fork() == 0:
            listener.close()
            life.close()
            return _become_command(link, message, descriptors)
        link.close()
        for number in descriptors:
            os.close(number)


def _become_command(link: socket.socket, message: bytes, descriptors: list[int]) -> list[str]:
    """Fork once more: the child is the command, and the other one says how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process:
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            _attend(link, process)
        os._exit(0)
    link.close()
    for number, given in enumerate(descriptors):
        os.dup2(given, number)
        os.close(given)
    # A stream keeps whether it can be sought, and this one may be a pipe now.
    now = sys.stdout
    sys.stdout = os.fdopen(1, "w", encoding=now.encoding, errors=now.errors, closefd=False)
    folder, environment, program, arguments = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return [program, *arguments]


def _attend(link: socket.socket, process: int) -> None:
    """Tell the number of a process and its exit code; end it when nobody waits for it any more."""
    ended = os.pidfd_open(process)
    link.sendall(b"%d" % process)
    ready, _, _ = select.select([link.fileno(), ended], [], [])
    if ended not in ready:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    link.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def _load() -> None:
    """Load what most commands need; ONNX Runtime and TensorFlow would begin threads."""
    import fault_worker

    from stream_detector.cli import main

    for name in ("clients.confluent.client", "clients.kafka_python.client", "outputs.alerts"):
        importlib.import_module(f"stream_detector.{name}")
    PROGRAMS.update({"stream-detector": main, "fault-worker": fault_worker.main})


if __name__ == "__main__":
    _load()
    words = take_command(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
    if words is not None:
        sys.argv = words
        PROGRAMS[words[0]]()
