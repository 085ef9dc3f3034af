"""What is no file in place of data: it is refused, and not waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_detector.core.codec.image_format import ImageShape
from stream_detector.datasets.files.images import FILE_BYTES_MAX, read_images
from stream_detector.datasets.files.reading import read_columns
from stream_detector.errors import DatasetError


def link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


each_kind = pytest.mark.parametrize("make", [os.mkfifo, link_to_zero, link_to_itself])


@each_kind
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_a_table_is_a_regular_file(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    make(tmp_path / name)
    with pytest.raises(DatasetError, match="cannot be read as"):
        read_columns(tmp_path / name)


@each_kind
def test_an_image_is_a_regular_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "one.png")
    with pytest.raises(DatasetError, match="cannot be read: "):
        read_images(tmp_path, ImageShape(2, 2, 1))


def test_an_image_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "one.png").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(DatasetError, match="expected at most"):
        read_images(tmp_path, ImageShape(2, 2, 1))
