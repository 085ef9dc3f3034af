"""Which features the records of a topic hold, and in which unit their times are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.discovery import find_features, find_time_unit
from stream_detector.core.codec.json_format import parse_json
from stream_detector.core.codec.mapped_records import documents_in
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.paths import describe_leaves
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch
from stream_detector.errors import ConfigError, DataError, DatasetError
from stream_detector.recipes.input import InputSection

_RECORDS_TRIED = 2_000
"""So many records, spread evenly, are looked at to find out which features there are: the first
ones alone may all be of one key, or of one feature."""


def probe_table(table: InputSection) -> InputSection:
    """Return a table by which documents can be read whose features are not known."""
    without: dict[str, Any] = {"features": None, "time_unit": None}
    resolved = table.resolved()
    if "feature_name" not in resolved:
        without["values"] = resolved.get("values", "values")
    return table.model_copy(update=without)


def find_mapped_features(
    batch: RecordBatch, topic: str, table: InputSection, probe: InputMapping
) -> tuple[Features, InputSection]:
    """Return the features that some records have, and the table with the unit of their times.

    Parameters
    ----------
    batch
        Records of the topic.
    topic
        Its name, for messages.
    table
        Where in the records things are.
    probe
        The same as a mapping without features, of `probe_table`.

    Raises
    ------
    DatasetError
        If none of them has any.
    ConfigError
        If the unit is to be found and cannot be.
    """
    resolved = table.resolved()
    rows = _spread(len(batch))
    documents = documents_in(batch.select(rows, {}), probe)
    if resolved.get("time_unit") == "auto":
        unit = find_time_unit(documents, probe)
        if unit is None:
            message = (
                f"topic {topic}: input.time_unit: expected times whose unit can be told, received "
                f"none at {resolved.get('time')!r}; name s, ms, us, ns or iso8601"
            )
            raise ConfigError(message)
        table = table.model_copy(update={"time_unit": unit})
    named, is_whole = list(resolved.get("features", {})), resolved.get("absent") != "missing"
    features = find_features(documents, probe, named, is_common=is_whole and probe.tags is None)
    if features is None:
        shown = describe_leaves(documents[0]) if documents else "none could be decoded"
        message = (
            f"topic {topic}: expected features as [input] says, received none in {len(rows)} "
            f"records; {shown}; say where they are with --set input.values=PATH, or where each is "
            "with --set input.features.NAME=PATH; numbers that are text need --set "
            "input.numbers=text"
        )
        raise DatasetError(message)
    return features, table


def find_json_features(values: Sequence[bytes | None], topic: str) -> Features:
    """Return the features that some records of the own form have.

    Parameters
    ----------
    values
        Of the records.
    topic
        Its name, for messages.

    Raises
    ------
    DatasetError
        If none of them has any.
    """
    names: Counter[str] = Counter()
    n_values = n_named = 0
    tried = [values[row] for row in _spread(len(values)).tolist()]
    for value in tried:
        sample = _first_sample(value)
        if isinstance(sample, Mapping):
            names.update(list(sample))
            n_named += 1
        elif isinstance(sample, Sequence):
            n_values = max(n_values, len(sample))
    common = tuple(name for name, n_records in names.items() if 2 * n_records >= n_named)
    if common:
        return Features(common)
    if n_values:
        return Features.generated(n_values)
    message = (
        f"topic {topic}: expected JSON records of samples, such as "
        f'{{"values": {{"temperature": 65.1}}}}, received none in {len(tried)}; '
        f"{_describe(tried[-1])}; of others --set input.preset=flat takes the numbers at the top, "
        "and other keys of [input] say where else things are"
    )
    raise DatasetError(message)


def _describe(value: bytes | None) -> str:
    """Return what a record holds that is no sample."""
    try:
        return describe_leaves(parse_json(value or b""))
    except DataError as error:
        return str(error)


def _first_sample(value: bytes | None) -> Any:
    """Return the first sample of a JSON record, None where it holds none."""
    try:
        values = parse_json(value or b"")["values"]
        if isinstance(values, Mapping):
            return values
        first = values[0]
    except (DataError, ValueError, TypeError, LookupError):
        return None
    return first if isinstance(first, Mapping | list) else values


def _spread(n_records: int) -> NDArray[np.intp]:
    """Return the rows of the records that are looked at."""
    rows = np.linspace(0, n_records - 1, min(n_records, _RECORDS_TRIED))
    return np.unique(rows.astype(np.intp))
