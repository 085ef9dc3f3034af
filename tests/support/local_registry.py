"""A real Schema Registry on loopback: Apicurio, whose `ccompat` answers as Confluent's does.

It comes from Maven once and stays in the user's cache folder. Needs Java 17 and Maven.
"""

import fcntl
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import orjson
from local_kafka import QUICK_START, free_ports

VERSION = "2.6.13.Final"
"""The last version but those that need Java 21."""

ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
START_TIMEOUT_S = 90.0
JAVA_OPTIONS = (*QUICK_START, "-Xmx256m", "-XX:+UseSerialGC")


class LocalRegistryError(Exception):
    """The registry can not be had here; the message says why."""


class LocalRegistry:
    """One registry, in memory.

    Attributes
    ----------
    url
        Where its API like Confluent's is.
    """

    def __init__(self) -> None:
        self._port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="local-registry-"))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it answers."""
        [jar] = _fetch().glob("*-runner.jar")
        options = ("quarkus.http.host=127.0.0.1", f"quarkus.http.port={self._port}")
        log = self._folder / "registry.log"
        command = [
            shutil.which("java") or "java",
            *JAVA_OPTIONS,
            *(f"-D{each}" for each in options),
        ]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "-jar", str(jar)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                end = log.read_text(errors="replace")[-1_000:]
                raise LocalRegistryError(f"Apicurio {VERSION} did not start: {end}")
            time.sleep(0.2)

    def register(self, subject: str, text: str, kind: str = "AVRO") -> int:
        """Return the id of a schema under a name."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/subjects/{subject}/versions",
            data=orjson.dumps({"schema": text, "schemaType": kind}),
            headers={"content-type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer: dict[str, Any] = orjson.loads(response.read())
        return int(answer["id"])

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5):  # noqa: S310
                return True
        except OSError:
            return False


def _fetch() -> Path:
    """Return the folder with the registry, filling it by Maven the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "stream-detector" / "apicurio" / VERSION
    if folder.exists():
        return folder
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise LocalRegistryError(f"a local registry needs {' and '.join(missing)} on PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fill(folder)
    return folder


def _fill(folder: Path) -> None:
    """Make the folder: under another name first, so that half is never all."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        partial = Path(name)
        command = [shutil.which("mvn") or "mvn", "--batch-mode", "--quiet", "dependency:copy"]
        command += [f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={partial}"]
        done = subprocess.run(command, capture_output=True, check=False)
        archives = list(partial.glob("*.tar.gz"))
        if done.returncode or not archives:
            end = done.stdout.decode(errors="replace")[-500:]
            raise LocalRegistryError(f"Maven did not fetch Apicurio {VERSION}: {end}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(partial / "registry", filter="data")
        (partial / "registry").rename(folder)
