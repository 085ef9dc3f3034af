"""Run the detector of a bundle over data in memory: scores, alerts, explanations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.assembly import Served
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.codec.windows import encode_window
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.features import to_float32
from stream_detector.core.records import (
    FloatArray,
    RecordBatch,
    Samples,
    SeriesColumns,
)
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.core.scoring.scorer import WINDOWS_MAX, Scorer, WindowScores
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.cutting import some_samples
from stream_detector.datasets.files.columns import Columns
from stream_detector.datasets.files.samples import to_samples
from stream_detector.datasets.files.windows import WindowTable, to_windows
from stream_detector.errors import DatasetError
from stream_detector.estimator.inputs import TIMES, Given, is_index
from stream_detector.evaluation.offline import StreamRun, newest_windows, run_offline
from stream_detector.recipes.columns import FEATURE_NAME

_TOPIC = "windows"
Rows = NDArray[np.intp]


class SampleRows(NamedTuple):
    """Samples, and the row of what a program gave that each of them is.

    Parameters
    ----------
    samples
        Those of the rows that have a time and a key.
    rows
        The row of each, shape (n_samples,); the first where several rows make one sample.
    has_times
        Whether the rows say their times.
    first_rows
        Of each row the first one of its sample, shape (n_rows,).
    """

    samples: Samples
    rows: Rows
    has_times: bool
    first_rows: Rows


def read_sample_rows(given: Given, served: Served) -> SampleRows:
    """Return the samples that rows hold, in the order of time.

    Rows without a time or a key are left out. Where the bundle was fitted to data without times,
    the rows of each key follow each other at its interval.

    Raises
    ------
    DatasetError
        If a column is missing that the bundle needs, or a cell cannot be used.
    """
    columns, n_rows = served.bundle.manifest.recipe.data.columns.lenient, len(given)
    names, rows = given.names, np.arange(n_rows)
    try:
        roles = dict(zip(columns.roles(names), names, strict=True))
    except ValueError as error:
        message = f"{given.raw().path}: {error}; give the columns that the detector was fitted to"
        raise DatasetError(message) from None
    is_lacking = np.zeros(len(given), np.bool_)
    for role in ("key", TIMES):
        if role in roles:
            is_lacking |= given.missing(roles[role])
    if is_lacking.any():
        rows = np.flatnonzero(~is_lacking)
        given = given.select(rows)
    if TIMES not in roles and (given.index is None or columns.time in (None, TIMES)):
        interval_ms = served.bundle.manifest.recipe.window.sample_interval_ms
        given = given.with_times(_equal_times(given, roles.get("key"), interval_ms))
    if not columns.features and given.index is not None:  # an index is no feature of anything
        features = [each for each in names if each in roles and not is_index(given, each)]
        columns = replace(columns, features=tuple(features))
    read = given.columns(columns, blank_is_missing=True)
    table = to_samples(read, served.bundle.features)
    own_rows, first_rows = rows[table.rows - 1], np.arange(n_rows)
    if FEATURE_NAME in read.named:
        first_rows[rows] = _first_rows(read, rows, own_rows)
    return SampleRows(table.exact_samples, own_rows, TIMES in roles, first_rows)


def _first_rows(read: Columns, rows: Rows, own_rows: Rows) -> Rows:
    """Return the row that stands for the sample of each row, where a row has one value.

    Parameters
    ----------
    read
        The rows.
    rows
        Their numbers, shape (n_rows,).
    own_rows
        The rows that stand for a sample, shape (n_samples,).
    """
    keys = read.keys() or [""] * len(rows)
    places = list(zip(keys, read.named[TIMES], strict=True))
    at = np.searchsorted(rows, own_rows).tolist()
    firsts = {places[number]: row for number, row in zip(at, own_rows.tolist(), strict=True)}
    found = (firsts.get(place, row) for place, row in zip(places, rows.tolist(), strict=True))
    return np.fromiter(found, np.intp)


def _equal_times(given: Given, key: str | None, interval_ms: float) -> NDArray[np.float64]:
    """Return times at which the rows of each key follow each other, shape (n_rows,)."""
    column = given.raw().named(key) if key is not None else None
    series = np.zeros(len(given), np.intp) if column is None else column.codes()[0]
    order = np.argsort(series, kind="stable")
    starts = np.flatnonzero(np.diff(series[order], prepend=-1))
    sizes = np.diff(starts, append=len(series))
    place = np.empty(len(series))
    place[order] = np.arange(len(series)) - np.repeat(starts, sizes)
    return BASE_MS + interval_ms * place


def read_window_rows(given: Given, served: Served) -> WindowTable:
    """Return the windows that rows hold.

    Raises
    ------
    DatasetError
        If they are of another shape, or a value is not finite.
    """
    recipe, origin = served.bundle.manifest.recipe, served.bundle.features.origin
    shape = (recipe.window.steps, recipe.window.features)
    if given.window_shape not in (None, shape):
        message = (
            f"array: expected windows of {shape[0]} steps x {shape[1]} features, received shape "
            f"(n_windows, {given.window_shape[0]}, {given.window_shape[1]})"
        )
        raise DatasetError(message)
    read = given.columns(recipe.data.columns.lenient, blank_is_missing=False)
    return to_windows(read, *shape, origin)


def score_rows(given: Given, served: Served) -> NDArray[np.float64]:
    """Return the anomaly score of each row, shape (n_rows,); above 1 is anomalous.

    Returns
    -------
    Of a window its score, of a sample that of the newest window of its key that ends with it or
    before it; NaN where there is none.
    """
    detector, threshold = served.detector, served.detector.scorer.threshold
    scores = np.full(len(given), np.nan)
    if isinstance(detector, SampleDetector):
        samples, rows, _, first_rows = read_sample_rows(given, served)
        scores[rows] = score_samples(detector, samples, run_offline(detector, samples))
        return scores[first_rows]
    return detector.score(read_window_rows(given, served).windows) / threshold


def score_samples(
    detector: SampleDetector, samples: Samples, run: StreamRun
) -> NDArray[np.float64]:
    """Return the anomaly score of each sample of a run, shape (n_samples,); see `score_rows`."""
    newest = newest_windows(run, samples, detector.windows.sample_interval_ms)
    with_none = np.append(run.scores / run.threshold, np.nan)  # -1 is the last
    scores: NDArray[np.float64] = with_none[newest]
    return scores


def alerts_of(given: Given, served: Served) -> list[Alert]:
    """Return the events of alerts that `detect` would publish, in their order."""
    found: list[Alert] = []
    detector = served.detector
    if isinstance(detector, SampleDetector):
        run_offline(detector, read_sample_rows(given, served).samples, found.append)
        return found
    table = read_window_rows(given, served)
    return _window_alerts(_of_windows(detector), table, np.arange(len(table.windows)))


def explain_row(given: Given, served: Served, rows: Rows) -> Explanation:
    """Return what an alert about a row says is unusual in it.

    The detector itself makes the explanation: with a scorer that lets no other window be anomalous,
    so that an alert opens at this one.

    Parameters
    ----------
    given, served
        The rows, and the bundle.
    rows
        The rows to choose from: the one with the highest score is explained. Of a sample that is
        the newest window of its key that ends with it or before it.

    Raises
    ------
    ValueError
        If none of these rows has a score.
    """
    scores = score_rows(given, served)[rows]
    if np.isnan(scores).all():
        message = (
            "at: expected a row that is scored, received one without a score: its key has had no "
            "whole window yet"
        )
        raise ValueError(message)
    row = int(rows[np.nanargmax(scores)])
    detector = served.detector
    if isinstance(detector, SampleDetector):
        (alert, *_) = _sample_alerts(detector, read_sample_rows(given, served), row)
    else:
        only = replace(_of_windows(detector), scorer=_OnlyOne(detector.scorer, 0))
        (alert,) = _window_alerts(only, read_window_rows(given, served), np.array([row]))
    if alert.explanation is None:
        message = "expected an alert of a window, received one of missing data"
        raise TypeError(message)
    return alert.explanation


def _of_windows(detector: Detector) -> WindowDetector:
    """Return the detector as one of windows; TypeError for another, a caller's mistake."""
    if not isinstance(detector, WindowDetector):
        message = f"expected a detector of windows, received {type(detector).__name__}"
        raise TypeError(message)
    return detector


def _sample_alerts(detector: SampleDetector, given: SampleRows, row: int) -> list[Alert]:
    """Return the alerts of the key of a row, where only its newest window is anomalous."""
    samples = given.samples
    place = int(np.flatnonzero(given.rows == given.first_rows[row])[0])
    places = np.flatnonzero(samples.series == samples.series[place])
    own = some_samples(samples, places)
    newest = newest_windows(run_offline(detector, own), own, detector.windows.sample_interval_ms)
    only = replace(
        detector,
        scorer=_OnlyOne(detector.scorer, int(newest[np.searchsorted(places, place)])),
        alerting=replace(detector.alerting, open_after=1, open_within=1),
        windows=replace(detector.windows, no_data_after_ms=None),
    )
    found: list[Alert] = []
    run_offline(only, own, found.append)
    return found


@dataclass(slots=True)
class _OnlyOne:
    """The same scorer, for which one window alone is anomalous."""

    scorer: Scorer
    chosen: int
    n_scored: int = 0

    @property
    def threshold(self) -> float:
        """Half of the only score."""
        return 0.5

    @property
    def score_kind(self) -> str:
        """What a score is."""
        return self.scorer.score_kind

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values can be scored."""
        return self.scorer.in_range(values)

    def score(self, windows: FloatArray) -> WindowScores:
        """Return 1 for the chosen window and 0 for the others, explained as ever."""
        found = self.scorer.score(windows)
        numbers = self.n_scored + np.arange(len(windows))
        self.n_scored += len(windows)
        return WindowScores((numbers == self.chosen).astype(np.float64), found.explain)


def _window_alerts(detector: WindowDetector, table: WindowTable, rows: Rows) -> list[Alert]:
    """Return the alerts of some windows, each of which is a record."""
    numbers = rows.tolist()
    keys = [None if table.keys is None else table.keys[row].encode() for row in numbers]
    times_ms = np.zeros(len(rows), np.int64)
    if table.timestamps_ms is not None:
        times_ms = table.timestamps_ms[rows]
    image = detector.image
    name, n_channels = ("json", 1) if image is None else ("png", image.n_channels)
    exact: NDArray[Any] = table.exact
    values = [encode_window(exact[row], name, n_channels) for row in numbers]
    series = SeriesColumns(keys, np.zeros(len(rows), np.int64), times_ms)
    batch = RecordBatch.from_columns(_TOPIC, values, series, numbers)
    step = detector.step(detector.initial_state(), batch)
    return [raised.alert for raised in step.alerts]


def reconstruct_windows(served: Served, windows: FloatArray, keys: Sequence[str]) -> FloatArray:
    """Return what the network makes of windows, in the unit of the signal.

    Parameters
    ----------
    served
        The bundle.
    windows
        Float32, shape (n_windows, n_steps, n_features), as the scorer takes them.
    keys
        Series key of each window.
    """
    scaler, features = served.bundle.scaler, served.bundle.features
    made = [
        served.reconstruct(scaler.transform(windows[start : start + WINDOWS_MAX]))
        for start in range(0, len(windows), WINDOWS_MAX)
    ]
    nothing = np.empty((0, *windows.shape[1:]), np.float32)
    inverse = scaler.inverse(np.concatenate([nothing, *made]), windows)
    return to_float32(features.from_key_units(inverse, keys))
