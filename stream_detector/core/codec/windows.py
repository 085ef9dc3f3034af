"""Decode a batch of records that each hold one whole window, in any mix of formats.

Pure. A record that cannot be decoded is returned as a `Rejected` value and never raised, so a bad
record costs its neighbours nothing. Which formats there are, and how a record names its own, is
said by `stream_detector.core.codec.formats`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stream_detector.core.codec.decoding import Decoded, lost_in_float32
from stream_detector.core.codec.formats import (
    ContentType,
    FormatGroup,
    FormatName,
    RecordShape,
    find_format,
    group_by_format,
    select_records,
)
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.features import to_float32
from stream_detector.core.records import FloatArray, Headers, Rejected


def decode_windows(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    shape: tuple[int, int] | ImageShape,
    content_type: ContentType | None,
    first_index: int = 0,
    origin: Sequence[float] = (),
) -> Decoded:
    """Decode records that each hold one window.

    Parameters
    ----------
    values
        Record values, None for a tombstone. Length n_records.
    headers
        Headers of each record, or None where no record has any.
    shape
        (n_steps, n_features) of a window, or the shape of the images where the bundle takes images.
    content_type
        Format of records whose headers do not name one; None takes the default, "json", or "image"
        where records are images.
    first_index
        Index in the batch of the first of these records.
    origin
        What is taken from each feature before values are rounded to float32; see
        `stream_detector.core.features`.

    Returns
    -------
    Windows in float32, and rejected records; together as many as there are records. No records give
    no windows.

    Raises
    ------
    ValueError
        If these records cannot have the format `content_type`: the caller's mistake.

    Examples
    --------
    >>> decoded = decode_windows([b'{"values":[1,2]}', None], None, (2, 1), "json")
    >>> decoded.windows.tolist(), [each.index for each in decoded.rejected]
    ([[[1.0], [2.0]]], [1])
    """
    record_shape: RecordShape = "image" if isinstance(shape, ImageShape) else "window"
    groups, unusable = group_by_format(values, headers, content_type, record_shape)
    parts = [
        _in_float32(_decode_group(group, values, first_index, shape), origin) for group in groups
    ]
    if len(parts) == 1 and not unusable:
        return parts[0]
    rejected = [Rejected(first_index + row, error) for row, error in unusable.items()]
    return _merge(parts, rejected, shape.window if isinstance(shape, ImageShape) else shape)


def encode_window(window: FloatArray, format_name: FormatName, n_channels: int = 1) -> bytes:
    """Return one window as a record's value.

    Parameters
    ----------
    window
        Float32, shape (n_steps, n_features).
    format_name
        "json": `{"values": [...]}`, one row a step where there are several features;
        "float32": little-endian, step by step; "png", "jpeg", "uint8": the pixels of an image.
    n_channels
        Values of each pixel of an image, 1 or 3.

    Returns
    -------
    Bytes that read back to exactly the same float32 values, except for JPEG.

    Examples
    --------
    >>> encode_window(np.array([[0.1], [2.0]], dtype=np.float32), "json")
    b'{"values":[0.10000000149011612,2.0]}'
    >>> encode_window(np.array([[1.0, 2.0]], dtype=np.float32), "json")
    b'{"values":[[1.0,2.0]]}'
    """
    found = find_format(format_name, "image")
    if found.holds_images:
        return found.encode_image(window, n_channels, format_name)
    return found.encode_window(window)


def _decode_group(
    group: FormatGroup,
    values: Sequence[bytes | None],
    first_index: int,
    shape: tuple[int, int] | ImageShape,
) -> Decoded:
    """Decode the records of one format."""
    of_group, rows = select_records(values, group.rows)
    indices = rows + first_index  # (n_records,)
    if isinstance(shape, ImageShape):
        if group.format.holds_images:
            return group.format.decode_images(of_group, indices, shape, group.name)
        shape = shape.window
    return group.format.decode_windows(of_group, indices, shape)


def _in_float32(decoded: Decoded, origin: Sequence[float]) -> Decoded:
    """Return the windows without the origin, rounded to float32; windows that were float32 lose."""
    if origin and decoded.windows.dtype == np.float32:
        lost = [Rejected(index, lost_in_float32()) for index in decoded.indices.tolist()]
        rejected = sorted([*decoded.rejected, *lost], key=lambda each: each.index)
        return Decoded(decoded.indices[:0], decoded.windows[:0], {}, rejected)
    return replace(decoded, windows=to_float32(decoded.windows, origin))


def _merge(parts: list[Decoded], rejected: list[Rejected], shape: tuple[int, int]) -> Decoded:
    """Return the windows of several formats in the order of the batch."""
    indices = np.concatenate([*(part.indices for part in parts), np.empty(0, np.intp)])
    windows = np.concatenate([*(part.windows for part in parts), np.empty((0, *shape), np.float32)])
    timestamps_ms: dict[int, int] = {}
    for part in parts:
        timestamps_ms.update(part.timestamps_ms)
        rejected.extend(part.rejected)
    order = np.argsort(indices)  # (n_windows,)
    rejected.sort(key=lambda each: each.index)
    return Decoded(indices[order], windows[order], timestamps_ms, rejected)
