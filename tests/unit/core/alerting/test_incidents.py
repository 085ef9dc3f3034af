"""Alerts that open together bear one incident."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from sample_streams import Stream

from stream_detector.core.alerting.alert import Alert, AlertEvent, RaisedAlert, Source
from stream_detector.core.alerting.incidents import N_INCIDENTS, Begun, join_incidents
from stream_detector.core.records import BundleReference
from stream_detector.core.state.new_keys import SCALES_CHARACTERS_MAX
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.core.windowing.keyed_state import Jump

METADATA_CHARACTERS_MAX = 4_095
"""What a broker takes, without the line feed at the end."""


def raised(opened_ms: int, kind: AlertEvent = "open", partition: int = 0, **other: Any) -> Any:
    known: dict[str, Any] = {
        "schema_version": 1,
        "alert_id": "0" * 32,
        "event": kind,
        "event_number": 1,
        "key": "k",
        "window_start_ms": opened_ms,
        "window_end_ms": opened_ms,
        "source": Source("t", partition, 7),
        "reconstruction_error": None,
        "threshold": None,
        "anomaly_score": None,
        "severity": "warning",
        "bundle": BundleReference("b", "v"),
        "explanation": None,
        "event_time_ms": opened_ms + 5,
        "opened_ms": opened_ms,
        "last_anomalous_ms": None,
        "n_windows": 0,
        "n_anomalous": 0,
        "reason": "no_data",
        "continues_alert_id": None,
        "is_summary": False,
        "n_alerts": 1,
        "detected_at_ms": 0,
    }
    return RaisedAlert(0, Alert(**(known | other)), b"k")


def incidents(events: Iterable[RaisedAlert], within_ms: int | None, begun: Begun) -> list[Any]:
    return [each.alert.incident_id for each in join_incidents(list(events), begun, within_ms)[0]]


def test_the_example_of_the_page() -> None:
    opened_s = [0, 20, 90, -50, 60]
    a, b, c, d, e = incidents([raised(1_000 * each) for each in opened_s], 60_000, {})
    assert a == b == d == e != c
    assert {len(each) for each in (a, c)} == {32}


@pytest.mark.parametrize(("apart_ms", "is_one"), [(99, True), (100, True), (101, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_alert_joins_up_to_the_time_itself(apart_ms: int, is_one: bool, sign: int) -> None:
    first, second = incidents([raised(1_000), raised(1_000 + sign * apart_ms)], 100, {})
    assert (first == second) is is_one


def test_without_a_time_there_are_none() -> None:
    assert incidents([raised(1), raised(1)], None, {}) == [None, None]


def test_partitions_and_bundles_have_incidents_of_their_own() -> None:
    others = [raised(1), raised(1, partition=1), raised(1, bundle=BundleReference("b", "w"))]
    found = [incidents([each], 10, {})[0] for each in others]
    assert len(set(found)) == 3
    assert incidents(others[:2], 10, {}) == found[:2]


def test_later_events_find_the_incident_of_their_opening() -> None:
    opened, begun = join_incidents([raised(1_000), raised(1_080)], {}, 100)
    name = opened[0].alert.incident_id
    assert incidents([raised(1_080, "update"), raised(1_000, "close")], 100, begun) == [name, name]
    assert incidents([raised(1_101, "close")], 100, begun) == [None]


def test_the_oldest_incident_is_found_so_that_a_later_one_takes_no_alert_from_it() -> None:
    openings = [raised(1_000), raised(1_060), raised(1_150), raised(1_060, "close")]
    found = incidents(openings, 100, {})
    assert found[0] == found[1] == found[3] != found[2]


def test_the_last_incidents_are_kept() -> None:
    many = [raised(1_000 * number) for number in range(N_INCIDENTS + 1)]
    opened, begun = join_incidents(many, {}, 10)
    closes = [raised(each.alert.opened_ms, "close") for each in opened]
    names = [each.alert.incident_id for each in opened]
    assert incidents(closes, 10, begun) == [None, *names[1:]]


def test_what_is_committed_leaves_room_for_them() -> None:
    largest = RestorePlan(
        2**63 - 1,
        253_402_300_799_999.94,
        2**63 - 1,
        has_active_keys=False,
        digest="f" * 16,
        n_open_alerts=10**6,
        jump=Jump(2**64 - 1, 253_402_300_799_999.94, 253_402_300_799_999.94),
        scales="s" * SCALES_CHARACTERS_MAX,
        incidents=(253_402_300_799_999,) * N_INCIDENTS,
    )
    metadata = CommitMetadata(largest, "f" * 64, 10**5, "f" * 16)
    text = metadata.encode()
    assert len(text) <= METADATA_CHARACTERS_MAX
    assert CommitMetadata.decode(text, "t[0]@7") == metadata


def test_what_opens_in_a_replay_changes_no_incident() -> None:
    detector = Stream(4, 4, 0, 100_000, (1, 1, 100, 50, 0, 500, 3, 1_000), "hold").detector(5)
    plan = RestorePlan.nothing(5, (1_000, 3_000))
    state = detector.initial_state().open_partition(0, 5, plan)
    assert state.incidents == {0: plan.incidents}
    replayed = replace(state, incidents={0: (*plan.incidents, 2_000), 1: (7,)})
    restored = replayed.finish_restore(0, 9, plan)
    assert restored.incidents == {0: plan.incidents, 1: (7,)}
    assert restored.open_partition(0, 12).incidents == restored.incidents
    assert restored.drop_partitions([0]).incidents == {1: (7,)}
