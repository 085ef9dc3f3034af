"""How an outage is measured: waits, the retry deadline, and what ends it."""

import logging
from collections.abc import Callable

import pytest

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import WindowDetector
from stream_detector.errors import BrokerUnavailableError, DeliveryError
from stream_detector.service.context import RunContext
from stream_detector.service.retry import BACKOFF_S_MAX, BACKOFF_S_MIN, LOG_EVERY_S, RetryPolicy
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

AWAY = BrokerUnavailableError("no answer")


class ManualClock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        return int(1_000 * self.now_s)

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def policy(clock: ManualClock, make_detector: Callable[..., WindowDetector]) -> RetryPolicy:
    settings = load_settings(DetectSettings, broker_timeout_s=10.0)
    client = MemoryBroker().connect()
    return RetryPolicy(RunContext(client, make_detector(), settings, Metrics(), clock))


def fail(policy: RetryPolicy) -> None:
    policy.begin_attempt()
    policy.record_failure(AWAY)
    policy.back_off()


def test_waits_double_up_to_the_longest(policy: RetryPolicy, clock: ManualClock) -> None:
    for _ in range(7):
        fail(policy)
    assert clock.slept_s == [min(BACKOFF_S_MIN * 2**n, BACKOFF_S_MAX) for n in range(7)]


def test_the_error_is_raised_with_its_class_once_the_deadline_has_passed(
    policy: RetryPolicy, clock: ManualClock
) -> None:
    fail(policy)
    clock.now_s += 9.8
    fail(policy)
    with pytest.raises(DeliveryError, match=r"gave up after 10 s \(--broker-timeout\): refused"):
        policy.record_failure(DeliveryError("refused"))


def test_a_finished_batch_ends_an_outage(policy: RetryPolicy, clock: ManualClock) -> None:
    fail(policy)
    fail(policy)
    policy.end_outage()
    clock.now_s += 9.9
    fail(policy)
    assert clock.slept_s == [BACKOFF_S_MIN, 2 * BACKOFF_S_MIN, BACKOFF_S_MIN]


def test_polls_without_a_batch_do_not_end_an_outage(
    policy: RetryPolicy, clock: ManualClock
) -> None:
    fail(policy)
    for _ in range(9):
        clock.now_s += 1.0
        policy.begin_attempt()
    fail(policy)
    clock.now_s += 0.9
    with pytest.raises(BrokerUnavailableError, match="gave up"):
        fail(policy)


def test_a_failure_long_after_the_last_one_begins_a_new_outage(
    policy: RetryPolicy, clock: ManualClock
) -> None:
    fail(policy)
    clock.now_s += 10.0
    fail(policy)
    assert clock.slept_s == [BACKOFF_S_MIN, BACKOFF_S_MIN]


def test_it_is_logged_once_after_each_logged_outage_that_kafka_answers_again(
    policy: RetryPolicy, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    policy.log_answer()
    policy.end_outage()
    fail(policy)
    clock.now_s += 4.3
    fail(policy)
    policy.log_answer()
    policy.log_answer()
    fail(policy)  # so soon that it is not logged
    policy.end_outage()
    clock.now_s += LOG_EVERY_S
    fail(policy)
    policy.end_outage()
    policy.end_outage()

    # 0.1 and 0.2 s of waits, and the time between them.
    assert [record.getMessage().partition(" reason")[0] for record in caplog.records] == [
        "retrying",
        "connected-again after_s=5",
        "retrying",
        "connected-again after_s=0",
    ]


def test_lines_and_the_end_come_at_their_moment(
    policy: RetryPolicy, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    began_s = clock.now_s
    fail(policy)
    clock.now_s = began_s + LOG_EVERY_S
    policy.record_failure(AWAY)
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["retrying"] * 2
    clock.now_s = began_s + 10.0
    with pytest.raises(BrokerUnavailableError, match="gave up after 10 s"):
        policy.record_failure(AWAY)
