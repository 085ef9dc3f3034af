"""Cut the samples of a data set into windows, with the code that cuts them on a stream."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import Samples
from stream_detector.core.windowing.diagnosis import REASONS, Diagnosis, samples_apart
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.series_health import SeriesFacts, SeriesHealth
from stream_detector.datasets.base import Dataset, SampleDataset
from stream_detector.datasets.cutting import Cutting, CutWindows, assign
from stream_detector.datasets.feature_order import in_order
from stream_detector.errors import DatasetError
from stream_detector.text import printable, shorten

_ROWS_A_PAGE = 1 << 20


def cut_samples(
    samples: Samples, rules: WindowRules, features: Features | None = None
) -> CutWindows:
    """Cut windows from samples.

    Parameters
    ----------
    samples
        Samples of any number of series; they are read in the order of their times.
    rules
        Rules by which windows are cut; see `stream_detector.core.windowing.windows`.
    features
        Those of a bundle, for which keys that it does not know get a scale where keys have one, as
        on a stream; None leaves that.

    Returns
    -------
    The windows that can be scored; none if there are fewer samples than a window has.
    """
    return Cutting(rules, features).add(samples, np.empty((len(samples), 0)))[0]


def cut_with_rows(
    samples: Samples, rules: WindowRules, features: Features | None = None
) -> tuple[CutWindows, NDArray[np.intp]]:
    """Cut windows from samples, and return the samples that each window is made of.

    Parameters
    ----------
    samples, rules, features
        See `cut_samples`.

    Returns
    -------
    The windows, and the row in `samples` of each of their steps, shape (n_windows, n_steps); -1
    where a sample is missing.
    """
    # A row number takes two columns, since float32 holds integers up to 2 ** 24 only.
    beside = np.column_stack(np.divmod(np.arange(len(samples)), _ROWS_A_PAGE))
    found, pages = Cutting(rules, features).add(samples, beside)
    rows = pages[:, :, 0] * _ROWS_A_PAGE + pages[:, :, 1]  # (n_windows, n_steps)
    return found, np.where(np.isnan(rows), -1, rows).astype(np.intp)


def join_windows(
    values: NDArray[np.float64], rows: NDArray[np.intp], n_samples: int
) -> NDArray[np.float64]:
    """Join windows to samples: the mean of all values that a sample has in them.

    Parameters
    ----------
    values
        Shape (n_windows, n_steps, n_features), any unit.
    rows
        Row of the sample of each step; see `cut_with_rows`.
    n_samples
        Number of samples.

    Returns
    -------
    Shape (n_samples, n_features), same unit; NaN for a sample outside all windows.

    Examples
    --------
    >>> join_windows(np.array([[[2.0], [4.0]], [[6.0], [8.0]]]), np.array([[0, 1], [1, -1]]), 3)
    array([[ 2.],
           [ 5.],
           [nan]])
    """
    is_there = rows >= 0
    there = rows[is_there]  # (n_values,)
    counts = np.bincount(there, minlength=n_samples)
    sums = [
        np.bincount(there, values[:, :, feature][is_there], n_samples)
        for feature in range(values.shape[2])
    ]
    with np.errstate(invalid="ignore"):
        joined: NDArray[np.float64] = np.column_stack(sums) / counts[:, np.newaxis]
    return joined


def cut_in_parts(
    parts: Iterable[Samples], rules: WindowRules, features: Features | None = None
) -> Iterator[tuple[Samples, CutWindows]]:
    """Cut windows from samples that come some at a time, in the order of their times.

    Parameters
    ----------
    parts
        All with the same `keys`.
    rules, features
        See `cut_samples`.

    Yields
    ------
    Each part and the windows that it completes: together those of `cut_samples`.
    """
    cut = Cutting(rules, features)
    for samples in parts:
        yield samples, cut.add(samples, np.empty((len(samples), 0)))[0]


def require_windows(
    found: CutWindows,
    name: str,
    samples: Samples,
    rules: WindowRules,
    features: Features,
) -> None:
    """Refuse samples that no window can be cut from.

    Parameters
    ----------
    found
        The windows that were cut.
    name
        Name of the data, for the message.
    samples, rules
        What they were cut from, and how.
    features
        Names of the features.

    Raises
    ------
    DatasetError
        If there is no window. The message has the interval between the samples, which reveals
        times in another unit.
    """
    if len(found.windows):
        return
    order = np.argsort(samples.series, kind="stable")  # series by series
    is_same = np.diff(samples.series[order]) == 0
    apart_ms = np.diff(samples.times_ms[order])[is_same]
    received = f"{len(samples)} samples"
    if len(apart_ms):
        received = f"{len(samples)} {samples_apart(float(np.median(apart_ms)))}"
    why = _why(samples, rules, features)
    needs = f" round a peak, sought in {rules.frame.n_steps}" if rules.peaks else ""
    warm_up = f", {found.n_warm_up} came before their key had a scale" if found.n_warm_up else ""
    message = (
        f"data {name}: expected at least one window of {rules.n_steps} samples "
        f"{rules.sample_interval_ms:g} ms apart{needs}, received {received} that make none "
        f"({found.n_missing} windows have too many missing values{warm_up}){why}; give "
        "more data, in milliseconds, or check the recipe's window.steps, "
        "window.sample_interval_ms and window.missing_share_max"
    )
    raise DatasetError(message)


def _why(samples: Samples, rules: WindowRules, features: Features) -> str:
    """Return why no window of a series can be scored, as `detect` says it live.

    Nothing is added where the time between the samples, or their number, says it already.
    """
    health, keyed_state = SeriesHealth(rules.n_features), None
    for some, arrivals in assign(samples, rules, samples.values):
        is_scored = np.zeros(len(some), dtype=np.bool_)  # (n_windows,)
        health.add(SeriesFacts(some, is_scored, arrivals.counts, arrivals.values))
        keyed_state = some.state.apply_delta()
    if keyed_state is None:
        return ""
    diagnosis = Diagnosis(health, keyed_state, rules, features)
    unscored = diagnosis.find()
    told = [REASONS.index("interval"), REASONS.index("warm_up")]
    rows = np.flatnonzero(~np.isin(unscored.reasons, told))
    if not len(rows):
        return ""
    slot, reason = int(unscored.slots[rows[0]]), REASONS[int(unscored.reasons[rows[0]])]
    key = (keyed_state.keys[slot] or b"").decode()
    detail = printable(diagnosis.describe(slot, reason))
    return f"; series {shorten(printable(key), 64)}: {detail}"


def to_windows(
    dataset: SampleDataset, rules: WindowRules, features: Features | None = None
) -> Dataset:
    """Cut a data set of samples into a data set of windows.

    Parameters
    ----------
    dataset
        The samples.
    rules
        Rules by which windows are cut.
    features
        The features of a bundle, in whose order the windows have theirs, whose origin is
        subtracted, and to whose scales of keys the windows are brought; None keeps the order of the
        data set, subtracts nothing, and scales nothing.

    Raises
    ------
    DatasetError
        If the number of features differs from the recipe's, their names from the bundle's, or there
        is no window to train on.
    """
    if features is not None:
        dataset = in_order(dataset, features)
    n_features = dataset.train.values.shape[1]
    if n_features != rules.n_features:
        message = (
            f"data {dataset.name}: expected {rules.n_features} features a sample as the recipe's "
            f"window.features says, received {n_features}: "
            f"{', '.join(dataset.feature_names)[:200]}; give other data, or train with "
            f"window.features = {n_features}"
        )
        raise DatasetError(message)
    origin = () if features is None else features.origin
    train, test = (
        cut_samples(replace(part, values=to_float32(part.values, origin)), rules)
        for part in (dataset.train, dataset.test)
    )
    if features is not None:
        train, test = (each.in_key_units(features) for each in (train, test))
    train = train.without_pauses()  # a person says what a pause is, no data
    named = Features(dataset.feature_names or Features.generated(n_features).names)
    require_windows(train, dataset.name, dataset.train, rules, named)
    return Dataset(
        name=dataset.name,
        split=dataset.split,
        train=train.windows,
        train_labels=train.labels,
        test=test.windows,
        test_labels=test.labels,
        train_keys=train.keys,
        test_keys=test.keys,
        train_timestamps_ms=train.start_ms,
        test_timestamps_ms=test.start_ms,
        feature_names=dataset.feature_names,
        origin=origin,
        key_scales=None if features is None else features.key_scales,
        train_intervals=train.intervals,
        test_intervals=test.intervals,
    )
