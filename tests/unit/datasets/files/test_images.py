"""A folder of images is read in the order of names, or refused with the file that is wrong."""

from pathlib import Path

import numpy as np
import pytest
from image_files import GREY, file_of, pixels_of  # tests/support

from stream_detector.core.codec.image_format import encode_image
from stream_detector.datasets.files.images import read_images
from stream_detector.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, seed in (("b.png", 2), ("a.PNG", 1)):
        (tmp_path / name).write_bytes(encode_image(pixels_of(GREY, seed), 1, "png"))
    (tmp_path / "c.jpg").write_bytes(file_of(format_="JPEG"))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.png").write_bytes(b"not read")
    return tmp_path


def test_images_come_in_the_order_of_their_names(folder: Path) -> None:
    found = read_images(folder, GREY)
    assert found.names == ["a.PNG", "b.png", "c.jpg"]
    assert found.windows.shape == (3, 6, 5)
    assert np.array_equal(found.windows[:2], np.stack([pixels_of(GREY, 1), pixels_of(GREY, 2)]))


def test_one_image_is_read(folder: Path) -> None:
    assert read_images(folder / "b.png", GREY).names == ["b.png"]


def test_an_image_that_cannot_be_used_is_named(folder: Path) -> None:
    (folder / "b.png").write_bytes(file_of("RGB"))
    with pytest.raises(DatasetError, match=r"b\.png: image: expected grey .*; 1 of 3 files cannot"):
        read_images(folder, GREY)


@pytest.mark.parametrize("name", ["notes.txt", "empty", "absent.png"])
def test_no_image_is_said(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DatasetError, match=name):
        read_images(folder / name, GREY)
