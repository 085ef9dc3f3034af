"""Runs commands in processes that have loaded Python and the package already.

    python command_server.py NUMBER

NUMBER is that of a socket. To start Python and load what commands need takes longer than most
commands, and here it is done once: each command is a fork of this process, so it has a process of
its own as ever. This process has no thread but one, else a fork would not be safe.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

N_BYTES_MAX = 200_000
N_DESCRIPTORS = 4  # standard input, output and error, and where the exit code goes


class CommandServer:
    """A process that runs commands; it ends with the one that made it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()

    def run(self, arguments: list[str], output: IO[Any], errors: IO[Any], timeout_s: float) -> int:
        """Run a command in the current folder and environment; return its exit code."""
        link, theirs = socket.socketpair()
        message = json.dumps([str(Path.cwd()), dict(os.environ), arguments]).encode()
        with link, theirs, Path(os.devnull).open() as no_input:
            given = (no_input.fileno(), output.fileno(), errors.fileno(), theirs.fileno())
            socket.send_fds(self._socket, [message], given)
            theirs.close()
            with link.makefile() as answers:
                process = int(answers.readline())
                link.settimeout(timeout_s)
                try:
                    return int(answers.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(arguments, timeout_s) from None


def take_command(requests: socket.socket) -> list[str] | None:
    """Wait for commands, and return the words of one in a process of its own for each.

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
        os.write(answers, b"%d\n" % process)
        _, status = os.waitpid(process, 0)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(answers)
    for number, given in enumerate(streams):
        os.dup2(given, number)
        os.close(given)
    folder, environment, arguments = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return list(arguments)


def _load() -> None:
    """Load what most commands need; ONNX Runtime and TensorFlow would begin threads."""
    import stream_detector.assembly
    import stream_detector.cli
    import stream_detector.clients.kafka_python
    import stream_detector.clients.kafka_python.client
    import stream_detector.outputs.alerts
    import stream_detector.service  # noqa: F401


if __name__ == "__main__":
    _load()
    words = take_command(socket.socket(fileno=int(sys.argv[1])))
    if words is not None:
        from stream_detector.cli import main

        sys.argv = ["stream-detector", *words]
        main()
