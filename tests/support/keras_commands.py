"""Commands that load TensorFlow, one after the other in one process: `docs_server.py`."""

import atexit
import functools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

SERVER = Path(__file__).with_name("docs_server.py")
N_BYTES_MAX = 64


class KerasCommands:
    """A process that runs commands one after the other; it ends with this one."""

    def __init__(self) -> None:
        # The name of a socket has about a hundred bytes at most: not below the folder of the tests.
        self._folder = tempfile.mkdtemp()
        self._address = str(Path(self._folder, "commands"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._address)
            listener.listen()
            number = listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, SERVER, str(number)], pass_fds=[number]
            )
        atexit.register(self.close)

    def run(
        self, arguments: Sequence[str], output: IO[Any], errors: IO[Any], timeout_s: float
    ) -> int:
        """Run `stream-detector` with these words, here, and return its exit code."""
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(self._address)
            link.settimeout(timeout_s)
            message = json.dumps([str(Path.cwd()), list(arguments)]).encode()
            socket.send_fds(link, [message], [output.fileno(), errors.fileno()])
            return int(link.recv(N_BYTES_MAX))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


# Of all tests that one process runs: to load TensorFlow takes longer than what they ask for.
keras_commands = functools.cache(KerasCommands)
