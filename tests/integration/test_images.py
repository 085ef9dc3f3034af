"""Images on a real Kafka: trained, streamed in every format, explained, and read back."""

import base64
import csv
import io
import json
from collections.abc import Callable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import CommandLine  # tests/support
from image_files import HEADERS, bad_files
from PIL import Image

from stream_detector.clients import connect
from stream_detector.core.codec.image_format import ImageFormat, ImageShape, encode_image
from stream_detector.core.records import OutputRecord
from stream_detector.core.scoring.image_explanation import HEAT_MAP_BYTES_MAX, HEAT_MAP_SIDE_MAX
from stream_detector.settings import ConnectionSettings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
N_IMAGES = 300
BAD = list(bad_files(ImageShape(28, 28, 1)))


class Sent(NamedTuple):
    """The bundle, the good records by key, and (error, score) of the anomalous ones offline."""

    bundle: Path
    values: dict[str, tuple[ImageFormat, bytes]]
    offline: dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def images(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Ones and nines in every format, a bundle fitted to ones, and what `score` says of them."""
    del data_folder
    from stream_detector.datasets import ImageChoice, load_images

    folder = tmp_path_factory.mktemp("images")
    runner = CommandLine(folder)
    bundle, files = folder / "bundle", folder / "files"
    changes = ("--epochs", 40, "--set", "data.n_windows=4000")
    runner.run("train", ROOT / "models" / "digit-one.toml", *changes, "--out", bundle, "--json")
    data = load_images("mnist", ImageChoice(normal=(1,), anomalous=(9,), n_images=4_000))
    files.mkdir()
    values = {}
    for number, window in enumerate([*data.test[: N_IMAGES // 2], *data.test[-N_IMAGES // 2 :]]):
        format_: ImageFormat = ("png", "jpeg", "uint8")[number % 3]
        name = f"{number:04d}.{'jpg' if format_ == 'jpeg' else 'png'}"
        values[name] = format_, encode_image(window, 1, format_)
        # A file of raw pixels says nothing of itself: offline it is a PNG of the same pixels.
        as_file: ImageFormat = "png" if format_ == "uint8" else format_
        (files / name).write_bytes(encode_image(window, 1, as_file))
    runner.run("score", bundle, files, "--out", folder / "scores.csv")
    with (folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == list(values)
    offline = {
        row["key"]: (float(row["reconstruction_error"]), float(row["anomaly_score"]))
        for row in rows
        if row["is_anomalous"] == "true"
    }
    assert 30 < len(offline) < N_IMAGES
    return Sent(bundle, values, offline)


@pytest.mark.parametrize(
    ("client", "delivery"), [("kafka-python", "exactly_once"), ("confluent", "at_least_once")]
)
def test_images_live_equal_images_offline_and_bad_ones_are_put_aside(
    client: str,
    delivery: str,
    kafka: str,
    images: Sent,
    topics: Callable[..., str],
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    topic, alerts_topic, letters_topic = topics(3), topics(1), topics(1)
    common = ("--bootstrap-servers", kafka, "--client", client)
    send(kafka, topic, images.values)
    done = command_line.run(
        *("detect", images.bundle, *common, "--input-topic", topic, "--alerts-topic", alerts_topic),
        *("--dead-letter-topic", letters_topic, "--group", f"images-{client}"),
        *("--delivery", delivery, "--instance-id", client, "--stop-when-idle", "1s"),
    )
    assert f"n_dead_letters={len(BAD)}" in done.stderr
    saved = tmp_path / "saved"
    read = command_line.run(
        *("alerts", *common, "--topic", alerts_topic, "--from-beginning", "--json"),
        *("--stop-when-idle", "3s", "--save-images", saved),
    )
    alerts = {alert["key"]: alert for alert in map(json.loads, read.stdout.splitlines())}
    assert len(alerts) == len(read.stdout.splitlines()), "an alert came twice"
    live = {
        key: (alert["reconstruction_error"], alert["anomaly_score"])
        for key, alert in alerts.items()
    }
    assert live == images.offline
    n_saved = f"{len(alerts)} heat maps and {len(alerts)} images written; 0 source records are gone"
    assert n_saved in " ".join(read.stderr.split())
    for key, alert in alerts.items():
        check_alert(key, alert, images.values[key], saved)
    check_dead_letters(kafka, letters_topic)


def send(servers: str, topic: str, values: dict[str, tuple[ImageFormat, bytes]]) -> None:
    """Send good and bad images by turns; half of the files have no header that names a format."""
    good = []
    for number, (key, (format_, value)) in enumerate(values.items()):
        is_told = format_ == "uint8" or number % 2
        headers = [*(HEADERS[format_] if is_told else []), ("reference", f"digits/{key}".encode())]
        good.append(OutputRecord(topic, key.encode(), value, headers))
    bad = [
        OutputRecord(topic, name.encode(), value, [("trace", b"\x00\xff")])
        for name, value, *_ in BAD
    ]
    client = connect(ConnectionSettings(bootstrap_servers=servers))
    client.produce(each for each in chain(*zip_longest(good, bad)) if each)
    client.flush(30_000)
    client.close()


def check_alert(key: str, alert: dict[str, Any], sent: tuple[str, bytes], saved: Path) -> None:
    """Check what an alert of an image says, and the two files that were saved of it."""
    assert alert["source"]["reference"] == f"digits/{key}"
    image = alert["explanation"]["image"]
    assert 0 <= image["first_row"] <= image["last_row"] < 28
    assert 0 <= image["first_column"] <= image["last_column"] < 28
    assert 0 < image["share"] <= 1
    assert len(image["heat_map"]) <= HEAT_MAP_BYTES_MAX
    heat_map = base64.b64decode(image["heat_map"])
    with Image.open(io.BytesIO(heat_map)) as opened:
        assert max(opened.size) <= HEAT_MAP_SIDE_MAX
        assert opened.size == (28, 28)
        assert opened.getextrema()[1] == 255
    assert (saved / f"{alert['alert_id']}-heat.png").read_bytes() == heat_map
    format_, value = sent
    suffix = "jpg" if format_ == "jpeg" else "png"
    original = (saved / f"{alert['alert_id']}.{suffix}").read_bytes()
    if format_ == "uint8":
        with Image.open(io.BytesIO(original)) as opened:
            original = opened.tobytes()
    assert original == value


def check_dead_letters(servers: str, topic: str) -> None:
    """Check that each bad image is a dead letter as it was, with its reason."""
    client = connect(ConnectionSettings(bootstrap_servers=servers), topics=[topic])
    found: dict[str, tuple[bytes | None, dict[str, bytes | None]]] = {}
    for _ in range(100):
        batch = client.poll(1_000, 200)
        for index, value in enumerate(batch.values):
            metadata = batch.metadata(index)
            assert metadata.headers[0] == ("trace", b"\x00\xff")
            found[(metadata.key or b"").decode()] = value, dict(metadata.headers)
        if len(found) >= len(BAD):
            break
    client.close()
    assert sorted(found) == sorted(name for name, *_ in BAD)
    for name, value, error, words in BAD:
        letter, headers = found[name]
        assert letter == value
        assert headers["__connect.errors.exception.class.name"] == error.encode()
        assert words in (headers["__connect.errors.exception.message"] or b"").decode()
