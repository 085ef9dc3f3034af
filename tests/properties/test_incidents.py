"""Incidents of any stream are those that a list of its alerts has."""

from collections import defaultdict
from typing import Any, NamedTuple

from hypothesis import event, given
from hypothesis import strategies as st
from sample_streams import PLANS, SIZES, STREAMS, Stream, published_by, steps_of, stream_of

from stream_detector.core.alerting.incidents import N_INCIDENTS


class Known(NamedTuple):
    """An incident as a list of alerts has it."""

    first_ms: int
    name: str


@given(plans=PLANS, stream=STREAMS, sizes=SIZES, within_ms=st.sampled_from([1, 20, 100, 1_000]))
def test_a_stream_has_the_incidents_that_a_list_of_its_alerts_has(
    plans: list[Any], stream: Stream, sizes: list[int], within_ms: int
) -> None:
    stream, sent = stream._replace(incident_ms=within_ms), stream_of(plans)
    events = published_by(steps_of(sent, stream, list(sizes), 5))[4]
    of: dict[int, list[Known]] = defaultdict(list)
    for _, alert, _ in events:
        known = of[alert.source.partition]
        near = [
            each
            for each in known[-N_INCIDENTS:]
            if -within_ms <= each.first_ms - alert.opened_ms <= within_ms
        ]
        if near:
            assert alert.incident_id == near[0].name
        elif alert.event == "open":
            # One of the same moment that is no longer kept has the same name: it is the same one.
            others = [each.name for each in known if each.first_ms != alert.opened_ms]
            assert alert.incident_id not in others
            known.append(Known(alert.opened_ms, alert.incident_id))
        else:
            assert alert.incident_id is None
    event(f"incidents: {min(3, max(map(len, of.values()), default=0))}")
    event(f"shared: {len(events) > sum(map(len, of.values())) > 0}")
