"""Every error of both libraries is mapped to one of ours."""

import inspect

import confluent_kafka
import pytest
from kafka import errors as kafka_errors

from stream_detector.clients import _errors
from stream_detector.clients.confluent import errors as confluent
from stream_detector.clients.kafka_python import errors as kafka_python
from stream_detector.errors import (
    BrokerError,
    BrokerUnavailableError,
    DeliveryError,
    FencedError,
    RecordRefusedError,
)

SERVERS = "broker.example:9092"

KAFKA_PYTHON_ERRORS = sorted(
    (
        kind
        for _, kind in inspect.getmembers(kafka_errors, inspect.isclass)
        if issubclass(kind, kafka_errors.KafkaError)
    ),
    key=lambda kind: kind.__name__,
)
CONFLUENT_CODES = sorted(
    {
        value
        for name in dir(confluent_kafka.KafkaError)
        if isinstance(value := getattr(confluent_kafka.KafkaError, name), int)
    }
)


def _make(kind: type[kafka_errors.KafkaError]) -> kafka_errors.KafkaError:
    return kind({}) if kind is kafka_errors.LogTruncationError else kind()


def test_both_libraries_have_errors_to_map() -> None:
    assert len(KAFKA_PYTHON_ERRORS) > 140
    assert len(CONFLUENT_CODES) > 150


@pytest.mark.parametrize("kind", KAFKA_PYTHON_ERRORS, ids=lambda kind: kind.__name__)
def test_every_kafka_python_error_is_mapped(kind: type[kafka_errors.KafkaError]) -> None:
    error = kafka_python.map_error(_make(kind), SERVERS, ["telemetry"])

    assert isinstance(error, BrokerError)
    assert SERVERS in str(error)
    # What the library marks as retriable is retriable for us, except for a missing topic.
    if kind.retriable and kind is not kafka_errors.UnknownTopicOrPartitionError:
        assert error.retriable


@pytest.mark.parametrize("code", CONFLUENT_CODES)
def test_every_confluent_code_is_mapped(code: int) -> None:
    kafka_error = confluent_kafka.KafkaError(code)

    error = confluent.map_error(confluent_kafka.KafkaException(kafka_error), SERVERS, ["telemetry"])

    assert isinstance(error, BrokerError)
    assert type(error) is type(confluent.map_error(kafka_error, SERVERS))
    assert SERVERS in str(error)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in KAFKA_PYTHON_ERRORS if getattr(kind, "errno", None) in CONFLUENT_CODES],
    ids=lambda kind: kind.__name__,
)
def test_both_libraries_agree_on_the_protocol_s_errors(
    kind: type[kafka_errors.BrokerResponseError],
) -> None:
    ours = kafka_python.map_error(kind(), SERVERS, ["telemetry"])
    theirs = confluent.map_error(confluent_kafka.KafkaError(kind.errno), SERVERS, ["telemetry"])

    assert type(ours) is type(theirs), (str(ours), str(theirs))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kafka_errors.KafkaConnectionError("gone"), BrokerUnavailableError),
        (kafka_errors.NotLeaderForPartitionError(), BrokerUnavailableError),
        (kafka_errors.CoordinatorLoadInProgressError(), BrokerUnavailableError),
        (kafka_errors.KafkaTimeoutError("slow"), BrokerUnavailableError),
        (ConnectionRefusedError("no"), BrokerUnavailableError),
        (kafka_errors.CommitFailedError(), BrokerUnavailableError),
        (kafka_errors.CorruptRecordError(), BrokerUnavailableError),
        (kafka_errors.ProducerFencedError(), FencedError),
        (kafka_errors.FencedInstanceIdError(), FencedError),
    ],
)
def test_only_errors_that_a_retry_can_cure_are_retriable(
    error: Exception, expected: type[BrokerError]
) -> None:
    assert type(kafka_python.map_error(error, SERVERS)) is expected


def test_damaged_records_may_be_read_again() -> None:
    for code in (confluent_kafka.KafkaError._BAD_MSG, confluent_kafka.KafkaError.INVALID_MSG):
        error = confluent.map_error(confluent_kafka.KafkaError(code), SERVERS)
        assert error.retriable
        assert "came damaged" in str(error)


def test_a_denial_says_what_to_check() -> None:
    denials = (
        kafka_python.map_error(kafka_errors.TopicAuthorizationFailedError(), SERVERS),
        kafka_python.map_error(kafka_errors.SaslAuthenticationFailedError(), SERVERS),
        confluent.map_error(
            confluent_kafka.KafkaError(confluent_kafka.KafkaError._AUTHENTICATION), SERVERS
        ),
    )
    for error in denials:
        assert not error.retriable
        assert "sasl_" in str(error)
        assert "ACL" in str(error)


def test_a_denial_that_the_library_reports_as_text_is_one() -> None:
    as_text = kafka_errors.KafkaError(
        "Unexpected error in InitProducerIdResponse: [Error 31] ClusterAuthorizationFailedError"
    )
    ours = kafka_python.map_error(as_text, SERVERS)
    assert "denied access" in str(ours)
    assert not ours.retriable


def test_a_denied_topic_is_named() -> None:
    denied = confluent_kafka.KafkaError(confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert "(telemetry)" in str(confluent.map_error(denied, SERVERS, ["telemetry"]))


def test_a_denied_transactional_id_is_named() -> None:
    ours = kafka_errors.TransactionalIdAuthorizationFailedError()
    theirs = confluent_kafka.KafkaError(ours.errno)
    for denied in (
        kafka_python.map_error(ours, SERVERS, [], "ecg-1"),
        confluent.map_error(confluent_kafka.KafkaException(theirs), SERVERS, [], "ecg-1"),
    ):
        assert "(ecg-1)" in str(denied)
        assert not denied.retriable


def _undelivered(*errors: BrokerError) -> BrokerError:
    failures = [_errors.Failure(number, error) for number, error in enumerate(errors)]
    return _errors.undelivered(failures, errors[0])


def test_records_that_were_refused_are_told_from_those_lost_with_them() -> None:
    lost = _errors.unavailable(SERVERS, "part of a batch")
    error = _undelivered(lost, _errors.bad_content(SERVERS, "no key"), lost)
    assert isinstance(error, RecordRefusedError)
    assert (error.refusals, error.undelivered) == ({1: "content"}, (0, 1, 2))
    assert "no key" in str(error)
    assert not error.retriable
    error = _undelivered(_errors.too_large(SERVERS, ""), _errors.bad_timestamp(SERVERS, ""))
    assert isinstance(error, RecordRefusedError)
    assert error.refusals == {0: "size", 1: "timestamp"}


def test_undelivered_records_may_be_sent_again_unless_that_cannot_help() -> None:
    lost = _undelivered(*[_errors.unavailable(SERVERS, "no answer")] * 3)
    assert type(lost) is DeliveryError
    assert lost.retriable
    assert "3 record(s)" in str(lost)
    assert "min.insync.replicas" in str(lost)
    large = _undelivered(_errors.too_large(SERVERS, "10 MB"))
    assert not large.retriable
    assert "max.message.bytes" in str(large)
    assert "min.insync.replicas" not in str(large)
