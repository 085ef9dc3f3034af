"""One broker for all the processes of a test run.

The first process that needs it starts it, and the process that began the run ends it.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
from pathlib import Path

from local_kafka import LocalKafka

FOLDER_OF_RUN = "FOLDER_OF_TEST_RUN"
"""Names the folder of a run in the environment, which the other processes inherit."""


def begin_run() -> None:
    """Make a run's folder, before its other processes are started."""
    os.environ[FOLDER_OF_RUN] = tempfile.mkdtemp(prefix="stream-detector-tests-")


def end_run() -> None:
    """End the broker, if there is one, and delete the run's folder and its own."""
    folder = Path(os.environ.pop(FOLDER_OF_RUN))
    note = folder / "broker.json"
    if note.exists():
        _, process, data = json.loads(note.read_text())
        with contextlib.suppress(ProcessLookupError):
            ended = os.pidfd_open(process)
            os.kill(process, signal.SIGKILL)
            select.select([ended], [], [])
            os.close(ended)
        shutil.rmtree(data)
    shutil.rmtree(folder)


def shared_kafka() -> str:
    """Return the bootstrap servers of the run's broker.

    Raises
    ------
    LocalKafkaError
        If it can not be had here.
    """
    folder = Path(os.environ[FOLDER_OF_RUN])
    note = folder / "broker.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            broker = LocalKafka().__enter__()
            place = str(broker.folder)
            note.write_text(json.dumps([broker.bootstrap_servers, broker.release(), place]))
        return str(json.loads(note.read_text())[0])
