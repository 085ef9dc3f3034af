"""What other thresholds would give, also of other scores: false alarms a day, faults found.

The windows that exceed a threshold are joined to episodes as alerts are: one ends once its key has
had no such window for `close_after_ms`. Rules that ask for several anomalous windows, cooldown and
floods are left out, so an episode may begin earlier than an alert would.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.intervals import Interval
from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import (
    AlertSpan,
    LabelledEvent,
    count_found,
    evaluate_stream,
    false_alarms,
)
from stream_detector.evaluation.offline import StreamRun, spans_of

N_LEVELS = 25
_LOWEST, _HIGHEST = 0.25, 4.0
_RAREST, _MOST_OFTEN = 1e-5, 0.2
"""Least and largest share of samples above a threshold that `found_at` tries."""

_EPISODES_MAX = 20_000
"""A level with more episodes than this is left out: nobody would choose it."""


class Level(NamedTuple):
    """What one threshold would give.

    Parameters
    ----------
    factor
        The threshold in units of the bundle's.
    n_episodes
        Episodes in which a window exceeds it.
    false_per_day
        Episodes that overlap no fault, per key and day, with the interval; without labels, all.
    n_found
        Faults in which an episode begins.
    """

    factor: float
    n_episodes: int
    false_per_day: Interval
    n_found: int


def sweep_thresholds(
    run: StreamRun,
    samples: Samples,
    events: Sequence[LabelledEvent],
    close_after_ms: float,
    grace_ms: float,
) -> list[Level]:
    """Return what thresholds from a quarter of the bundle's to four times it would give.

    Parameters
    ----------
    run, samples
        The run, and what it ran over.
    events
        The faults; none without labels.
    close_after_ms
        How long after its last anomalous window an episode ends.
    grace_ms
        As in `evaluate_stream`.

    Returns
    -------
    By rising threshold, the bundle's own among them.
    """
    spans = spans_of(samples)
    levels = []
    for factor in np.geomspace(_LOWEST, _HIGHEST, N_LEVELS).tolist():
        above = np.flatnonzero(run.scores > factor * run.threshold)
        times_ms = run.end_ms[above].astype(np.float64)
        episodes = _episodes(samples, run.rows[above], times_ms, close_after_ms)
        if len(episodes) > _EPISODES_MAX:
            continue
        found = evaluate_stream(events, episodes, spans, grace_ms).total
        levels.append(
            Level(factor, len(episodes), found.alerts.false_per_day, found.events.n_found)
        )
    return levels


def found_at(
    scores: NDArray[np.float64],
    samples: Samples,
    events: Sequence[LabelledEvent],
    close_after_ms: float,
    grace_ms: float,
    n_false_max: int,
) -> int:
    """Return how many faults scores of samples find with no more false alarms than given.

    Parameters
    ----------
    scores
        A score of each sample, shape (n_samples,), any unit; NaN where there is none.
    samples, events
        The samples, and the faults in them.
    close_after_ms, grace_ms
        As in `sweep_thresholds`.
    n_false_max
        Most false alarms.

    Returns
    -------
    The most faults that one of `N_LEVELS` thresholds finds, which are denser for high scores.
    """
    known = scores[np.isfinite(scores)]
    if not len(known):
        return 0
    best = 0
    for share in np.geomspace(_RAREST, _MOST_OFTEN, N_LEVELS).tolist():
        above = np.flatnonzero(scores > np.quantile(known, 1 - share))
        episodes = _episodes(samples, above, samples.times_ms[above], close_after_ms)
        if len(episodes) > _EPISODES_MAX:
            break
        if len(false_alarms(episodes, events, grace_ms)) <= n_false_max:
            best = max(best, count_found(events, episodes, grace_ms))
    return best


def _episodes(
    samples: Samples,
    rows: NDArray[np.intp],
    ends_ms: NDArray[np.float64],
    close_after_ms: float,
) -> list[AlertSpan]:
    """Return the episodes of anomalous windows or samples, by their rows and times."""
    if not len(rows):
        return []
    series = samples.series[rows]
    order = np.lexsort((ends_ms, series))
    series, ends_ms = series[order], ends_ms[order]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (np.diff(series) != 0) | (np.diff(ends_ms) > close_after_ms)
    starts = np.flatnonzero(is_first)
    stops = np.append(starts[1:], len(rows)) - 1
    return [
        AlertSpan(samples.keys[number], opened, last + close_after_ms)
        for number, opened, last in zip(
            series[starts].tolist(), ends_ms[starts].tolist(), ends_ms[stops].tolist(), strict=True
        )
    ]
