"""Decode records of samples by a mapping: key, time and features stand where `[input]` says.

Pure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import RawSamples
from stream_detector.core.codec.formats import ContentType, FormatGroup
from stream_detector.core.codec.mapped_records import MappedForm, read_mapped
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.samples import DecodedSamples, with_times
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch


class MappedSamples(NamedTuple):
    """The samples of a batch, and whose they are.

    Parameters
    ----------
    batch
        The same records, with the keys that the mapping gives.
    samples
        What was decoded.
    """

    batch: RecordBatch
    samples: DecodedSamples


def decode_mapped_samples(
    batch: RecordBatch,
    content_type: ContentType | None,
    mapping: InputMapping,
    *,
    features: Features,
    interval_ms: float,
) -> MappedSamples:
    """Decode records that each hold samples of one series, by a mapping.

    Parameters
    ----------
    batch
        The records.
    content_type
        Format of records whose headers do not name one; None takes that of the mapping.
    mapping
        Where key, time and features are.
    features
        Values of a sample, in order.
    interval_ms
        Time between two samples of a record that gives only the time of the first.

    Returns
    -------
    Samples and rejected records. No records give no samples.

    Raises
    ------
    ValueError
        If these records cannot have the format `content_type`: the caller's mistake.
    """

    def read_own(group: FormatGroup, values: Sequence[bytes], rows: NDArray[np.intp]) -> RawSamples:
        return group.format.decode_samples(values, rows, features)

    form = MappedForm(mapping, features, "mapped", read_own, needs_key=True)
    keys, samples, rejected = read_mapped(batch, content_type, form)
    record_ms = batch.series().timestamps_ms  # (n_records,)
    decoded = with_times(samples, list(rejected.items()), record_ms, interval_ms)
    return MappedSamples(batch.with_keys(keys), decoded)
