"""Look at a .keras file before Keras does: only what `train` writes is let through.

Keras builds whatever the configuration in the file says before it looks at the weights, so a small
file could ask for any amount of memory, or for code of other libraries.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from stream_detector.errors import BundleIntegrityError
from stream_detector.files import NETWORK_BYTES_MAX, open_regular
from stream_detector.text import printable, shorten

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

MEMBER_BYTES_MAX = {CONFIG: 4 * 1024 * 1024, "metadata.json": 4_096, WEIGHTS: NETWORK_BYTES_MAX}
"""Largest size of each part, inflated. A configuration has some kilobytes for each layer."""

CLASSES = frozenset(
    {
        *("DTypePolicy", "GlorotUniform", "Orthogonal", "Zeros", "__keras_tensor__"),
        *("Conv2D", "Conv2DTranspose", "Cropping2D", "Dense", "Flatten", "Functional"),
        *("InputLayer", "LSTM", "MaxPooling2D", "RepeatVector", "Reshape", "UpSampling2D"),
    }
)
"""What the networks of `stream_detector.networks` are made of."""

DEPTH_MAX = 64
"""Deepest nesting of a configuration; those that are written have less than twenty levels."""

NUMBER_MAX = 262_144
"""Largest number in it: `recipes.sections.WINDOW_VALUES_MAX`."""


def check_archive(path: Path) -> None:
    """Refuse a network that `train` would not have written.

    Raises
    ------
    BundleIntegrityError
        If it is no archive of Keras, a part of it is too large, or its configuration is nested too
        deep, or holds a class or a number that none of the project's networks has.
    """
    try:
        with open_regular(path, NETWORK_BYTES_MAX) as file, zipfile.ZipFile(file) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            _check_sizes(sizes)
            config = json.loads(archive.read(CONFIG))
        _check_config(config)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        reason = shorten(printable(str(error)))
        message = (
            f"{path} cannot be loaded: train does not write such a network: {reason}; train again"
        )
        raise BundleIntegrityError(message) from None


def _check_sizes(sizes: dict[str, int]) -> None:
    """Refuse parts that do not belong there, and those that are too large."""
    if sizes.keys() != MEMBER_BYTES_MAX.keys():
        message = f"expected {', '.join(MEMBER_BYTES_MAX)}, received {', '.join(sizes)}"
        raise ValueError(message)
    for name, size in sizes.items():
        if size > MEMBER_BYTES_MAX[name]:
            message = (
                f"{name}: expected at most {MEMBER_BYTES_MAX[name]:,} bytes, received {size:,}"
            )
            raise ValueError(message)


def _check_config(config: Any) -> None:
    """Refuse unknown classes, large numbers, and what is nested too deep."""
    level = [config]
    for _ in range(DEPTH_MAX):
        tables = [each for each in level if isinstance(each, dict)]
        for each in tables:
            name = each.get("class_name")
            if name is not None and not (isinstance(name, str) and name in CLASSES):
                message = f"expected only classes that its networks need, received {name!r}"
                raise ValueError(message)
        for each in level:
            if isinstance(each, int | float) and not abs(each) <= NUMBER_MAX:
                message = f"expected numbers up to {NUMBER_MAX:,}, received {each}"
                raise ValueError(message)
        lists = [each for each in level if isinstance(each, list)]
        level = [inner for each in tables for inner in each.values()]
        level += [inner for each in lists for inner in each]
    if level:
        message = f"it is nested deeper than {DEPTH_MAX} levels"
        raise ValueError(message)
