"""`stream-detector` as the pages of the documentation run it in the tests.

It is the real command but for three things. `train` takes one epoch, so that a page is run in
seconds, and the same `train` on the same files is done once: its bundle is then copied to the other
pages that show it. Commands that load much run in one process (`docs_server.py`), and all others
are forks of one (`command_server.py`). `broker` listens on the port of the test that runs the page.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

IN_SERVER = ("encode", "evaluate", "generate", "init", "reconstruct")
"""The commands besides `train` that load much: TensorFlow, or what draws reports."""


def main(arguments: list[str]) -> int:
    """Run the command with the given words."""
    if arguments[:1] == ["train"]:
        return _train([*arguments, "--epochs", "1"], Path(os.environ["DOCS_BUNDLES"]))
    if arguments[:1] and arguments[0] in IN_SERVER:
        return _ask_server(arguments, sys.stdout.fileno(), sys.stderr.fileno())
    if arguments[:1] == ["broker"]:
        arguments = [*arguments, "--port", os.environ["DOCS_PORT"]]
    return _run(arguments)


def _run(arguments: list[str]) -> int:
    """Run a command to its end, and hand on the signals that ask it to end."""
    from command_server import start_command

    address = Path(os.environ["DOCS_COMMANDS"])
    running = start_command(address, "stream-detector", arguments, (0, 1, 2), os.environ)

    def hand_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    code = running.wait()
    return 128 - code if code < 0 else code


def _ask_server(arguments: list[str], output: int, errors: int) -> int:
    """Have `docs_server.py` run a command here, with its output to file descriptors."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.environ["DOCS_SERVER"])
        message = json.dumps([str(Path.cwd()), arguments]).encode()
        socket.send_fds(link, [message], [output, errors])
        return int(link.recv(64))


def _train(arguments: list[str], kept: Path) -> int:
    out = _out_of(arguments)
    known = kept / _digest(arguments)
    if known.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(known / "bundle", out)
        sys.stdout.buffer.write((known / "printed").read_bytes())
        return 0
    with tempfile.TemporaryFile() as file:
        code = _ask_server(arguments, file.fileno(), file.fileno())
        file.seek(0)
        printed = file.read()
    sys.stdout.buffer.write(printed)
    if code == 0:
        made = Path(tempfile.mkdtemp(dir=kept))
        shutil.copytree(out, made / "bundle")
        (made / "printed").write_bytes(printed)
        with contextlib.suppress(OSError):  # another page was faster
            made.rename(known)
    return code


def _out_of(arguments: list[str]) -> Path:
    """Return the folder that `train` writes."""
    if "--out" in arguments:
        return Path(arguments[arguments.index("--out") + 1])
    return Path("bundles") / Path(arguments[1]).stem  # recipes are named like their files


def _digest(arguments: list[str]) -> str:
    """Return what tells one training from another: its words, and every file they may name."""
    words = list(arguments)
    if "--out" in words:
        del words[words.index("--out") : words.index("--out") + 2]
    digest = hashlib.sha256("\0".join(words).encode())
    for word in words:
        path = Path(word.rpartition("=")[2])
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
