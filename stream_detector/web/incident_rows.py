"""Open alerts as rows of the page: those of one incident in one row, across partitions.

An incident is one of a partition (`stream_detector.core.alerting.incidents`). Of several partitions
those that began within `incident_within_ms` of the first of them are one row, by event time.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Any

OTHERS_MAX = 50
"""Most alerts of a row beside its worst."""

ALL_OTHERS_MAX = 300
"""Most of them in all rows together, those of the worst rows: a picture is sent twice a second."""


def rows_of(
    alerts: Iterable[Mapping[str, Any]],
    began_ms: Mapping[str, int],
    within_ms: int | None,
    n_max: int,
) -> list[dict[str, Any]]:
    """Return one row for each incident, and for each alert that has none, the worst first.

    Parameters
    ----------
    alerts
        Open ones, as `alert_board.shown_alert` gives them.
    began_ms
        When the incidents that these name began.
    within_ms
        How far apart incidents of several partitions may begin that are one; None joins none.
    n_max
        Most rows.

    Returns
    -------
    Each is the worst alert of its incident, with `n_alerts` and `n_keys` of them, and the `others`,
    the worst first, at most `OTHERS_MAX` and in all rows `ALL_OTHERS_MAX`. Heat maps, of six
    thousand characters, are left out.
    """
    of: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    rows: list[list[Mapping[str, Any]]] = []
    for each in alerts:
        if each["incident"] is None:
            rows.append([each])
        else:
            of[each["incident"]].append(each)
    first_ms: int | None = None
    for name in sorted(of, key=lambda name: (began_ms[name], name)):
        if first_ms is None or within_ms is None or began_ms[name] - first_ms > within_ms:
            first_ms = began_ms[name]
            rows.append([])
        rows[-1] += of[name]
    ordered = (sorted(each, key=worst_first) for each in rows)
    found: list[dict[str, Any]] = []
    n_left = ALL_OTHERS_MAX
    for row in nsmallest(n_max, ordered, key=lambda each: worst_first(each[0])):
        found.append(_row(row, min(OTHERS_MAX, n_left)))
        n_left -= len(found[-1]["others"])
    return found


def worst_first(shown: Mapping[str, Any]) -> tuple[float, int]:
    """Return by what open alerts are sorted."""
    return -(shown["score"] or 0.0), -shown["event_time_ms"]


def without_picture(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a picture has of an alert."""
    return {name: value for name, value in shown.items() if name != "heat_map"}


def _row(alerts: list[Mapping[str, Any]], n_others: int) -> dict[str, Any]:
    """Return the row of some alerts, the worst first, with so many beside its worst."""
    return {
        **without_picture(alerts[0]),
        "n_alerts": len(alerts),
        "n_keys": len({each["key"] for each in alerts}),
        "others": [without_picture(each) for each in alerts[1 : n_others + 1]],
    }
