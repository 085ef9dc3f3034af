"""Commands on a bundle of images: score a folder, and what detect refuses before it connects."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from halving_bundle import make_bundle  # tests/support
from PIL import Image

from stream_detector.assembly import open_bundle
from stream_detector.bundle import read_bundle
from stream_detector.core.codec.image_format import ImageShape, encode_image
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import RecordBatch

MNIST = ImageShape(28, 28, 1)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "images"
    make_bundle(path, "fashion-basic")
    return path


def image_of(level: int, seed: int) -> Any:
    """Return grey pixels about a level."""
    noise = np.random.default_rng(seed).integers(-9, 10, MNIST.window)
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def score(run: Run, bundle: Path, what: Path) -> list[dict[str, str]]:
    """Return what `score` writes of a file or folder."""
    out = bundle.parent / "scores.csv"
    code, _, err = run("score", bundle, what, "--out", out)
    assert code == 0, err
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_bundle_knows_the_shape_of_its_images(bundle: Path) -> None:
    assert read_bundle(bundle).image == MNIST
    detector = open_bundle(bundle).detector
    assert isinstance(detector, WindowDetector)
    assert detector.image == MNIST


def test_a_folder_scores_as_the_stream_does_bit_for_bit(
    run: Run, bundle: Path, tmp_path: Path, make_batch: Callable[..., RecordBatch]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, level in enumerate((30, 200, 90, 240)):
        format_: Any = ("png", "jpeg")[number % 2]
        content = encode_image(image_of(level, number), 1, format_)
        (folder / f"{number}.{format_}").write_bytes(content)
    rows = score(run, bundle, folder)
    assert [row["key"] for row in rows] == ["0.png", "1.jpeg", "2.png", "3.jpeg"]
    assert [row["is_anomalous"] for row in rows] == ["false", "true", "false", "true"]
    served = open_bundle(bundle)
    batch = make_batch([path.read_bytes() for path in sorted(folder.iterdir())])
    step = served.detector.step(served.detector.initial_state(), batch)
    live = step.scores.scores.tolist()
    assert [float(row["reconstruction_error"]) for row in rows] == live


def test_a_file_of_pixel_values_scores_as_images_do(run: Run, bundle: Path, tmp_path: Path) -> None:
    pixels = image_of(200, 1)
    file, image = tmp_path / "pixels.csv", tmp_path / "one.png"
    header = ",".join(f"v{number}" for number in range(784))
    file.write_text(f"{header}\n{','.join(map(str, pixels.ravel()))}\n")
    Image.fromarray(pixels).save(image)
    (of_file,), (of_image,) = (score(run, bundle, path) for path in (file, image))
    assert of_file["reconstruction_error"] == of_image["reconstruction_error"]


def test_a_folder_with_a_wrong_image_is_refused(run: Run, bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (27, 28)).save(tmp_path / "small.png")
    code, _, err = run("score", bundle, tmp_path)
    assert code == 6
    assert "small.png: image: expected 28 rows x 28 columns, received 28 rows x 27" in err


def test_a_bundle_of_windows_takes_no_content_type_of_images(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "windows")
    code, _, err = run("detect", tmp_path / "windows", "--content-type", "image")
    assert code == 2
    assert "content_type: expected json or float32, because bundle" in err
    assert err.count("\n") == 1
