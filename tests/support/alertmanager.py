"""A real Prometheus Alertmanager on loopback, for one test."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = "prometheus-alertmanager"
START_TIMEOUT_S = 30.0

CONFIG = """\
global: {resolve_timeout: 1s}
route: {receiver: nobody, group_by: [key], group_wait: 1s}
receivers: [{name: nobody}]
"""
"""It takes what has no end of its own for resolved after a second."""


class Alertmanager:
    """One that runs.

    Parameters
    ----------
    url
        Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it shows as firing."""
        url = f"{self.url}/api/v2/alerts"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  (ours)
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def firing(self) -> set[tuple[str, str]]:
        """Return key and severity of each."""
        labels = [each["labels"] for each in self.alerts()]
        return {(each["key"], each["severity"]) for each in labels}


@contextmanager
def running_alertmanager(folder: Path) -> Iterator[Alertmanager]:
    """Run one while the block lasts."""
    (folder / "alertmanager.yml").write_text(CONFIG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [PROGRAM, "--config.file=alertmanager.yml", "--storage.path=data"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address="]
    with (
        (folder / "alertmanager.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        found = Alertmanager(f"http://{address}")
        try:
            _wait_for(found, process)
            yield found
        finally:
            process.kill()


def _wait_for(found: Alertmanager, process: "subprocess.Popen[bytes]") -> None:
    """Wait until it answers."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            found.alerts()
        except OSError:
            assert process.poll() is None, "Alertmanager has ended"
            assert time.monotonic() < deadline_s, "Alertmanager does not answer"
            time.sleep(0.05)
        else:
            return
