"""Incidents: alerts of one partition that opened together, of whatever keys.

Pure, and in event time. An alert joins the oldest incident of its partition whose first alert
opened at most `incident_within_ms` before or after it, since keys are not in step with each other.
Where there is none it is the first of a new one. Within 60 s:

    key        a        b         c        d         e
    opened     12:00:00 12:00:20  12:01:30 11:59:10  12:01:00
    incident   a        a         c        a         a

Openings count in the order of the records that caused them, so nothing depends on how the stream
was cut into batches. Which incident an alert belongs to follows from its `opened_ms` alone: no
alert keeps it, and updates and closes find it again. All that is kept of a partition is when its
last incidents began, and that is committed with the offset.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stream_detector.core.alerting.alert import Alert, RaisedAlert

N_INCIDENTS = 12
"""Incidents of a partition that are kept, the last to begin: beside all else that is committed with
an offset there is room for so many. Later events of an alert of an older one bear no incident."""

Begun = Mapping[int, tuple[int, ...]]
"""When the kept incidents of each partition began: `opened_ms` of their first alerts, in the order
of the records that opened these."""


def join_incidents(
    raised: Sequence[RaisedAlert], begun: Begun, within_ms: int | None
) -> tuple[list[RaisedAlert], Begun]:
    """Return alert events with their incidents, and the incidents after them.

    Parameters
    ----------
    raised
        Events of a batch, in the order of its records.
    begun
        The incidents before them.
    within_ms
        How far from the opening of an incident's first alert others may open, >= 1; None for no
        incidents.

    Returns
    -------
    An event that is no opening, of an incident that is no longer kept, has none.
    """
    if within_ms is None or not raised:
        return list(raised), begun
    after, joined = dict(begun), []
    for each in raised:
        alert, partition = each.alert, each.alert.source.partition
        kept = after.get(partition, ())
        first_ms = _find(alert.opened_ms, kept, within_ms)
        if first_ms is None and alert.event == "open":
            first_ms = alert.opened_ms
            after[partition] = (*kept, first_ms)[-N_INCIDENTS:]
        if first_ms is not None:
            alert = replace(alert, incident_id=_incident_id(alert, first_ms))
        joined.append(each._replace(alert=alert))
    return joined, after


def _find(opened_ms: int, kept: tuple[int, ...], within_ms: int) -> int | None:
    """Return when the oldest incident began that an alert belongs to, None where there is none."""
    return next((each for each in kept if abs(opened_ms - each) <= within_ms), None)


def _incident_id(alert: Alert, first_ms: int) -> str:
    """Return 32 hexadecimal digits that name the incident of a partition that began then."""
    source = alert.source
    place = f"incident\n{source.topic}\n{source.partition}\n{alert.bundle.version}\n{first_ms}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]
