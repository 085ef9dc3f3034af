"""Scores as records of a topic: one record a window, with what its score is made of.

Pure. Numbers of a whole batch are written at once and cut apart. In JSON a record is

    {"key":"pump-7","window_start_ms":1767225600000,"window_end_ms":1767225659000,"score":0.8125,
     "threshold":1.0,"checks":{"shape":0.8125,"peak":0.25},"features":{"pressure":0.8125}}

and in float32 two little-endian int64, the times, and then float32 numbers, whose names are a JSON
list in the header `columns`. The key of the record is the series key in both.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import text_of
from stream_detector.core.records import Headers, OutputRecord
from stream_detector.core.results import Scores
from stream_detector.errors import RecordDecodeError

ScoreFormat = Literal["json", "float32"]

MEDIA_TYPES = {
    "json": b"application/json",
    "float32": b"application/vnd.stream-detector.scores.float32",
}
"""What the `content-type` header says."""

COLUMNS_HEADER = "columns"
_CHECK, _FEATURE = "check:", "feature:"
_TIMES = np.dtype([("window_start_ms", "<i8"), ("window_end_ms", "<i8")])


class PublishedScore(NamedTuple):
    """The score of one window as it was published.

    Parameters
    ----------
    key
        Series key as text; bytes that are not UTF-8 appear as backslash escapes.
    window_start_ms, window_end_ms
        Times of the window's first and last sample.
    score, threshold
        Anomalous iff score > threshold.
    checks, features
        How far from normal each check and each feature is; see `ScoreParts`.
    """

    key: str
    window_start_ms: int
    window_end_ms: int
    score: float
    threshold: float
    checks: dict[str, float]
    features: dict[str, float]


def encode_scores(
    scores: Scores, names: Sequence[str], topic: str, form: ScoreFormat
) -> list[OutputRecord]:
    """Write scores as records, one a window, in their order.

    Parameters
    ----------
    scores
        With details; without any there are none.
    names
        Names of the features.
    topic
        Where to.
    form
        How they are written.
    """
    details = scores.details
    if details is None or not len(scores):
        return []
    parts = details.parts
    features = names if parts.of_features.shape[1] else ()
    columns = ["score", "threshold"]
    columns += [*(_CHECK + each for each in parts.checks), *(_FEATURE + each for each in features)]
    fixed = np.full((len(scores), 1), scores.threshold)
    numbers = np.concatenate(
        [scores.scores[:, np.newaxis], fixed, parts.of_checks, parts.of_features], axis=1
    )  # (n_windows, n_columns)
    times = np.stack([details.start_ms, details.end_ms], axis=1)  # (n_windows, 2)
    headers: Headers = [("content-type", MEDIA_TYPES[form])]
    if form == "float32":
        headers = [*headers, (COLUMNS_HEADER, orjson.dumps(columns))]
        values = _float32(times, numbers)
    else:
        values = _json(details.keys, times, numbers, (parts.checks, features))
    return [
        OutputRecord(topic, key, value, headers)
        for key, value in zip(details.keys, values, strict=True)
    ]


def _float32(times: NDArray[np.int64], numbers: NDArray[np.float64]) -> list[bytes]:
    """Return the value of each record."""
    kind = np.dtype([("times", "<i8", (2,)), ("numbers", "<f4", (numbers.shape[1],))])
    rows = np.empty(len(times), kind)
    with np.errstate(over="ignore"):
        rows["times"], rows["numbers"] = times, numbers
    text, size = rows.tobytes(), kind.itemsize
    return [text[at : at + size] for at in range(0, len(text), size)]


def _json(
    keys: Sequence[bytes | None],
    times: NDArray[np.int64],
    numbers: NDArray[np.float64],
    names: tuple[Sequence[str], Sequence[str]],
) -> list[bytes]:
    """Return the value of each record."""
    checks, features = (
        b",".join(orjson.dumps(name).replace(b"%", b"%%") + b":%b" for name in each)
        for each in names
    )
    form = (
        b'{"key":%b,"window_start_ms":%b,"window_end_ms":%b,"score":%b,"threshold":%b,'
        b'"checks":{' + checks + b'},"features":{' + features + b"}}"
    )
    known = {key: orjson.dumps(text_of(key)) for key in set(keys)}
    columns = zip((known[key] for key in keys), *_texts(times), *_texts(numbers), strict=True)
    return [form % row for row in columns]


def _texts(numbers: NDArray[Any]) -> list[list[bytes]]:
    """Return the text of each number, column by column."""
    flat = np.ascontiguousarray(numbers.T).ravel()
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    n_rows = len(numbers)
    return [text[at : at + n_rows] for at in range(0, len(text), n_rows)]


def decode_score(key: bytes | None, value: bytes, headers: Headers) -> PublishedScore:
    """Read the score of a record.

    Raises
    ------
    RecordDecodeError
        If it holds none.
    """
    given = dict(headers)
    try:
        if COLUMNS_HEADER in given:
            return _of_float32(key, value, orjson.loads(given[COLUMNS_HEADER] or b""))
        fields = orjson.loads(value)
        return PublishedScore(
            str(fields["key"]),
            int(fields["window_start_ms"]),
            int(fields["window_end_ms"]),
            float(fields["score"]),
            float(fields["threshold"]),
            {str(name): float(each) for name, each in fields["checks"].items()},
            {str(name): float(each) for name, each in fields["features"].items()},
        )
    except KeyError as error:
        message = f"not a score: {error} is missing"
        raise RecordDecodeError(message) from None
    except (ValueError, TypeError, AttributeError) as error:
        message = f"not a score: {error}"
        raise RecordDecodeError(message) from None


def _of_float32(key: bytes | None, value: bytes, columns: list[str]) -> PublishedScore:
    """Return what a float32 record holds."""
    n_times = _TIMES.itemsize
    start_ms, end_ms = np.frombuffer(value[:n_times], _TIMES)[0].tolist()
    numbers = np.frombuffer(value[n_times:], "<f4").tolist()
    named = dict(zip(columns, numbers, strict=True))

    def those(prefix: str) -> dict[str, float]:
        return {
            name.removeprefix(prefix): each
            for name, each in named.items()
            if name.startswith(prefix)
        }

    parts = those(_CHECK), those(_FEATURE)
    return PublishedScore(
        text_of(key), start_ms, end_ms, named["score"], named["threshold"], *parts
    )
