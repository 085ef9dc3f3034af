"""What other thresholds would give: false alarms a day and faults found.

The windows that exceed a threshold are joined to episodes as alerts are: one ends once its key has
had no such window for `close_after_ms`. Rules that ask for several anomalous windows, cooldown and
floods are left out, so an episode may begin earlier than an alert would.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_detector.core.intervals import Interval
from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import AlertSpan, LabelledEvent, evaluate_stream
from stream_detector.evaluation.offline import StreamRun, spans_of

N_LEVELS = 25
_LOWEST, _HIGHEST = 0.25, 4.0
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
        episodes = _episodes(run, samples, factor * run.threshold, close_after_ms)
        if len(episodes) > _EPISODES_MAX:
            continue
        found = evaluate_stream(events, episodes, spans, grace_ms).total
        levels.append(
            Level(factor, len(episodes), found.alerts.false_per_day, found.events.n_found)
        )
    return levels


def _episodes(
    run: StreamRun, samples: Samples, threshold: float, close_after_ms: float
) -> list[AlertSpan]:
    """Return the episodes in which windows exceed a threshold."""
    above = np.flatnonzero(run.scores > threshold)
    series, ends_ms = samples.series[run.rows[above]], run.end_ms[above]
    order = np.lexsort((ends_ms, series))
    series, ends_ms = series[order], ends_ms[order]
    if not len(above):
        return []
    is_first = np.ones(len(above), np.bool_)
    is_first[1:] = (np.diff(series) != 0) | (np.diff(ends_ms) > close_after_ms)
    starts = np.flatnonzero(is_first)
    stops = np.append(starts[1:], len(above)) - 1
    return [
        AlertSpan(samples.keys[number], float(opened), float(last + close_after_ms))
        for number, opened, last in zip(
            series[starts].tolist(), ends_ms[starts].tolist(), ends_ms[stops].tolist(), strict=True
        )
    ]
