"""Writes what alerts show of images to files: heat maps, and the images from where they lie."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from stream_detector.cli.output import console
from stream_detector.clients import connect
from stream_detector.core.codec.image_format import ImageShape, encode_image, format_of
from stream_detector.core.records import Alert, Source, TopicPartition
from stream_detector.core.scoring.explanations import ImageExplanation
from stream_detector.core.scoring.image_explanation import HEAT_MAP_BYTES_MAX
from stream_detector.errors import ConfigError
from stream_detector.ports import Client, Clock, SystemClock
from stream_detector.settings import ConnectionSettings

Connect = Callable[[str], Client]

READ_S_MAX = 10.0
"""Longest wait for an image that its topic should still have."""

_POLL_MS = 200
_N_AHEAD = 64
"""Records of a partition that are kept from one alert to the next: to seek takes far longer than to
read on."""
_ALERT_ID = re.compile("[0-9a-f]{32}")
_TOPIC = re.compile("[a-zA-Z0-9._-]{1,249}")
_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}


class SourceReader:
    """Reads single records from where alerts say that they lie.

    Parameters
    ----------
    connect
        Gives a client that reads a topic, in no group, from the oldest record on.
    clock
        Measures how long no record came.
    """

    def __init__(self, connect: Connect, clock: Clock | None = None) -> None:
        self._connect = connect
        self._clock = clock or SystemClock()
        self._clients: dict[str, Client | None] = {}
        self._ahead: dict[TopicPartition, dict[int, bytes | None]] = {}

    def read(self, source: Source) -> bytes | None:
        """Return the value of a record; None where it is no longer there."""
        partition = TopicPartition(source.topic, source.partition)
        if source.offset not in self._ahead.get(partition, {}):
            self._ahead[partition] = self._fetch(partition, source.offset)
        return self._ahead[partition].get(source.offset)

    def _fetch(self, partition: TopicPartition, offset: int) -> dict[int, bytes | None]:
        """Return the values of the first records from an offset on, nothing where none comes."""
        client = self._client(partition.topic)
        if client is None or partition not in client.assignment():
            return {}
        client.pause(client.assignment())
        client.seek(partition, offset)
        client.resume([partition])
        deadline_s = self._clock.monotonic_s() + READ_S_MAX
        while self._clock.monotonic_s() < deadline_s:
            batch = client.poll(_N_AHEAD, _POLL_MS)
            record_metadata = map(batch.metadata, range(len(batch)))
            found = {
                metadata.offset: value
                for metadata, value in zip(record_metadata, batch.values, strict=True)
                if metadata.partition == partition.partition
            }
            # Where the offset is gone, the client hands out the oldest records that are kept.
            if found or client.positions([partition]).get(partition, 0) > offset:
                return found
        return {}

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            if client is not None:
                client.close()

    def _client(self, topic: str) -> Client | None:
        """Return the client of a topic, None where the topic does not exist."""
        if topic not in self._clients:
            client = self._connect(topic) if _TOPIC.fullmatch(topic) else None
            self._clients[topic] = client
            if client is not None and client.n_partitions(topic) == 0:
                client.close()
                self._clients[topic] = None
            elif client is not None:
                client.poll(1, 0)  # the partitions come with it
        return self._clients[topic]


class ImageSaver:
    """Writes `<alert_id>-heat.png` for each alert of an image, and the image beside it.

    Parameters
    ----------
    folder
        Where to; it is made.
    reader
        Gives the images.

    Raises
    ------
    ConfigError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, reader: SourceReader) -> None:
        self._folder = folder
        self._reader = reader
        self.n_heat_maps = self.n_images = self.n_missing = self.n_odd = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"--save-images {folder}: cannot be made: {error}; give another folder"
            raise ConfigError(message) from None

    def take(self, alert: Alert) -> None:
        """Write what an alert shows; nothing where it is of no image.

        Raises
        ------
        ConfigError
            If a file cannot be written.
        """
        image = alert.explanation.image
        if image is None:
            return
        heat_map = _heat_map(image.heat_map)
        # Whoever may write alerts must not choose what files are called, or what is in them.
        if heat_map is None or not _ALERT_ID.fullmatch(alert.alert_id):
            self.n_odd += 1
            return
        self._write(f"{alert.alert_id}-heat.png", heat_map)
        self.n_heat_maps += 1
        original = _as_file(self._reader.read(alert.source), image)
        if original is None:
            self.n_missing += 1
            return
        suffix, content = original
        self._write(alert.alert_id + suffix, content)
        self.n_images += 1

    def summary(self) -> str:
        """Return what was written, and what could not be had."""
        odd = f"; {self.n_odd} alerts skipped, whose id or heat map is none" if self.n_odd else ""
        return (
            f"{self._folder}: {self.n_heat_maps} heat maps and {self.n_images} images written; "
            f"{self.n_missing} images are no longer in their topic, or are none{odd}"
        )

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        try:
            path.write_bytes(content)
        except OSError as error:
            message = f"--save-images: {path} cannot be written: {error}"
            raise ConfigError(message) from None


@contextmanager
def saving_images(
    settings: ConnectionSettings, folder: Path | None
) -> Iterator[Callable[[Alert], None]]:
    """Give what takes alerts and saves their images, and say in the end how many it saved.

    Parameters
    ----------
    settings
        How to reach Kafka.
    folder
        Where to; None saves nothing.
    """
    if folder is None:
        yield lambda _: None
        return

    def connect_reader(topic: str) -> Client:
        return connect(settings, topics=[topic])

    with closing(SourceReader(connect_reader)) as reader:
        saver = ImageSaver(folder, reader)
        yield saver.take
        console().print(saver.summary())


def _heat_map(text: str) -> bytes | None:
    """Return the PNG that base64 text holds, None where it is none."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    is_one = len(text) <= HEAT_MAP_BYTES_MAX and format_of(content) == "png"
    return content if is_one else None


def _as_file(value: bytes | None, image: ImageExplanation) -> tuple[str, bytes] | None:
    """Return suffix and content of a file of an image, None where a record holds none."""
    if not value:
        return None
    format_ = format_of(value)
    if format_ != "uint8":
        return _SUFFIXES[format_], value
    shape = ImageShape(image.n_rows, image.n_columns, image.n_channels)
    if image.n_channels not in (1, 3) or len(value) != shape.n_bytes:
        return None
    pixels = np.frombuffer(value, np.uint8).reshape(shape.window)
    return ".png", encode_image(pixels, shape.n_channels, "png")
