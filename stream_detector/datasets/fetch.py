"""Get a file of a public data set from a local mirror, from the cache, or from its URL.

The sha256 is checked of the content itself, after any decompression, so that one value holds for
the mirror and for the URL.
"""

import gzip
import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_detector.errors import DatasetError

MIRROR_VARIABLE = "STREAM_DETECTOR_DATA"
"""Environment variable: a folder with the data sets, which are then not downloaded."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a public data set.

    Parameters
    ----------
    mirror_path
        Path of the file in a mirror, without the .gz that a mirror may add.
    url
        Public URL.
    sha256
        sha256 of the content, hexadecimal.
    member
        Name of the file inside the zip file at `url`; None if the URL gives the file itself.
    """

    mirror_path: str
    url: str
    sha256: str
    member: str | None = None


def fetch(file: RemoteFile) -> bytes:
    """Return the content of a file, downloading it if neither mirror nor cache has it.

    Raises
    ------
    DatasetError
        If the file is missing or its sha256 is not the expected one; the message says what to do.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    path = _find_in_mirror(file, Path(mirror)) if mirror else _download(file)
    try:
        content = _read(file, path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError) as error:
        message = f"data file {path} cannot be read: {error!r}; {_remedy(path, mirror)}"
        raise DatasetError(message) from None
    received = hashlib.sha256(content).hexdigest()
    if received != file.sha256:
        message = (
            f"data file {path} is not the expected one: expected sha256 {file.sha256}, "
            f"received {received}; {_remedy(path, mirror)}"
        )
        raise DatasetError(message)
    return content


def _find_in_mirror(file: RemoteFile, mirror: Path) -> Path:
    """Return the file's path in the mirror, compressed or not."""
    for candidate in (mirror / f"{file.mirror_path}.gz", mirror / file.mirror_path):
        if candidate.is_file():
            return candidate
    message = (
        f"data file {file.mirror_path}.gz is missing in {mirror}, the mirror that "
        f"{MIRROR_VARIABLE} names; put it there, or unset {MIRROR_VARIABLE} to download it "
        f"from {file.url}"
    )
    raise DatasetError(message)


def _download(file: RemoteFile) -> Path:
    """Return the file's path in the cache, downloading it if it is missing there."""
    try:
        import pooch  # noqa: PLC0415  (part of the train extra)
    except ImportError:
        message = (
            f"downloading {file.url} needs the train extra: pip install 'stream-detector[train]', "
            f"or set {MIRROR_VARIABLE} to a folder that has {file.mirror_path}"
        )
        raise DatasetError(message) from None
    pooch.get_logger().setLevel("WARNING")
    # The cache has the mirror's folders, since files of different data sets may share a name.
    cache = (Path(pooch.os_cache("stream-detector")) / file.mirror_path).parent
    name = file.url.rsplit("/", 1)[-1]
    progress = _Progress(name)
    try:
        # `fetch` checks the hash, of the content rather than of the archive.
        path = pooch.retrieve(
            file.url,
            known_hash=None,
            fname=name,
            path=cache,
            downloader=pooch.HTTPDownloader(progressbar=progress),
        )
    except (OSError, ValueError) as error:
        message = (
            f"data file {file.url} could not be downloaded: {error}; check the network, or set "
            f"{MIRROR_VARIABLE} to a folder that has {file.mirror_path}"
        )
        raise DatasetError(message) from None
    finally:
        progress.close()
    return Path(path)


def _read(file: RemoteFile, path: Path) -> bytes:
    """Return the content, decompressed or taken from its archive."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    if path.suffix == ".zip" and file.member is not None:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return archive.read(file.member)
    return raw


def _remedy(path: Path, mirror: str | None) -> str:
    """Return what to do about a damaged file."""
    if mirror:
        return f"replace it, or unset {MIRROR_VARIABLE} to download it instead"
    return f"delete {path} and run again to download it again"


class _Progress:
    """Progress bar of a download, drawn by rich, with the interface that pooch expects."""

    def __init__(self, name: str) -> None:
        self.total = 0
        self._name = name
        self._bar: Any = None
        self._task: Any = None

    def update(self, n_bytes: int) -> None:
        """Advance the bar, which appears with the first bytes."""
        if self._bar is None:
            from rich.console import Console  # noqa: PLC0415  (only if something is shown)
            from rich.progress import DownloadColumn, Progress  # noqa: PLC0415

            columns = (*Progress.get_default_columns(), DownloadColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self.total or None)
        self._bar.update(self._task, advance=n_bytes)

    def reset(self) -> None:
        """Reset the bar, as pooch does once the download is complete."""
        if self._bar is not None:
            self._bar.reset(self._task)

    def close(self) -> None:
        """Remove the bar. Calling it twice is harmless."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
