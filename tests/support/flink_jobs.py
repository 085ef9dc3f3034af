"""The jobs of examples/flink, in processes of their own, as a person starts them.

`make flink` makes the environment that PyFlink needs and names its Python by `FLINK_PYTHON`.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
FLINK_PYTHON = os.environ.get("FLINK_PYTHON", "")
JOB_TIMEOUT_S = 180.0


class FlinkJob:
    """A job with Java and Python, which ends with the `with` block.

    Parameters
    ----------
    program
        Its file in examples/flink.
    arguments
        Words of its command line.
    """

    def __init__(self, program: str, *arguments: object) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the job)
        words = [FLINK_PYTHON, str(ROOT / "examples" / "flink" / program), *map(str, arguments)]
        # Java and Python make one group of processes, which can be killed together.
        self._process = subprocess.Popen(
            words, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.kill()
        self._log.close()

    @property
    def pid(self) -> int:
        """Number of its group of processes."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it has written."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def finish(self) -> int:
        """Wait for its end, and return its exit code."""
        return self._process.wait(JOB_TIMEOUT_S)

    def is_running(self) -> bool:
        """Return whether it has not ended yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill what is left of it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
