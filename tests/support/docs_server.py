"""Runs commands of the pages that need TensorFlow one after another, in one process.

    python docs_server.py NUMBER

NUMBER is that of a socket that listens already. To load TensorFlow takes longer than an epoch, and
here it is loaded once for all pages. `init` writes a recipe of one epoch. `docs_command.py` sends
the words of a command, the folder it is in and its standard output and error; the command's exit
code goes back.
"""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator

from stream_detector import cli
from stream_detector.inspection import recipe_text

N_BYTES_MAX = 65_536


def serve(listener: socket.socket) -> None:
    """Run what comes, for ever."""
    while True:
        link, _ = listener.accept()
        with link:
            message, descriptors, _, _ = socket.recv_fds(link, N_BYTES_MAX, 2)
            folder, arguments = json.loads(message)
            os.chdir(folder)
            with _standard_streams(descriptors):
                code = _run(arguments)
            link.sendall(b"%d" % code)


def _run(arguments: list[str]) -> int:
    sys.argv = ["stream-detector", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _train_briefly() -> None:
    """Let `init`, which has no option for it, write recipes of one epoch."""
    training = recipe_text._training
    recipe_text._BATCHES = 1
    recipe_text._training = lambda plan, base: training(plan, {**base, "epochs": 1})


@contextlib.contextmanager
def _standard_streams(descriptors: list[int]) -> Iterator[None]:
    """Let standard output and error be others, in every library too."""
    own = [os.dup(number) for number in (1, 2)]
    try:
        for number, given in zip((1, 2), descriptors, strict=True):
            os.dup2(given, number)
            os.close(given)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), own, strict=True):
            os.dup2(kept, number)
            os.close(kept)


if __name__ == "__main__":
    _train_briefly()
    serve(socket.socket(fileno=int(sys.argv[1])))
