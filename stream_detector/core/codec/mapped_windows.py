"""Decode records of whole windows by a mapping: key, time and values stand where `[input]` says.

Pure. A window is as many samples as it has steps: an array of values, a column a feature, or an
array of readings. Images have no document to look in: of the mapping only headers apply to them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import Decoded, RawSamples, wrong_shape
from stream_detector.core.codec.formats import ContentType, FormatGroup, RecordShape
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.mapped_records import MappedForm, read_mapped
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch, Rejected
from stream_detector.core.timestamps import SECONDS_MAX, invalid_time
from stream_detector.errors import DataError


class MappedWindows(NamedTuple):
    """The windows of a batch, and whose they are.

    Parameters
    ----------
    batch
        The same records, with the keys that the mapping gives.
    windows
        What was decoded.
    """

    batch: RecordBatch
    windows: Decoded


def decode_mapped_windows(
    batch: RecordBatch,
    content_type: ContentType | None,
    mapping: InputMapping,
    *,
    shape: tuple[int, int] | ImageShape,
    features: Features,
) -> MappedWindows:
    """Decode records that each hold one window, by a mapping.

    Parameters
    ----------
    batch
        The records.
    content_type
        Format of records whose headers do not name one; None takes that of the mapping, or "image"
        where records are images.
    mapping
        Where key, time and values are.
    shape
        (n_steps, n_features) of a window, or the shape of the images where the bundle takes images.
    features
        Values of a step, in order.

    Returns
    -------
    Windows in float32, and rejected records; together as many as there are records.

    Raises
    ------
    ValueError
        If these records cannot have the format `content_type`: the caller's mistake.
    """
    image = shape if isinstance(shape, ImageShape) else None
    window = shape.window if isinstance(shape, ImageShape) else shape

    def read_own(group: FormatGroup, values: Sequence[bytes], rows: NDArray[np.intp]) -> RawSamples:
        if image is not None and group.format.holds_images:
            decoded = group.format.decode_images(values, rows, image, group.name)
        else:
            decoded = group.format.decode_windows(values, rows, window)
        return _as_samples(decoded, window)

    record_shape: RecordShape = "mapped" if image is None else "image"
    form = MappedForm(mapping, features, record_shape, read_own, needs_key=False)
    keys, samples, rejected = read_mapped(batch, content_type, form)
    errors = _wrong(samples, window)
    if errors:
        samples = samples.select(~np.isin(samples.rows, list(errors)))
    reasons = [Rejected(row, each) for row, each in sorted({**rejected, **errors}.items())]
    has_time = ~np.isnan(samples.first_ms)  # (n_windows,)
    times = np.rint(samples.first_ms[has_time]).astype(np.int64).tolist()
    timestamps_ms = dict(zip(samples.rows[has_time].tolist(), times, strict=True))
    windows = samples.values.reshape(-1, *window)  # (n_windows, n_steps, n_features)
    decoded = Decoded(samples.rows, windows, timestamps_ms, reasons)
    return MappedWindows(batch.with_keys(keys), decoded)


def _as_samples(decoded: Decoded, window: tuple[int, int]) -> RawSamples:
    """Return windows as the samples of which they consist."""
    n_steps, n_features = window
    first_ms = [float(decoded.timestamps_ms.get(row, np.nan)) for row in decoded.indices.tolist()]
    return RawSamples(
        rows=decoded.indices,
        counts=np.full(len(decoded.indices), n_steps, dtype=np.intp),
        values=decoded.windows.reshape(-1, n_features),  # (n_samples, n_features)
        first_ms=np.array(first_ms, dtype=np.float64),
        each_ms={},
        rejected=[(each.index, each.error) for each in decoded.rejected],
    )


def _wrong(samples: RawSamples, window: tuple[int, int]) -> dict[int, DataError]:
    """Return the reason of each record of another number of steps, or of an impossible time."""
    rows, errors = samples.rows, dict[int, DataError]()
    for row, times in samples.each_ms.items():
        samples.first_ms[np.searchsorted(rows, row)] = times[0]
    for at in np.flatnonzero(samples.counts != window[0]).tolist():
        errors[int(rows[at])] = wrong_shape(f"{samples.counts[at]} steps", window)
    # As without a mapping, a window has a date: a time since boot would be none.
    for at in np.flatnonzero(samples.first_ms < SECONDS_MAX).tolist():
        errors.setdefault(int(rows[at]), invalid_time("time", samples.first_ms[at]))
    return errors
