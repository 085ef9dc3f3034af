"""Jars that Maven fetches once, into a folder of the user's cache."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SUPPORT = Path(__file__).parent


class MavenError(Exception):
    """Maven is missing or failed; the message has the end of what it printed."""


def fetch_jars(name: str, version: str, pom: str, *options: str) -> Path:
    """Return the folder with the jars of a project file, filling it the first time.

    Parameters
    ----------
    name, version
        What is fetched; they name the folder.
    pom
        The project file, in this folder.
    options
        More of Maven's command line.

    Raises
    ------
    MavenError
        If they are not there and cannot be fetched.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stream-detector"
    folder = cache / name / version
    if folder.exists():
        return folder
    if shutil.which("mvn") is None:
        raise MavenError("mvn is not on PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Maven's own store is not made for two at a time.
    with (cache / "maven.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fill(folder, pom, options)
    return folder


def _fill(folder: Path, pom: str, options: tuple[str, ...]) -> None:
    """Make the folder: under another name first, so that half is never all."""
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-"))
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(SUPPORT / pom), *options]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    command.append(f"-DoutputDirectory={partial}")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        shutil.rmtree(partial)
        raise MavenError(done.stdout.decode(errors="replace")[-1_000:])
    partial.rename(folder)
