"""What `benchmarks/spark.py` compares with: workers of Spark import it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from stream_detector.core.state.snapshot import dump, load
from stream_detector.integrations.spark.streams import from_bytes
from stream_detector.integrations.spark.workers import (
    SharedBundle,
    output_rows,
    pieces_in_order,
    records_of,
)

KERAS_SCHEMA = "offset long, error double"
_KERAS = pa.schema([("offset", pa.int64()), ("error", pa.float64())])


@cache
def network_of(path: str) -> Any:
    """Return a network, which each worker process loads once."""
    import keras

    return keras.saving.load_model(path)


class KerasUdf:
    """What one writes first: asks Keras for each batch, and yields where windows are anomalous.

    Parameters
    ----------
    path
        Of the network.
    threshold
        Anomalous iff the error exceeds it.
    """

    def __init__(self, path: str, threshold: float) -> None:
        self._path, self._threshold = path, threshold

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Judge the values of each batch, given as float32."""
        network = network_of(self._path)
        for batch in batches:
            values = batch["value"].to_numpy(zero_copy_only=False).tolist()
            windows = np.frombuffer(b"".join(values), "<f4").reshape(len(values), -1, 1)
            errors = np.abs(windows - network.predict(windows, verbose=0)).mean(axis=(1, 2))
            rows = np.flatnonzero(errors > self._threshold)
            offsets = batch["offset"].to_numpy(zero_copy_only=False)[rows]
            yield pa.RecordBatch.from_arrays(
                [pa.array(offsets), pa.array(errors[rows].astype(np.float64))], schema=_KERAS
            )


class PandasState:
    """The same as `PartitionProcessor`, for `applyInPandasWithState`.

    Parameters
    ----------
    shared
        The bundle.
    """

    def __init__(self, shared: SharedBundle) -> None:
        self._shared = shared

    def __call__(self, key: Any, frames: Iterator[Any], kept: Any) -> Iterator[Any]:
        """Yield what the packed records of a partition led to."""
        del key
        bundle = self._shared.open()
        pieces = pieces_in_order(from_bytes(each) for frame in frames for each in frame["records"])
        partition, first = (pieces[0][name][0].as_py() for name in ("partition", "offset"))
        state: Any = bundle.detector.initial_state()
        if kept.exists:
            state = load([bytes(kept.get[0])], state, bundle.made_by)
        else:
            state = state.open_partition(partition, first)
        rows: list[dict[str, Any]] = []
        for piece in pieces:
            state, outputs = bundle.step(state, records_of(piece))
            rows += output_rows(outputs)
        kept.update((dump(state, bundle.made_by, [partition]),))
        yield pd.DataFrame(rows, columns=["topic", "key", "value", "headers"])
