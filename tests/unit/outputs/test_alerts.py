"""Alerts read from their topic on a broker in this process, as another program reads them."""

from dataclasses import replace

import pytest
from alerts import make_alert

import stream_detector
from stream_detector.clients.memory import EOF, MemoryBroker, MemoryClient
from stream_detector.core.alerting.alert import Alert, Source, encode_alert
from stream_detector.core.records import BundleReference, OutputRecord, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation, FeatureExplanation
from stream_detector.errors import BrokerError, ConfigError, RecordDecodeError
from stream_detector.outputs.alerts import SourceReader, parse_alert, read_values
from stream_detector.settings import ConnectionSettings

START_MS = 1_700_000_000_000


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("alerts", 1)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: made.connect(**options)
    )
    return made


@pytest.fixture
def alert() -> Alert:
    metadata = RecordMetadata("telemetry", 3, 41, 0, b"pump-7", ())
    explanation = Explanation(
        START_MS,
        START_MS + 1_500,
        (FeatureExplanation(0, 1.0, (0.5,), (2.5,)),),
        (1.0,),
        (START_MS, START_MS + 1_500),
        0.25,
        0,
    )
    score, bundle = (0.5, 0.2, "high"), BundleReference("pumps", "v1")
    return make_alert(metadata, (START_MS, START_MS + 2_139), score, bundle, explanation)


def record_of(alert: Alert) -> OutputRecord:
    return encode_alert(alert, "alerts", b"pump-7", 0)


def test_alerts_come_back_as_they_were_written(broker: MemoryBroker, alert: Alert) -> None:
    written = [alert, replace(alert, event="close", event_number=2, reason="recovered")]
    broker.feed("alerts", [*map(record_of, written), OutputRecord("", None, None), EOF])
    values = read_values(ConnectionSettings(), "alerts", from_beginning=True, idle_s=0.01)
    assert [parse_alert(value) for value in values] == written
    assert not broker.committed


def test_alerts_are_iterated_in_python(
    broker: MemoryBroker, alert: Alert, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = OutputRecord("alerts", None, b"{}")
    broker.feed("alerts", [record_of(alert), foreign, record_of(replace(alert, key="b")), EOF])
    found = stream_detector.alerts("localhost:9092", from_beginning=True, idle_s=0.01)
    assert [each.key for each in found] == [alert.key, "b"]
    assert "not-an-alert" in caplog.text
    assert not list(stream_detector.alerts("localhost:9092", topic="alerts", idle_s=0.01))
    with pytest.raises(ConfigError, match="colour"):
        next(stream_detector.alerts("localhost:9092", colour="red"))
    with pytest.raises(BrokerError, match="absent"):
        next(stream_detector.alerts("localhost:9092", "absent"))


def test_without_from_beginning_only_new_alerts_are_read(
    broker: MemoryBroker, alert: Alert
) -> None:
    broker.feed("alerts", [record_of(alert)])
    values = read_values(ConnectionSettings(), "alerts", idle_s=0.01)
    assert list(values) == []


def test_what_is_slow_to_come_at_first_is_waited_for(
    broker: MemoryBroker, alert: Alert, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.feed("alerts", [EOF, EOF, record_of(alert), EOF, record_of(alert)])
    answers = iter([False, False])
    monkeypatch.setattr(MemoryClient, "has_fetched", lambda _: next(answers, True))
    values = read_values(ConnectionSettings(), "alerts", from_beginning=True, idle_s=1e-9)
    assert len(list(values)) == 1


def test_reading_stops_when_asked(broker: MemoryBroker, alert: Alert) -> None:
    broker.feed("alerts", [record_of(alert)])
    answers = iter([False, True])
    values = read_values(
        ConnectionSettings(), "alerts", from_beginning=True, is_stopping=lambda: next(answers)
    )
    assert len(list(values)) == 1


def test_a_topic_that_does_not_exist_is_refused(broker: MemoryBroker) -> None:
    del broker  # needed for its side effect
    with pytest.raises(BrokerError, match=r"no such topic on .*: absent"):
        list(read_values(ConnectionSettings(), "absent", idle_s=0.01))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "Invalid JSON"),
        (b"{}", "not an alert: [a-z_]+: Field required"),
        (b"\xff", "not an alert: "),
    ],
)
def test_a_value_that_is_not_an_alert_is_refused(value: bytes, words: str) -> None:
    with pytest.raises(RecordDecodeError, match=words):
        parse_alert(value)


def test_the_record_of_an_alert_is_waited_for(broker: MemoryBroker) -> None:
    broker.create_topic("telemetry")
    broker.feed("telemetry", [EOF, EOF, b"first", b"second"])  # two polls that return nothing
    reader = SourceReader(lambda topic: broker.connect(topics=[topic]))
    assert reader.read(Source("telemetry", 0, 0)) == b"first"
    assert reader.read(Source("telemetry", 0, 1)) == b"second"


def test_the_record_of_an_alert_may_be_gone(broker: MemoryBroker) -> None:
    broker.create_topic("telemetry")
    broker.feed("telemetry", [b"first", b"second"])
    broker.truncate("telemetry", 0, 1)
    reader = SourceReader(lambda topic: broker.connect(topics=[topic]))
    assert reader.read(Source("telemetry", 0, 0)) is None
    assert reader.read(Source("telemetry", 0, 1)) == b"second"
