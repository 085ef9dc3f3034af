"""A batch that Kafka does not accept is held, and the outcome is as without the failure.

For both shapes of records, both kinds of delivery, every batch and every call that can fail.
"""

import re
from collections.abc import Callable, Set
from functools import partial
from typing import Any

import pytest
from delivery_service import (  # tests/support
    GROUP,
    assert_complete,
    broker_of,
    change_after,
    service_on,
    undisturbed_broker,
)
from delivery_stream import DELIVERIES, N_PARTITIONS, SHAPES

from stream_detector.clients.memory import PAUSE, Fault, Item
from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import BrokerError, DeliveryError, FencedError
from stream_detector.service import Service

REFUSED = DeliveryError("not enough in-sync replicas")

each_shape = pytest.mark.parametrize("shape", SHAPES)
each_delivery = pytest.mark.parametrize("delivery", DELIVERIES)


def places(delivery: str) -> list[tuple[Any, int, bool]]:
    """Return every call after which a batch can be held."""
    numbers = {"produce": 7, "flush": 7}
    numbers |= {"commit": 18} if delivery == "at_least_once" else {}
    return [
        (operation, nth, is_after)
        for operation, n_calls in numbers.items()
        for nth in range(1, n_calls + 1)
        for is_after in (False, True)
    ]


@each_shape
@each_delivery
def test_a_refused_delivery_is_retried_until_it_is_accepted(delivery: str, shape: str) -> None:
    effects: tuple[Item | BrokerError, ...] = (REFUSED, PAUSE, REFUSED)
    for operation, nth, is_after in places(delivery):
        broker = broker_of(shape)
        broker.faults = [
            Fault(operation, effect, nth + again, is_after) for again, effect in enumerate(effects)
        ]
        totals = service_on(broker, shape, delivery).run()
        assert totals.n_retries == 3
        assert broker.n_calls["committed"] == 1, "a partition was restored"
        assert_complete(broker, shape, delivery)
        # They hold digests: the state is the same, too.
        assert broker.committed[GROUP] == undisturbed_broker(shape).committed[GROUP]


def at_each_sleep(service: Service, *changes: Callable[[], object]) -> None:
    """Make one change at each wait while a batch is held."""
    left = iter(changes)

    def change() -> None:
        next(left, lambda: None)()

    service.context.clock.on_sleep = change  # type: ignore[attr-defined]


# With 70 records a poll, the second batch holds records of both partitions.
BATCHES = [(10, nth) for nth in range(1, 8)] + [(70, 1), (70, 2)]


@each_shape
@each_delivery
@pytest.mark.parametrize("n_done", [1, 4])
def test_a_held_batch_is_dropped_if_a_partition_of_it_was_revoked_and_assigned_again(
    n_done: int, delivery: str, shape: str
) -> None:
    for n_records, nth in BATCHES:
        broker = broker_of(shape)
        broker.faults = [Fault("flush", REFUSED, nth)]
        service = service_on(broker, shape, delivery, poll_records_max=n_records)
        other = service_on(broker, shape, delivery, instance_id="other", poll_records_max=4)
        change_after(other, n_done, other.stop)
        at_each_sleep(service, other.run)
        assert service.run().n_retries == 1
        assert other.totals.n_batches == n_done
        assert_complete(broker, shape, delivery)


@each_shape
@each_delivery
def test_a_partition_that_is_revoked_and_assigned_again_while_a_batch_is_held_changes_nothing(
    delivery: str, shape: str
) -> None:
    for n_records, nth in BATCHES:
        broker = broker_of(shape)
        broker.faults = [Fault("flush", REFUSED, nth + again) for again in range(4)]
        service = service_on(broker, shape, delivery, poll_records_max=n_records)
        other = broker.connect(topics=["telemetry"], group=GROUP)
        at_each_sleep(service, partial(other.poll, 1, 0), lambda: None, other.close)
        assert service.run().n_retries == 4
        assert_complete(broker, shape, delivery)


@each_delivery
def test_partitions_added_while_a_batch_is_held_make_all_keys_warm_up(delivery: str) -> None:
    broker = broker_of("windows")
    broker.faults = [Fault("flush", REFUSED, 2), Fault("flush", REFUSED, 3)]
    service = service_on(broker, "windows", delivery, accept_repartition=True)
    at_each_sleep(service, partial(broker.add_partitions, "telemetry", N_PARTITIONS + 1))
    assert service.run().n_retries >= 1
    assert_complete(broker, "windows", delivery)


@each_delivery
def test_nothing_is_read_and_no_partition_is_lost_while_a_batch_is_held(delivery: str) -> None:
    broker = broker_of("samples")
    broker.faults = [Fault("flush", REFUSED, 3 + again) for again in range(5)]
    service = service_on(broker, "samples", delivery)
    polled: list[tuple[int, Set[TopicPartition]]] = []
    poll, everything = service.context.client.poll, service.context.client.assignment

    def watched_poll(n_records_max: int, timeout_ms: int) -> RecordBatch:
        batch = poll(n_records_max, timeout_ms)
        if service._held is not None:
            polled.append((len(batch), everything()))
        return batch

    service.context.client.poll = watched_poll  # type: ignore[method-assign]
    service.run()
    both = {TopicPartition("telemetry", number) for number in range(N_PARTITIONS)}
    assert polled == [(0, both)] * 5


def test_a_sink_that_accepts_nothing_ends_the_process_with_exit_code_4(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = broker_of("windows")
    broker.faults = [Fault("flush", REFUSED, nth) for nth in range(1, 1_000)]
    with pytest.raises(DeliveryError) as caught:
        service_on(broker, "windows", "exactly_once").run()
    said = r"gave up after 6[0-2] s \(--broker-timeout\): not enough in-sync replicas"
    assert re.fullmatch(said, str(caught.value))
    assert caught.value.exit_code == 4
    assert "retrying" in caplog.text
    assert not broker.committed[GROUP]


@each_delivery
def test_a_group_that_is_lost_while_a_batch_is_held_is_joined_again(delivery: str) -> None:
    broker = broker_of("samples")
    broker.faults = [Fault("flush", REFUSED, 3), Fault("flush", REFUSED, 4)]
    service = service_on(broker, "samples", delivery)
    at_each_sleep(
        service, lambda: broker.faults.append(Fault("poll", PAUSE, broker.n_calls["poll"] + 1))
    )
    assert service.run().n_retries == 3
    assert broker.n_calls["committed"] == 2
    assert_complete(broker, "samples", delivery)


def test_a_process_that_holds_a_batch_ends_when_it_is_fenced() -> None:
    broker = broker_of("samples")
    broker.faults = [Fault("flush", REFUSED, 3)]
    service = service_on(broker, "samples", "exactly_once")
    heir = service_on(broker, "samples", "exactly_once")
    at_each_sleep(service, partial(heir.context.client.committed, []))
    with pytest.raises(FencedError):
        service.run()
    heir.run()
    assert_complete(broker, "samples", "exactly_once")


@each_delivery
def test_stop_leaves_a_held_batch_to_the_next_start(delivery: str) -> None:
    broker = broker_of("samples")
    broker.faults = [Fault("flush", REFUSED, nth) for nth in range(2, 1_000)]
    service = service_on(broker, "samples", delivery)
    at_each_sleep(service, lambda: None, service.stop)
    assert service.run().n_retries == 2
    broker.faults = []
    service_on(broker, "samples", delivery).run()
    assert_complete(broker, "samples", delivery)


@each_delivery
def test_a_process_that_joins_again_while_a_batch_is_held_is_not_idle_without_partitions(
    delivery: str,
) -> None:
    broker = broker_of("windows")
    broker.faults = [Fault("flush", REFUSED, 2)]
    service = service_on(broker, "windows", delivery)
    client, nothing = service.context.client, broker.connect(topics=["alerts"]).poll(1, 0)
    polls_without = [nothing] * 200  # longer than the time after which it stops when idle
    poll = client.poll

    def leave() -> None:
        client.reset()
        client.poll = wait  # type: ignore[method-assign]

    def wait(n_records_max: int, timeout_ms: int) -> RecordBatch:
        return polls_without.pop() if polls_without else poll(n_records_max, timeout_ms)

    at_each_sleep(service, leave)
    service.run()
    assert_complete(broker, "windows", delivery)
