"""Write images to files: a network's output, the images that alerts are about, and heat maps."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream_detector.assembly import connect_reader
from stream_detector.cli.terminal import cannot_write, say
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.codec.image_format import ImageShape, encode_image, format_of
from stream_detector.core.scoring.explanation import ImageExplanation
from stream_detector.core.scoring.image_explanation import HEAT_MAP_BYTES_MAX
from stream_detector.datasets.files.images import SUFFIXES
from stream_detector.errors import ConfigError
from stream_detector.outputs.alerts import SourceReader
from stream_detector.ports import Client
from stream_detector.settings import ConnectionSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALERT_ID = re.compile("[0-9a-f]{32}")
_PIXEL_MAX = 255
_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}


def write_images(
    out: Path | None, names: Sequence[str], values: "NDArray[np.float64]", channels: int
) -> None:
    """Write each image as a PNG file into a folder.

    Parameters
    ----------
    out
        The folder; it is created if it does not exist.
    names
        Names of the images. Characters that a file name cannot hold become underscores. Where a
        name is empty or appears twice, every file name starts with the image's number.
    values
        Pixel values, shape (n_images, n_rows, n_columns * channels), rounded to 0..255.
    channels
        1 grey, 3 colour.

    Raises
    ------
    ConfigError
        If no folder is given, or it cannot be written to.
    """
    if out is None:
        message = "--out: expected a folder for the images, received none"
        raise ConfigError(message)
    pixels = np.clip(np.rint(values), 0, _PIXEL_MAX)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, image in zip(_file_names(names), pixels, strict=True):
            (out / name).write_bytes(encode_image(image, channels, "png"))
    except OSError as error:
        raise cannot_write(out, error) from None


class ImageSaver:
    """Write `<alert_id>-heat.png` for each alert about an image, and the image beside it.

    Parameters
    ----------
    folder
        The folder to write to; it is created if it does not exist.
    reader
        Reads the images from their topic.

    Raises
    ------
    ConfigError
        If the folder cannot be created.
    """

    def __init__(self, folder: Path, reader: SourceReader) -> None:
        self._folder = folder
        self._reader = reader
        self.n_heat_maps = self.n_images = self.n_missing = self.n_skipped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"--save-images {folder}: cannot be created: {error}; give another folder"
            raise ConfigError(message) from None

    def save(self, alert: Alert) -> None:
        """Write the heat map and the image of an alert; nothing if it is not about an image.

        Raises
        ------
        ConfigError
            If a file cannot be written.
        """
        image = None if alert.explanation is None else alert.explanation.image
        if image is None:
            return
        heat_map = _heat_map(image.heat_map)
        # Those who can write to the topic must choose neither file names nor file content.
        if heat_map is None or not _ALERT_ID.fullmatch(alert.alert_id):
            self.n_skipped += 1
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
        """Return a line on what was written and what was not."""
        skipped = (
            f"; {self.n_skipped} alerts skipped, whose id or heat map is not valid"
            if self.n_skipped
            else ""
        )
        return (
            f"{self._folder}: {self.n_heat_maps} heat maps and {self.n_images} images written; "
            f"{self.n_missing} source records are gone or hold no image{skipped}"
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
    """Yield a function that saves the images of an alert, and print the totals at the end.

    Parameters
    ----------
    settings
        How to reach Kafka.
    folder
        The folder to write to; None saves nothing.
    """
    if folder is None:
        yield lambda _: None
        return

    def connect(topic: str) -> Client:
        return connect_reader(settings, topic)

    with closing(SourceReader(connect)) as reader:
        saver = ImageSaver(folder, reader)
        yield saver.save
        say(saver.summary())


def _heat_map(text: str) -> bytes | None:
    """Return the PNG that a base64 text holds, None where it holds none."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    is_valid = len(text) <= HEAT_MAP_BYTES_MAX and format_of(content) == "png"
    return content if is_valid else None


def _as_file(value: bytes | None, image: ImageExplanation) -> tuple[str, bytes] | None:
    """Return file suffix and content for a record's image, None where it holds none."""
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


def _file_names(names: Sequence[str]) -> list[str]:
    """Return a unique file name for each image."""
    stems = []
    for name in names:
        stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name
        stems.append("".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in stem))
    if "" in stems or len(set(stems)) < len(stems):
        stems = [f"{number:05d}-{stem}".rstrip("-") for number, stem in enumerate(stems)]
    return [f"{stem}.png" for stem in stems]
