"""Draw data in memory with what a detector makes of them: signal, reconstruction, score, alerts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray

from stream_detector.assembly import Served
from stream_detector.core.features import to_float32
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.datasets.cutting import some_samples
from stream_detector.datasets.windowing import cut_with_rows, join_windows
from stream_detector.estimator.inputs import Given
from stream_detector.estimator.running import (
    read_sample_rows,
    read_window_rows,
    reconstruct_windows,
    score_samples,
)
from stream_detector.evaluation.offline import run_offline

N_WINDOWS_MAX = 100
"""Most windows that are drawn side by side: more are narrower than a line."""

_SIGNAL, _RECONSTRUCTION, _ALERT = "#2f7fc1", "#7a7a7a", "#d9660a"
_WIDTH, _HEIGHT = 9.0, 1.6


class _Picture(NamedTuple):
    """What is drawn.

    Parameters
    ----------
    title
        Says of what.
    at
        Where each step is, times or numbers, shape (n_steps,).
    names
        Names of the features.
    signal, reconstruction
        Shape (n_steps, n_features), unit: the signal's; NaN where there is none.
    scores
        Anomaly score of each step, shape (n_steps,).
    alerts
        First and last place of each alert.
    """

    title: str
    at: NDArray[Any]
    names: Sequence[str]
    signal: NDArray[np.floating]
    reconstruction: NDArray[np.floating]
    scores: NDArray[np.float64]
    alerts: Sequence[tuple[Any, Any]]


def draw(given: Given, served: Served, key: str | None) -> NDArray[Any]:
    """Draw rows; see `AutoencoderDetector.plot`.

    Raises
    ------
    ValueError
        If there is no such key: the caller's mistake.
    DatasetError
        If the rows cannot be scored.
    """
    if isinstance(served.detector, SampleDetector):
        picture = _of_samples(given, served, served.detector, key)
    else:
        picture = _of_windows(given, served)
    n_features = picture.signal.shape[1]
    figure, grid = pyplot.subplots(
        n_features + 1,
        figsize=(_WIDTH, _HEIGHT * (n_features + 1)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    axes: NDArray[Any] = grid[:, 0]
    figure.suptitle(_plain(picture.title))
    for feature, name in enumerate(picture.names):
        here = axes[feature]
        here.plot(picture.at, picture.signal[:, feature], color=_SIGNAL, lw=1, label="signal")
        made = picture.reconstruction[:, feature]
        here.plot(picture.at, made, color=_RECONSTRUCTION, lw=1, label="reconstruction")
        here.set_ylabel(_plain(name))
    axes[0].legend(loc="upper right", ncols=2, fontsize="small")
    axes[-1].plot(picture.at, picture.scores, color="black", lw=1)
    axes[-1].axhline(1.0, color=_ALERT, ls="--", lw=1)
    axes[-1].set_ylabel("anomaly score")
    axes[-1].set_ylim(bottom=0)
    for here in axes:
        for first, last in picture.alerts:
            here.axvspan(first, last, color=_ALERT, alpha=0.2, lw=0)
    return axes


def _of_samples(
    given: Given, served: Served, detector: SampleDetector, key: str | None
) -> _Picture:
    """Return the picture of one key."""
    samples, _, has_times, _ = read_sample_rows(given, served)
    if key is not None and key not in samples.keys:
        known = ", ".join(samples.keys[:10])
        message = f"key: expected one of {len(samples.keys)} keys, such as {known}, received {key}"
        raise ValueError(message)
    run, interval_ms = run_offline(detector, samples), detector.windows.sample_interval_ms
    scores = score_samples(detector, samples, run)  # (n_samples,)
    number = samples.keys.index(key) if key is not None else _worst(samples.series, scores)
    rows = np.flatnonzero(samples.series == number)
    own = some_samples(samples, rows)
    values = to_float32(own.values, served.bundle.features.origin)
    found, steps = cut_with_rows(replace(own, values=values), detector.windows)
    windows = found.in_key_units(served.bundle.features).windows
    made = reconstruct_windows(served, windows, found.keys).astype(np.float64)
    spans = [
        (each.opened_ms, each.closed_ms) for each in run.alerts if each.key == own.keys[number]
    ]
    return _Picture(
        own.keys[number],
        _places(own.times_ms, own.times_ms, interval_ms, has_times),
        served.bundle.features.names,
        own.values,
        join_windows(made, steps, len(own)),
        scores[rows],
        [_places(np.array(span), own.times_ms, interval_ms, has_times) for span in spans],
    )


def _of_windows(given: Given, served: Served) -> _Picture:
    """Return the picture of the first windows, one after the other."""
    table = read_window_rows(given.select(np.arange(min(len(given), N_WINDOWS_MAX))), served)
    keys = table.keys or ("",) * len(table.windows)
    made = reconstruct_windows(served, table.windows, keys)
    n_steps, n_features = table.windows.shape[1:]
    scores = served.detector.score(table.windows) / served.detector.scorer.threshold
    starts = n_steps * np.flatnonzero(scores > 1)
    return _Picture(
        f"{len(scores)} windows of {n_steps} steps",
        np.arange(len(scores) * n_steps),
        served.bundle.features.names,
        table.exact.reshape(-1, n_features),
        made.reshape(-1, n_features),
        np.repeat(scores, n_steps),
        [(start, start + n_steps - 1) for start in starts.tolist()],
    )


def _worst(series: NDArray[np.intp], scores: NDArray[np.float64]) -> int:
    """Return the series with the highest score, the first where none has one."""
    return int(series[0 if np.isnan(scores).all() else np.nanargmax(scores)])


def _places(
    times_ms: NDArray[np.float64],
    all_ms: NDArray[np.float64],
    interval_ms: float,
    has_times: bool,
) -> Any:
    """Return where times are drawn: as dates, or as numbers of rows where there are no times."""
    if has_times:
        return np.rint(times_ms).astype("datetime64[ms]")
    return (times_ms - all_ms[0]) / interval_ms


def _plain(text: str) -> str:
    """Return text of data in which matplotlib finds no formula."""
    return text.replace("$", r"\$")
