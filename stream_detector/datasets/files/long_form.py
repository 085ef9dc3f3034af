"""Files in which each row has the value of one feature: the samples that they make."""

from dataclasses import replace

import numpy as np

from stream_detector.datasets.files.columns import Columns
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import FEATURE_NAME


def widened(columns: Columns) -> Columns:
    """Return a file in which each row has one value as one with a column for each feature.

    Values of one key and time meet in one row; one that is not there is missing. Of two for the
    same feature the first counts, as on a stream. A row is labelled if one of its values is.

    Parameters
    ----------
    columns
        A file as read. Without a column `FEATURE_NAME` it is returned as it is.

    Raises
    ------
    DatasetError
        If there is no time, or a feature that was named is not there.
    """
    if FEATURE_NAME not in columns.named:
        return columns
    times = columns.named.get("timestamp_ms")
    if times is None:
        message = (
            f"{columns.path}: expected a column of times, by which the features of a sample meet, "
            f"received {', '.join(map(str, columns.headers.values()))}; name it with --time"
        )
        raise DatasetError(message)
    names, keys = columns.texts(FEATURE_NAME) or [], columns.keys() or [""] * len(times)
    features = columns.chosen.features or tuple(dict.fromkeys(filter(None, names)))
    lacking = [name for name in features if name not in set(names)]
    if lacking:
        message = (
            f"{columns.path}: expected the features {', '.join(lacking)} in the column "
            f"{columns.headers.get(FEATURE_NAME)}, received {', '.join(dict.fromkeys(names))}"
        )
        raise DatasetError(message)
    places = {name: place for place, name in enumerate(features)}
    kept = [row for row, name in enumerate(names) if name in places]
    rows: dict[tuple[str, object], int] = {}
    at = np.array([rows.setdefault((keys[row], times[row]), len(rows)) for row in kept], np.intp)
    feature = np.array([places[names[row]] for row in kept], np.intp)
    values = np.full((len(rows), len(features)), np.nan)
    values[at[::-1], feature[::-1]] = columns.values[kept[::-1], 0]  # the first is written last
    first = np.empty(len(rows), np.intp)
    first[at[::-1]] = kept[::-1]
    named = {
        name: [cells[row] for row in first.tolist()]
        for name, cells in columns.named.items()
        if name != FEATURE_NAME
    }
    labels = columns.labels()
    if labels is not None:
        marked = np.zeros(len(rows), np.int8)
        np.maximum.at(marked, at, labels[kept])
        named["label"] = marked.tolist()
    return replace(
        columns,
        value_names=features,
        values=values,
        named=named,
        rows=columns.rows[first],
    )
