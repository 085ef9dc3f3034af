"""What a topic refuses is published in another way, and the records beside it as ever."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

from stream_detector.clients.memory import Fault, MemoryBroker
from stream_detector.core.codec.dead_letters import DeadLetter, decode_dead_letter, encode_redrive
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.errors import BrokerError, RecordRefusedError
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.service.publisher import Publisher
from stream_detector.service.refusals import LIMITS_KEPT_S, Refusals
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
GROUP = "g"
ANOMALOUS = b'{"values":[3,3,3,3]}'

DELIVERIES = ("at_least_once", "exactly_once")


class FixedClock(SystemClock):
    """A clock that a test sets; sleeping is free."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        self.passed_s += 0.01
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


class Poison(NamedTuple):
    """A record whose alert or dead letter a topic refuses.

    Parameters
    ----------
    settings
        Of the two topics.
    record
        Is refused.
    left_out, changed
        Of its dead letter.
    error
        Class in its dead letter.
    """

    settings: dict[str, str]
    record: OutputRecord
    left_out: dict[str, int]
    changed: str
    error: str = "RecordDecodeError"


def bad(**more: Any) -> OutputRecord:
    fields: dict[str, Any] = {"key": b"k", "value": b"?", "timestamp_ms": NOW_MS} | more
    return OutputRecord("", **fields)


POISONS = {
    "alert too large": Poison(
        {"max.message.bytes": "4000"}, bad(key=b"\xff" * 900, value=ANOMALOUS), {}, "",
        "AlertRefusedError",
    ),
    "dead letter too large": Poison(
        {"max.message.bytes": "4000"}, bad(value=b"?" * 5_000), {"value": 5_000}, ""
    ),
    "no key": Poison({"cleanup.policy": "compact"}, bad(key=None), {}, "key none"),
    "ahead": Poison(
        {"message.timestamp.after.max.ms": "3600000"},
        bad(timestamp_ms=NOW_MS + DAY_MS), {}, f"timestamp {NOW_MS + DAY_MS}",
    ),
    "behind": Poison(
        {"message.timestamp.before.max.ms": "3600000"},
        bad(timestamp_ms=NOW_MS - DAY_MS), {}, f"timestamp {NOW_MS - DAY_MS}",
    ),
    "no key, ahead and too large": Poison(
        {
            "cleanup.policy": "compact,delete",
            "message.timestamp.after.max.ms": "3600000",
            "max.message.bytes": "4000",
        },
        bad(key=None, value=b"?" * 5_000, timestamp_ms=NOW_MS + DAY_MS),
        {"value": 5_000},
        f"timestamp {NOW_MS + DAY_MS}, key none",
    ),
}  # fmt: skip


class Bench:
    """A service on an in-memory broker, and what it published."""

    def __init__(self, make_detector: Callable[..., WindowDetector]) -> None:
        self.broker = MemoryBroker(now_ms=lambda: NOW_MS)
        self.clock = FixedClock()
        for topic in ("telemetry", "alerts", "dead-letters", "scores"):
            self.broker.create_topic(topic)
        self._make_detector = make_detector

    def configure(self, settings: dict[str, str]) -> None:
        for topic in ("alerts", "dead-letters"):
            self.broker.topic_settings[topic] = dict(settings)

    def service(
        self,
        delivery: str = "at_least_once",
        *,
        is_readable: bool = True,
        scores_topic: str | None = None,
    ) -> Service:
        settings = load_settings(
            DetectSettings,
            group=GROUP,
            delivery=delivery,
            stop_when_idle_s=1.0,
            scores_topic=scores_topic,
        )
        client = self.broker.connect(
            topics=["telemetry"],
            group=GROUP,
            transactional_id="t" if delivery == "exactly_once" else None,
        )
        if not is_readable:
            vars(client)["topic_settings"] = lambda _: {}
        has_scores = scores_topic is not None
        detector = self._make_detector(reconstruct=np.zeros_like, gives_details=has_scores)
        return Service(client, detector, settings, Metrics(), self.clock)

    def feed(self, *records: OutputRecord) -> None:
        self.broker.feed("telemetry", records)

    def alerts(self) -> Counter[int]:
        values = [record.value or b"" for record in self.broker.records("alerts")]
        return Counter(orjson.loads(value)["source"]["offset"] for value in values)

    def letters(self) -> list[DeadLetter]:
        return [decode_dead_letter(*record) for record in self.broker.records("dead-letters")]

    def letters_by_offset(self) -> dict[int, DeadLetter]:
        found = {letter.reason.source.offset: letter for letter in self.letters() if letter.reason}
        assert len(found) == len(self.letters())
        return found

    def is_done(self) -> bool:
        end = len(self.broker.logs["telemetry"][0].records)
        committed = self.broker.committed[GROUP][TopicPartition("telemetry", 0)]
        return committed.next_offset == end


@pytest.fixture
def bench(make_detector: Callable[..., WindowDetector]) -> Bench:
    return Bench(make_detector)


@pytest.mark.parametrize("at", [0, 6, 11], ids=["head", "middle", "end"])
@pytest.mark.parametrize("is_readable", [True, False], ids=["readable", "unreadable"])
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("spreads", [True, False], ids=["all topics", "one topic"])
@pytest.mark.parametrize("name", POISONS)
def test_one_refused_output_costs_its_neighbours_nothing(
    name: str, spreads: bool, delivery: str, is_readable: bool, at: int, bench: Bench
) -> None:
    poison = POISONS[name]
    bench.broker.spreads_refusals = spreads
    bench.configure(poison.settings)
    # Alternately one record with an alert and one with a dead letter, all of them small.
    records = [bad(value=(ANOMALOUS, b"{")[number % 2]) for number in range(12)]
    records[at] = poison.record
    bench.feed(*records)

    totals = bench.service(delivery, is_readable=is_readable).run()

    assert bench.is_done()
    with_alert = [n for n in range(12) if n % 2 == 0 and n != at]
    assert bench.alerts() == Counter(with_alert)
    letters = bench.letters_by_offset()
    assert set(letters) == {n for n in range(12) if n not in with_alert}
    assert (totals.n_alerts, totals.n_dead_letters) == (len(with_alert), 12 - len(with_alert))
    letter = letters.pop(at)
    assert letter.reason is not None
    assert (letter.left_out, letter.changed) == (poison.left_out, poison.changed)
    assert letter.reason.error == poison.error
    assert (letter.key, letter.timestamp_ms) == (poison.record.key, poison.record.timestamp_ms)
    for other in letters.values():
        assert (other.left_out, other.key, other.value) == ({}, b"k", b"{")
        assert other.timestamp_ms == NOW_MS
        # Where the settings say which record was at fault, no other is changed.
        assert other.changed == "" or not is_readable


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_the_log_names_the_record_the_topic_and_the_setting(
    delivery: str, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.configure({"max.message.bytes": "4000"})
    poison = POISONS["alert too large"].record
    bench.feed(bad(), poison, poison, bad(value=b"?" * 5_000))
    with caplog.at_level(logging.WARNING, "stream_detector"):
        bench.service(delivery).run()
    alert, letter = (line for line in caplog.messages if line.startswith("output-refused"))
    assert "n_records=2 first=telemetry[0]@1 output=alert topic=alerts" in alert
    assert "setting=max.message.bytes" in alert
    assert 'first=telemetry[0]@3 output="dead letter" topic=dead-letters' in letter
    assert "setting=max.message.bytes" in letter
    error = bench.letters_by_offset()[1].reason
    assert error is not None
    assert error.stage == "publish"
    assert "topic alerts takes at most 4,000; raise its max.message.bytes" in error.message


@pytest.mark.parametrize("is_readable", [True, False], ids=["readable", "unreadable"])
def test_an_alert_without_key_is_given_its_place_as_one(is_readable: bool, bench: Bench) -> None:
    bench.configure({"cleanup.policy": "compact"})
    bench.feed(bad(value=ANOMALOUS), bad(value=ANOMALOUS, key=None))
    bench.service(is_readable=is_readable).run()
    records = bench.broker.records("alerts")
    assert [record.metadata.key for record in records] == [b"k", b"telemetry[0]@1"]
    assert records[1].metadata.headers[-1] == ("stream-detector.changed", b"key none")
    assert [orjson.loads(record.value or b"")["key"] for record in records] == ["k", ""]


def test_small_outputs_are_sent_in_requests_that_the_topic_takes(bench: Bench) -> None:
    bench.configure({"max.message.bytes": "4000"})
    bench.feed(*[bad(value=(ANOMALOUS, b"{")[n % 2]) for n in range(200)])
    bench.service("exactly_once", is_readable=False).run()
    assert bench.is_done()
    assert bench.alerts() == Counter(range(0, 200, 2))
    assert [letter.left_out for letter in bench.letters()] == [{}] * 100


def test_half_of_what_was_refused_is_sent_together(bench: Bench) -> None:
    refusals, records = Refusals(bench.service(is_readable=False).context), [bad()] * 4
    error = RecordRefusedError("too large", dict.fromkeys(range(4), "size"), range(4))
    assert refusals.learn([(each, "size") for each in records], error)
    assert refusals.n_together(records) == 2


def test_a_size_is_refused_above_the_limit_and_not_at_it(bench: Bench) -> None:
    bench.feed(bad(value=b"?" * 3_000))
    bench.service().run()
    n_bytes = _size_of_only_letter(bench)
    for limit, left_out in ((n_bytes, {}), (n_bytes - 1, {"value": 3_000})):
        bench.configure({"max.message.bytes": str(limit)})
        bench.broker.create_topic("dead-letters")
        bench.feed(bad(value=b"?" * 3_000))
        bench.service().run()
        assert [letter.left_out for letter in bench.letters()] == [left_out]


def _size_of_only_letter(bench: Bench) -> int:
    (stored,) = bench.broker.records("dead-letters")
    metadata = stored.metadata
    return OutputRecord("", metadata.key, stored.value, metadata.headers).n_bytes


def test_neighbours_are_not_repeated_at_least_once(bench: Bench) -> None:
    bench.configure({"max.message.bytes": "4000"})
    bench.feed(bad(value=ANOMALOUS), bad(value=b"?" * 5_000), bad(value=ANOMALOUS))
    bench.service().run()
    assert bench.alerts() == Counter({0: 1, 2: 1})


@pytest.mark.parametrize(("after_s", "is_changed"), [(LIMITS_KEPT_S - 1, True), (61.0, False)])
def test_a_topic_that_was_mended_takes_outputs_as_they_are_after_a_minute(
    after_s: float, is_changed: bool, bench: Bench
) -> None:
    bench.configure({"cleanup.policy": "compact"})
    service = bench.service()

    def mend(*_: object) -> None:
        if len(bench.broker.records("telemetry")) == 1:
            bench.configure({})
            bench.clock.passed_s += after_s
            bench.feed(bad(key=None))

    service.add_observer(mend)
    bench.feed(bad(key=None))
    service.run()
    assert [letter.changed for letter in bench.letters()] == [
        "key none",
        "key none" if is_changed else "",
    ]


def test_a_topic_that_takes_no_dead_letter_at_all_ends_the_process(bench: Bench) -> None:
    bench.broker.topic_settings["dead-letters"] = {"max.message.bytes": "200"}
    bench.feed(bad(value=b"?" * 5_000))
    with pytest.raises(BrokerError, match=r"telemetry\[0\]@0.*dead-letters.*max.message.bytes"):
        bench.service().run()


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_scores_are_there_once_beside_an_alert_that_is_refused(bench: Bench, delivery: str) -> None:
    bench.configure({"max.message.bytes": "4000"})
    bench.feed(*(bad(key=b"\xff" * 900, value=ANOMALOUS) for _ in range(3)))
    bench.service(delivery, scores_topic="scores").run()
    scores = [orjson.loads(each.value or b"") for each in bench.broker.records("scores")]
    assert [each["score"] for each in scores] == [scores[0]["score"]] * 3
    assert not bench.alerts()
    assert len(bench.letters()) == 3
    assert bench.is_done()


def test_a_score_that_its_topic_does_not_take_ends_the_process(bench: Bench) -> None:
    bench.broker.topic_settings["scores"] = {"max.message.bytes": "200"}
    bench.feed(bad(value=ANOMALOUS))
    with pytest.raises(BrokerError, match=r"telemetry\[0\]@0: its score has .*topic scores takes"):
        bench.service(scores_topic="scores").run()


def test_alerts_refused_for_their_time_end_the_process(bench: Bench) -> None:
    # The time is that of this machine, so no record is at fault.
    bench.broker.topic_settings["alerts"] = {"message.timestamp.before.max.ms": "-1"}
    bench.feed(bad(value=ANOMALOUS))
    bench.service().run()  # the broker takes its own time where a record has none
    refused = RecordRefusedError("clock", {0: "timestamp"}, [0])
    bench.broker.faults.append(Fault("flush", refused, nth=2))
    bench.feed(bad(value=ANOMALOUS))
    with pytest.raises(RecordRefusedError, match="clock"):
        bench.service().run()


def test_an_alert_refused_for_no_known_reason_becomes_a_dead_letter(bench: Bench) -> None:
    refused = RecordRefusedError("a schema", {0: "content"}, [0])
    bench.broker.faults.append(Fault("flush", refused, nth=1))
    bench.feed(bad(value=ANOMALOUS))
    bench.service().run()
    (letter,) = bench.letters()
    assert letter.reason is not None
    assert (letter.reason.error, letter.reason.message) == ("AlertRefusedError", "a schema")
    assert bench.alerts() == Counter()


def test_a_redriven_record_has_its_own_time_and_no_key(bench: Bench) -> None:
    poison = POISONS["no key, ahead and too large"]
    bench.configure(poison.settings | {"max.message.bytes": "1000000"})
    bench.feed(poison.record)
    bench.service().run()
    redriven = encode_redrive(bench.letters()[0], None)
    assert (redriven.key, redriven.value) == (None, poison.record.value)
    assert redriven.timestamp_ms == poison.record.timestamp_ms
    assert [name for name, _ in redriven.headers] == ["stream-detector.redriven-from"]


def test_two_alerts_of_one_record_become_one_dead_letter(bench: Bench) -> None:
    bench.configure({"max.message.bytes": "4000"})
    bench.feed(POISONS["alert too large"].record, bad(value=ANOMALOUS))
    context = bench.service().context
    batch = context.client.poll(10, 0)
    step = context.detector.step(context.detector.initial_state(), batch)
    publisher = Publisher(context)
    publisher.publish(batch, replace(step, alerts=[*step.alerts, *step.alerts]))
    assert (publisher.n_alerts, publisher.n_dead_letters) == (2, 1)
    assert list(bench.letters_by_offset()) == [0]
