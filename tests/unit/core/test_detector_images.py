"""Records that are images, through the detector: which are scored, and what their alerts say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from detectors import with_network
from image_files import COLOUR, GREY, HEADERS, bad_files, file_of, pixels_of  # tests/support
from present import present

from stream_detector.core.alerting.alert import encode_alert
from stream_detector.core.codec.image_format import ImageShape, encode_image
from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import RecordBatch
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.state.detector_state import IncidentState
from stream_detector.errors import NonFiniteScoreError

MakeBatch = Callable[..., RecordBatch]
STATE = IncidentState()


@pytest.fixture
def make_image_detector(
    make_detector: Callable[..., WindowDetector],
) -> Callable[..., WindowDetector]:
    """Return a maker of detectors of images, anomalous above a mean pixel of 102."""

    def make(image: ImageShape = GREY, **changes: Any) -> WindowDetector:
        n_features = image.window[1]
        scaler = Scaler(
            "pixels", np.zeros(n_features, np.float32), np.full(n_features, 1 / 255, np.float32)
        )
        facts = {"shape": image.window, "image": image, "scaler": scaler, "threshold": 0.4}
        return make_detector(**(facts | changes))

    return make


def test_an_image_whose_key_is_too_long_is_rejected(
    make_batch: MakeBatch, make_image_detector: Callable[..., WindowDetector]
) -> None:
    value = encode_image(np.full((6, 5), 255, np.uint8), 1, "png")
    outcomes = []
    for n_bytes in (KEY_BYTES_MAX, KEY_BYTES_MAX + 1):
        batch = make_batch([value], [HEADERS["png"]], key=b"\xff" * n_bytes)
        step = make_image_detector().step(STATE, batch)
        outcomes.append((len(step.alerts), len(step.rejected)))
    assert outcomes == [(1, 0), (0, 1)]


@pytest.mark.parametrize("image", [GREY, COLOUR])
def test_every_format_of_the_same_pixels_gives_the_same_alert(
    image: ImageShape, make_batch: MakeBatch, make_image_detector: Callable[..., WindowDetector]
) -> None:
    pixels = pixels_of(image)
    values = [encode_image(pixels, image.n_channels, format_) for format_ in ("png", "uint8")]
    values.append(orjson.dumps({"values": pixels.tolist()}))
    headers = [HEADERS["png"], None, [("content-type", b"application/json")]]
    detector = make_image_detector(image)
    step = detector.step(STATE, make_batch(values, headers))
    assert len(set(step.scores.scores.tolist())) == 1
    scaled = pixels.astype(np.float32)[np.newaxis]
    assert step.scores.scores[0] == detector.score(scaled)[0]
    explanations = [present(raised.alert.explanation) for raised in step.alerts]
    assert [each.image for each in explanations] == [explanations[0].image] * 3


def test_bad_images_cost_their_neighbours_nothing(
    make_batch: MakeBatch, make_image_detector: Callable[..., WindowDetector]
) -> None:
    bad = [each[1] for each in bad_files()]
    values = [value for each in bad for value in (each, file_of())]
    step = make_image_detector().step(STATE, make_batch(values))
    assert [each.index for each in step.rejected] == list(range(0, len(values), 2))
    assert {each.stage for each in step.rejected} == {"decode"}
    assert step.scores.indices.tolist() == list(range(1, len(values), 2))
    assert len(set(step.scores.scores.tolist())) == 1


@pytest.mark.parametrize(
    ("headers", "reference"),
    [
        ([("reference", b"fashion-mnist/test/17")], "fashion-mnist/test/17"),
        ([("reference", "é".encode() * 128), ("reference", b"second")], "é" * 128),
        ([("reference", b"x" * 257)], None),
        ([("reference", b"\xff")], None),
        ([("reference", None)], None),
        ([], None),
    ],
)
def test_the_reference_of_a_record_goes_into_its_alert(
    headers: Any,
    reference: str | None,
    make_batch: MakeBatch,
    make_image_detector: Callable[..., WindowDetector],
) -> None:
    batch = make_batch([file_of()], [headers])
    ((_, alert, key),) = make_image_detector().step(STATE, batch).alerts
    assert alert.source.reference == reference
    value = orjson.loads(encode_alert(alert, "alerts", key, 0).value or b"")
    assert value["source"]["reference"] == reference


def test_images_and_windows_are_told_apart_by_the_bundle(
    make_batch: MakeBatch, make_detector: Callable[..., WindowDetector]
) -> None:
    with pytest.raises(ValueError, match="expected json or float32 for this bundle"):
        make_detector().step(STATE, make_batch([file_of()]), "image")


def test_json_can_be_the_format_of_images_without_a_header(
    make_batch: MakeBatch, make_image_detector: Callable[..., WindowDetector]
) -> None:
    batch = make_batch([orjson.dumps({"values": pixels_of(GREY).tolist()}), file_of()])
    step = make_image_detector().step(STATE, batch, "json")
    assert (step.scores.indices.tolist(), step.rejected[0].index) == ([0], 1)


def test_a_network_that_gives_no_number_stops_it(
    make_batch: MakeBatch, make_image_detector: Callable[..., WindowDetector]
) -> None:
    def broken(windows: Any) -> Any:
        return windows * np.nan

    with pytest.raises(NonFiniteScoreError):
        with_network(make_image_detector(), broken).step(STATE, make_batch([file_of()]))
