"""Where a data file comes from, and what happens when its sha256 is not the expected one."""

import gzip
import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stream_detector.datasets import fetch as module
from stream_detector.datasets.fetch import MIRROR_VARIABLE, RemoteFile, fetch
from stream_detector.errors import DatasetError

CONTENT = b"1.0,2.0\n"
FILE = RemoteFile(
    mirror_path="some/table.csv",
    url="https://example.org/table.csv",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some").mkdir()
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    return tmp_path


def test_compressed_mirror_file_is_read(mirror: Path) -> None:
    (mirror / "some" / "table.csv.gz").write_bytes(gzip.compress(CONTENT))
    assert fetch(FILE) == CONTENT


def test_plain_mirror_file_is_read(mirror: Path) -> None:
    (mirror / "some" / "table.csv").write_bytes(CONTENT)
    assert fetch(FILE) == CONTENT


def test_missing_mirror_file_says_what_to_do(mirror: Path) -> None:
    with pytest.raises(DatasetError, match=r"table\.csv\.gz is missing .* or unset") as caught:
        fetch(FILE)
    assert str(mirror) in str(caught.value)
    assert FILE.url in str(caught.value)


def test_wrong_sha256_names_both_and_what_to_do(mirror: Path) -> None:
    (mirror / "some" / "table.csv").write_bytes(CONTENT + b"x")
    with pytest.raises(DatasetError, match="is not the expected one") as caught:
        fetch(FILE)
    assert FILE.sha256 in str(caught.value)
    assert hashlib.sha256(CONTENT + b"x").hexdigest() in str(caught.value)
    assert "replace it" in str(caught.value)


@pytest.mark.parametrize(
    "damage", [b"no gzip", gzip.compress(CONTENT)[:-4]], ids=["no gzip", "cut short"]
)
def test_damaged_archive_is_refused(mirror: Path, damage: bytes) -> None:
    (mirror / "some" / "table.csv.gz").write_bytes(damage)
    with pytest.raises(DatasetError, match="cannot be read"):
        fetch(FILE)


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for the network: `retrieve` gives the file put at this path."""
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    path = tmp_path / "downloaded"

    def retrieve(url: str, downloader: Any, **_: object) -> str:
        downloader.progressbar.total = 4
        downloader.progressbar.reset()
        if not path.exists():
            message = f"no route to {url}"
            raise OSError(message)
        return str(path)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return path


def test_downloaded_file_is_checked(downloads: Path) -> None:
    downloads.write_bytes(CONTENT)
    assert fetch(FILE) == CONTENT
    downloads.write_bytes(b"other")
    with pytest.raises(DatasetError, match=f"delete {downloads} and run again"):
        fetch(FILE)


def test_member_of_a_downloaded_zip_is_checked(
    downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner.txt", CONTENT)
    zipped = downloads.with_suffix(".zip")
    zipped.write_bytes(buffer.getvalue())
    monkeypatch.setattr(module, "_download", lambda _: zipped)
    inside = RemoteFile("a", "https://example.org/a.zip", FILE.sha256, member="inner.txt")
    assert fetch(inside) == CONTENT
    absent = RemoteFile("a", "https://example.org/a.zip", FILE.sha256, member="absent.txt")
    with pytest.raises(DatasetError, match=r"absent\.txt"):
        fetch(absent)


@pytest.mark.usefixtures("downloads")
def test_failed_download_says_what_to_do() -> None:
    with pytest.raises(DatasetError, match=f"could not be downloaded.*set {MIRROR_VARIABLE}"):
        fetch(FILE)


def test_download_over_http_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "table.csv").write_bytes(CONTENT)
    handler = partial(QuietHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = replace(FILE, url=f"http://127.0.0.1:{server.server_port}/table.csv")
        assert fetch(file) == CONTENT
        server.shutdown()
    assert fetch(file) == CONTENT, "the second time comes from the cache"


def test_files_of_one_name_are_cached_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    for part in ("train", "test"):
        (tmp_path / "served" / part).mkdir(parents=True)
        (tmp_path / "served" / part / "table.csv").write_bytes(part.encode())
    handler = partial(QuietHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for part in ("train", "test"):
            url = f"http://127.0.0.1:{server.server_port}/{part}/table.csv"
            sha256 = hashlib.sha256(part.encode()).hexdigest()
            assert fetch(RemoteFile(f"some/{part}/table.csv", url, sha256)) == part.encode()
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, *_: object) -> None:
        pass


def test_progress_shows_and_goes_away() -> None:
    progress = module._Progress("file")
    progress.total = 10
    progress.update(4)
    progress.reset()
    progress.close()
    progress.close()
