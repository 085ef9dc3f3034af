"""Images of a key: which are shown, and that each is the one that came."""

import base64
import io
from typing import Any

import numpy as np
import orjson
import pytest
from console_page import ask, make_memory_page, open_images, send_images, served, wait_for_picture
from PIL import Image

from stream_detector.assembly import Served
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import WindowDetector
from stream_detector.web import images, key_view
from stream_detector.web.history import Stretch
from stream_detector.web.images import images_of

START_MS = 1_767_225_600_000


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A bundle of grey images of 28 x 28 pixels, anomalous where the mean is above a half."""
    return open_images(tmp_path_factory.mktemp("bundle"))


def pixels_of(png: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_an_image_is_shown_beside_its_heat_map(grey: Served) -> None:
    broker = MemoryBroker()
    with served(make_memory_page(broker, grey)) as address:
        sent = send_images(broker, "camera", START_MS, [20, 255, 30])
        wait_for_picture(address, lambda each: each["topics"][1]["n_records"] == 3)
        status, _, body = ask(address, "/key?key=camera&figure=1")
    assert status == 200
    answer = orjson.loads(body)
    assert [each["time_ms"] for each in answer["images"]] == [
        START_MS + 2_000,
        START_MS + 1_000,
        START_MS,
    ]
    assert [each["anomaly_score"] > 1 for each in answer["images"]] == [False, True, False]
    for shown, pixels in zip(answer["images"], sent[::-1], strict=True):
        assert (pixels_of(shown["image"]) == pixels).all()
        heat_map = pixels_of(shown["heat_map"]).astype(int)
        # The network halves: the error of a pixel is half of it, the largest is white.
        assert (np.abs(heat_map - 255 * (pixels / pixels.max())) <= 1).all()
        assert shown["brightness"] == pytest.approx(pixels.max() / 255)
    assert (answer["names"], answer["n_features_left_out"]) == ([], 0)
    assert answer["n_scores"] == 3


def test_anomalous_images_come_first_and_no_more_than_so_many(
    grey: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = grey.detector
    assert isinstance(detector, WindowDetector)
    windows = np.zeros((6, 28, 28), np.float32)
    windows[:, 0, 0] = range(6)
    times, scores = np.arange(6.0), np.array([2.0, 1.0, 3.0, 0.5, 1.0, 1.0])

    def shown(start_ms: float = 0, end_ms: float = 5) -> list[float]:
        found = images_of(detector, windows, times, scores, Stretch(start_ms, end_ms))
        assert all(pixels_of(each.image)[0, 0] == each.time_ms for each in found)
        return [each.time_ms for each in found]

    assert shown() == [5, 4, 3, 2, 1, 0]
    assert shown(1, 4) == [4, 3, 2, 1]
    assert shown(6, 9) == []
    monkeypatch.setattr(images, "IMAGES_MAX", 3)
    assert shown() == [5, 2, 0]
    monkeypatch.setattr(images, "IMAGES_MAX", 1)
    assert shown() == [2]
    monkeypatch.setattr(images, "IMAGES_MAX", 6)
    monkeypatch.setattr(images, "IMAGE_BYTES_MAX", 1)
    assert shown() == [5]


def test_of_very_many_windows_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_view, "VALUES_MAX", 20)
    parts = [np.zeros((4, 2)), np.ones((5, 2))]
    assert key_view._drop_oldest(parts) == 0
    parts.append(np.ones((1, 2)))
    assert key_view._drop_oldest(parts) == 0
    parts.append(np.ones((1, 1)))
    assert key_view._drop_oldest(parts) == 4
    assert [len(each) for each in parts] == [5, 1, 1]
    whole = [np.zeros((11, 2))]
    assert key_view._drop_oldest(whole) == 0
