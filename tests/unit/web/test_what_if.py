"""Other settings tried on the past, and dead letters by reason."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
import pytest
from console_page import (
    Stream,
    ask,
    make_memory_page,
    sample_record,
    served,
    take_memory_snapshot,
)
from halving_bundle import make_bundle

from stream_detector.assembly import Served, open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.codec.windows import encode_window
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected
from stream_detector.errors import RecordDecodeError, RecordShapeError
from stream_detector.ports import NoSchemas
from stream_detector.web import letters, what_if
from stream_detector.web.history import History
from stream_detector.web.key_view import KeyView
from stream_detector.web.letters import read_letters
from stream_detector.web.what_if import Settings, WhatIf

START_MS = 1_767_225_600_000
LEVELS = {
    "a": [0.5, 1.5, 0.5, 0.5, 3.0, 3.0, 0.5, 0.5, 0.5],
    "b": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 0.5],
}


@pytest.fixture
def past(pumps: Served) -> tuple[MemoryBroker, list[Alert]]:
    """A topic with two keys, a window of 4 s a level, and the alerts of the bundle's settings."""
    stream = Stream(broker := MemoryBroker(), pumps)
    alerts = []
    for at in range(9):
        for key, levels in LEVELS.items():
            alerts += stream.send(sample_record(key, START_MS + 4_000 * at, *[levels[at]] * 4))
    return broker, alerts


def make_what_if(served: Served, broker: MemoryBroker) -> WhatIf:
    history = History("telemetry", partial(broker.connect, topics=["telemetry"]))
    return WhatIf(KeyView(served, NoSchemas(), None), history)


def try_out(tries: WhatIf, hours: float = 1.0, **changes: Any) -> dict[str, Any]:
    return tries.try_out(tries.own._replace(**changes), hours, START_MS + 36_000.0)


def changes_of(found: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [(each["change"], each["key"], each["score"]) for each in found["alerts"]]


def test_business_rules_hold_for_other_settings_too(
    pumps: Served, past: tuple[MemoryBroker, list[Alert]]
) -> None:
    """A deviation is half of the level, so rules leave the alerts of the levels 2 and 3."""
    rules = {"features": {"feature_0": {"deviation_min": 1.0}}, "open_within": 2}
    ruled = open_bundle(pumps.bundle.path, changes={"alerting": rules})
    tries = make_what_if(ruled, past[0])
    assert tries.own.open_within == 2
    found = try_out(tries, close_after_ms=8_000)
    assert changes_of(found) == [("stays", "a", 3.0), ("stays", "b", 2.0)]


def test_the_bundles_own_settings_give_the_alerts_that_were_published(
    pumps: Served, past: tuple[MemoryBroker, list[Alert]]
) -> None:
    broker, published = past
    found = try_out(make_what_if(pumps, broker))
    assert {each["id"] for each in found["alerts"]} == {each.alert_id for each in published}
    assert changes_of(found) == [("stays", "a", 1.5), ("stays", "a", 3.0), ("stays", "b", 2.0)]
    assert (found["n_own"], found["n_tried"], found["n_come"], found["n_go"]) == (3, 3, 0, 0)
    assert (found["n_records"], found["n_windows"], found["is_cut"]) == (18, 18, False)
    assert [each["sentence"] for each in found["alerts"]] == [
        f"feature_0: observed {level:g} where {level / 2:g} was expected, for 3 s"
        for level in (1.5, 3.0, 2.0)
    ]


def test_alerts_that_continue_each_other_are_one(
    pumps: Served, past: tuple[MemoryBroker, list[Alert]]
) -> None:
    changes = {"alerting": {"open_ms_max": 4_000, "close_after_ms": 4_000}}
    found = try_out(make_what_if(open_bundle(pumps.bundle.path, changes=changes), past[0]))
    assert changes_of(found) == [("stays", "a", 1.5), ("stays", "a", 3.0), ("stays", "b", 2.0)]
    closed_ms = [each["closed_ms"] - each["opened_ms"] for each in found["alerts"]]
    assert closed_ms == [4_000, 8_000, 4_000]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (1.4999, []),
        (1.5, [("goes", "a", 1.5)]),
        (2.0, [("goes", "a", 1.5), ("goes", "b", 2.0)]),
        (3.0, [("goes", "a", 1.5), ("goes", "a", 3.0), ("goes", "b", 2.0)]),
    ],
)
def test_a_higher_threshold_takes_alerts_away(
    pumps: Served,
    past: tuple[MemoryBroker, list[Alert]],
    factor: float,
    expected: list[tuple[str, str, float]],
) -> None:
    found = try_out(make_what_if(pumps, past[0]), factor=factor)
    assert [each for each in changes_of(found) if each[0] != "stays"] == expected
    assert found["threshold"] == 0.5 * factor
    assert found["n_go"] == len(expected)


def test_a_lower_threshold_and_other_rules_bring_and_join_alerts(
    pumps: Served, past: tuple[MemoryBroker, list[Alert]]
) -> None:
    tries = make_what_if(pumps, past[0])
    lower = try_out(tries, factor=0.4)
    assert (lower["n_tried"], lower["n_come"], lower["n_go"]) == (2, 0, 0)
    stricter = try_out(tries, open_after=2, open_within=2)
    gone = [("goes", "a", 1.5), ("goes", "b", 2.0), ("stays", "a", 3.0)]
    assert changes_of(stricter) == gone
    longer = try_out(tries, close_after_ms=20_000)
    assert longer["n_tried"] == 2
    assert "open_after = 2" in stricter["toml"]
    assert "close_after_ms = 20000" in longer["toml"]


def test_alerts_that_only_other_settings_give_come(
    pumps: Served,
) -> None:
    stream = Stream(broker := MemoryBroker(), pumps)
    stream.send(sample_record("a", START_MS, *[0.9] * 4), sample_record("b", START_MS, 0, 0, 0, 0))
    found = try_out(make_what_if(pumps, broker), factor=0.8)
    ((change, key, score),) = changes_of(found)
    assert (change, key) == ("comes", "a")
    assert score == pytest.approx(0.9 / 0.8)
    assert (found["n_own"], found["n_come"]) == (0, 1)


def test_the_network_does_not_run_again_for_other_settings(
    pumps: Served, past: tuple[MemoryBroker, list[Alert]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = make_what_if(pumps, past[0])
    try_out(tries)
    n_polls = past[0].n_calls["poll"]
    try_out(tries, factor=2.0)
    assert past[0].n_calls["poll"] == n_polls
    try_out(tries, hours=2.0)
    assert past[0].n_calls["poll"] > n_polls
    n_polls = past[0].n_calls["poll"]
    monkeypatch.setattr(what_if, "KEPT_S", 0.0)
    try_out(tries, hours=2.0)
    assert past[0].n_calls["poll"] > n_polls


def test_settings_that_cannot_be_had_become_the_nearest(pumps: Served) -> None:
    tries = make_what_if(pumps, MemoryBroker())
    assert tries.nearest(Settings(0.0, 0, 0, 0)) == Settings(0.1, 1, 1, 1)
    assert tries.nearest(Settings(99.0, 99, 99, 10**12)) == Settings(10.0, 64, 64, 43_200_000)
    assert tries.nearest(Settings(1.0, 5, 3, 7)) == Settings(1.0, 3, 3, 7)


def test_whole_windows_have_a_threshold_and_no_rules(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("bundle") / "beats"
    make_bundle(path)
    beats, broker = open_bundle(path), MemoryBroker()
    broker.create_topic("telemetry")
    for level in (0.5, 1.5, 3.0):
        value = encode_window(np.full((140, 1), level, np.float32), "json", 1)
        key = f"{level}".encode()
        broker.feed("telemetry", [OutputRecord("", key, value, (), START_MS)])
    found = try_out(make_what_if(beats, broker), factor=2.0)
    assert not found["has_rules"]
    assert changes_of(found) == [("goes", "1.5", 1.5), ("stays", "3.0", 1.5)]


def test_the_page_asks_what_if(pumps: Served, past: tuple[MemoryBroker, list[Alert]]) -> None:
    with served(make_memory_page(past[0], pumps)) as address:
        for question, factor in (({}, 1.0), ({"factor": "2"}, 2.0), ({"factor": "x"}, 1.0)):
            status, _, body = ask(address, f"/what-if?{urlencode(question)}")
            assert status == 200
            answer = orjson.loads(body)
            assert (answer["factor"], answer["hours"]) == (factor, 1.0)
            assert answer["own"]["close_after_ms"] == 4_000
        status, _, body = ask(address, "/what-if?hours=1e9&close_after_ms=1e12&open_after=1.9")
        answer = orjson.loads(body)
        assert (answer["hours"], answer["close_after_ms"], answer["open_after"]) == (
            24.0,
            43_200_000,
            1,
        )


def dead_letter(number: int, error: RecordDecodeError | RecordShapeError, value: bytes) -> Any:
    metadata = RecordMetadata("telemetry", 1, number, START_MS + number, b"a<b>\x1b", ())
    return encode_dead_letter(Rejected(0, error), value, metadata, "dead-letters", 1_000_000)


@pytest.fixture
def letters_broker() -> MemoryBroker:
    """A topic with dead letters of two kinds, and a record that is none."""
    broker = MemoryBroker()
    broker.create_topic("dead-letters", 2)
    found = [dead_letter(at, RecordDecodeError(f"not JSON: {at}"), b"\xff\n<i>") for at in range(3)]
    broker.feed("dead-letters", [*found, OutputRecord("", None, b"foreign", (), 5)])
    shape = dead_letter(9, RecordShapeError("too many"), b"x" * 5_000)
    broker.feed("dead-letters", [shape], partition=1)
    return broker


def test_dead_letters_are_counted_by_reason_with_the_newest_as_example(
    letters_broker: MemoryBroker,
) -> None:
    found = read_letters(partial(take_memory_snapshot, letters_broker))
    assert (found["n_held"], found["n_read"]) == (5, 5)
    decode = found["kinds"][0]
    assert (decode["error"], decode["stage"], decode["n_letters"]) == (
        "RecordDecodeError",
        "decode",
        3,
    )
    assert decode["example"] == {
        "name": "a<b>\\x1b",
        "message": "not JSON: 2",
        "source": "telemetry[1]@2",
        "location": "0:2",
        "value": "\\xff\\n<i>",
        "n_value_bytes": 5,
    }
    others = {each["error"]: each for each in found["kinds"][1:]}
    assert set(others) == {"RecordShapeError", "no dead letter"}
    example = others["RecordShapeError"]["example"]
    assert (len(example["value"]), example["n_value_bytes"]) == (400, 5_000)


def test_of_many_dead_letters_the_newest_are_read(
    letters_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "LETTERS_MAX", 4)
    found = read_letters(partial(take_memory_snapshot, letters_broker))
    assert (found["n_held"], found["n_read"]) == (5, 3)


def test_the_page_asks_for_dead_letters(pumps: Served, letters_broker: MemoryBroker) -> None:
    Stream(letters_broker, pumps)
    with served(make_memory_page(letters_broker, pumps)) as address:
        status, _, body = ask(address, "/dead-letters")
        assert (status, len(orjson.loads(body)["kinds"])) == (200, 3)
        del letters_broker.logs["dead-letters"]
        status, _, body = ask(address, "/dead-letters")
        assert status == 503
        assert "dead-letters" in orjson.loads(body)["problem"]
