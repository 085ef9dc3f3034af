"""Silenced alerts are shown as such on the page."""

from typing import Any

from console_page import Stream, make_memory_page, sample_record, served, wait_for_picture

from stream_detector.assembly import Served
from stream_detector.clients.memory import MemoryBroker
from stream_detector.outputs.routing.matching import Match
from stream_detector.outputs.routing.silences import encode_silence, new_silence
from stream_detector.ports import SystemClock


def shown(picture: dict[str, Any]) -> dict[str, str]:
    """Return how each key's open alert is silenced; those of an incident are one row."""
    rows = picture["alerts"]["open"]
    return {each["key"]: each["silenced"] for row in rows for each in (row, *row["others"])}


def test_an_open_alert_shows_the_silence_that_holds_it(pumps: Served) -> None:
    stream = Stream(broker := MemoryBroker(), pumps)
    start_ms = SystemClock().now_ms() // 4_000 * 4_000 - 60_000
    with served(make_memory_page(broker, pumps)) as address:
        for key in ("a", "b"):
            stream.send(sample_record(key, start_ms, 9, 9, 9, 9))
        picture = wait_for_picture(address, lambda each: each["alerts"]["n_open"] == 2)
        assert picture["topics"][2]["problem"] is None  # the topic is not there yet
        assert shown(picture) == {"a": "", "b": ""}
        broker.create_topic("silences")
        match = Match(key=["a"], feature=["*"], severity=["critical"])
        silence = new_silence(match, start_ms, start_ms + 60_000, "ops", "bearings\x1b")
        broker.feed("silences", [encode_silence(silence, "silences")])
        picture = wait_for_picture(address, lambda each: any(shown(each).values()))
        assert shown(picture) == {
            "a": f"silence {silence.silence_id} by ops: bearings\\x1b",
            "b": "",
        }
