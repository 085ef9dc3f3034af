"""Heat maps and images of alerts are saved; an alert chooses neither names nor content."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import GREY, file_of, pixels_of  # tests/support
from PIL import Image
from present import present

from stream_detector.cli.alerts import describe
from stream_detector.cli.images import ImageSaver, saving_images
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import Alert, Source
from stream_detector.core.codec.image_format import encode_image
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import OutputRecord, RecordBatch
from stream_detector.core.state.detector_state import IncidentState
from stream_detector.errors import ConfigError
from stream_detector.outputs.alerts import SourceReader
from stream_detector.settings import ConnectionSettings

MakeDetector = Callable[..., WindowDetector]
RAW = encode_image(pixels_of(GREY), 1, "uint8")
VALUES = [file_of(), file_of(format_="JPEG"), RAW, b'{"values": []}', None]


class Clock:
    """Time passes when somebody looks at it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 1.0
        return self.now_s


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create_topic("telemetry", 2)
    client = made.connect()
    client.produce(OutputRecord("telemetry", None, value, partition=1) for value in VALUES)
    client.produce(OutputRecord("telemetry", None, b"?", partition=0) for _ in range(3))
    client.flush(1_000)
    return made


@pytest.fixture
def alert(make_detector: MakeDetector, make_batch: Callable[..., RecordBatch]) -> Alert:
    """An alert of a grey image."""
    detector = make_detector(shape=GREY.window, image=GREY)
    (raised,) = detector.step(IncidentState(), make_batch([RAW])).alerts
    return raised.alert


@pytest.fixture
def saver(broker: MemoryBroker, tmp_path: Path) -> ImageSaver:
    def connect(topic: str) -> Any:
        return broker.connect(topics=[topic])

    return ImageSaver(tmp_path / "a" / "b", SourceReader(connect, Clock()))  # type: ignore[arg-type]


def at(alert: Alert, offset: int, partition: int = 1, topic: str = "telemetry") -> Alert:
    return replace(
        alert,
        alert_id=f"{offset % 2**128:032x}",
        source=Source(topic, partition, offset, "somewhere"),
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_alert_about_an_image_names_the_pixels(alert: Alert) -> None:
    assert "key pump-7  worst rows " in describe(alert)
    assert present(present(alert.explanation).image).n_columns == 5


def test_the_heat_map_and_the_image_are_written(
    saver: ImageSaver, alert: Alert, tmp_path: Path
) -> None:
    for offset in (2, 0, 1, 0):  # in any order, and one comes again
        saver.save(at(alert, offset))
    folder = tmp_path / "a" / "b"
    ids = [f"{offset:032x}" for offset in range(3)]
    expected = [*(f"{each}-heat.png" for each in ids), f"{ids[0]}.png", f"{ids[1]}.jpg"]
    assert names(folder) == sorted([*expected, f"{ids[2]}.png"])
    assert (folder / f"{ids[0]}.png").read_bytes() == VALUES[0]
    assert (folder / f"{ids[1]}.jpg").read_bytes() == VALUES[1]
    with Image.open(folder / f"{ids[2]}.png") as opened:
        assert np.array_equal(np.asarray(opened), pixels_of(GREY))
    for path in folder.iterdir():
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            assert opened.size == (5, 6)
    assert saver.summary() == (
        f"{folder}: 4 heat maps and 4 images written; 0 source records are gone or hold no image"
    )


@pytest.mark.parametrize(
    ("offset", "partition", "topic"),
    [
        (3, 1, "telemetry"),  # no image
        (4, 1, "telemetry"),  # a tombstone
        (5, 1, "telemetry"),  # not there yet
        (2**62, 1, "telemetry"),
        (2**63 - 1, 1, "telemetry"),
        (2**63, 1, "telemetry"),
        (2**400, 1, "telemetry"),
        (-1, 1, "telemetry"),
        (-2, 1, "telemetry"),
        (0, -1, "telemetry"),
        (0, 7, "telemetry"),
        (0, 0, "gone"),
        (0, 0, "../no topic"),
    ],
)
def test_an_image_that_cannot_be_read_is_counted(
    saver: ImageSaver, alert: Alert, tmp_path: Path, offset: int, partition: int, topic: str
) -> None:
    saver.save(at(alert, offset, partition, topic))
    assert (saver.n_heat_maps, saver.n_images, saver.n_missing) == (1, 0, 1)
    assert len(names(tmp_path / "a" / "b")) == 1


def test_an_image_that_retention_removed_is_counted_and_later_ones_are_read(
    saver: ImageSaver, broker: MemoryBroker, alert: Alert
) -> None:
    broker.truncate("telemetry", 1, 1)
    for offset in (0, 1):
        saver.save(at(alert, offset))
    assert (saver.n_images, saver.n_missing) == (1, 1)


def test_an_alert_chooses_neither_names_nor_content(
    saver: ImageSaver, alert: Alert, tmp_path: Path
) -> None:
    explanation = present(alert.explanation)
    image = present(explanation.image)
    for heat_map in ("", "?", "aGVsbG8=", image.heat_map * 100):
        odd = replace(explanation, image=replace(image, heat_map=heat_map))
        saver.save(replace(alert, explanation=odd))
    for alert_id in ("../../x", "", alert.alert_id + "\n", alert.alert_id.upper() + "/.."):
        saver.save(replace(alert, alert_id=alert_id))
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a" / "b") == []
    assert saver.summary().endswith("; 8 alerts skipped, whose id or heat map is not valid")


@pytest.mark.parametrize(("n_characters", "is_saved"), [(6_144, True), (6_148, False)])
def test_a_heat_map_has_a_largest_size(
    saver: ImageSaver, alert: Alert, tmp_path: Path, n_characters: int, is_saved: bool
) -> None:
    explanation = present(alert.explanation)
    content = file_of().ljust(n_characters * 3 // 4, b"\0")
    image = replace(present(explanation.image), heat_map=base64.b64encode(content).decode())
    saver.save(replace(alert, explanation=replace(explanation, image=image)))
    assert len(names(tmp_path / "a" / "b")) == is_saved
    assert saver.n_skipped == (not is_saved)


def test_an_alert_not_about_an_image_is_ignored(saver: ImageSaver, alert: Alert) -> None:
    explanation = replace(present(alert.explanation), image=None)
    saver.save(replace(alert, explanation=explanation))
    saver.save(replace(alert, explanation=None))
    assert (saver.n_heat_maps, saver.n_missing, saver.n_skipped) == (0, 0, 0)


def test_a_folder_that_cannot_be_created_is_an_error(broker: MemoryBroker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--save-images .*file.* cannot be created"):
        ImageSaver(tmp_path / "file", SourceReader(lambda _: broker.connect()))


def test_a_file_that_cannot_be_written_is_an_error(
    saver: ImageSaver, alert: Alert, tmp_path: Path
) -> None:
    (tmp_path / "a" / "b" / f"{alert.alert_id}-heat.png").mkdir()
    with pytest.raises(ConfigError, match=r"heat\.png cannot be written"):
        saver.save(alert)


def test_without_a_folder_nothing_is_saved(alert: Alert, capsys: Any) -> None:
    with saving_images(ConnectionSettings(), None) as take:
        take(alert)
    assert capsys.readouterr() == ("", "")
