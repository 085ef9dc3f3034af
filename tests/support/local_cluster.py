"""Several brokers of `local_kafka` that are one Kafka, so that any one of them may die."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import kafka
from confluent_kafka.admin import AdminClient
from kafka.protocol.metadata import CoordinatorType
from local_kafka import START_TIMEOUT_S, LocalKafka, LocalKafkaError

SETTINGS = {
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "2000",
    "replica.lag.time.max.ms": "3000",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
}
"""Shorter waits than Kafka's own, and a coordinator on every broker."""

COPIED = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)
ACKNOWLEDGED = (
    "min.insync.replicas",
    "transaction.state.log.min.isr",
    "share.coordinator.state.topic.min.isr",
)


class LocalKafkaCluster:
    """Brokers with a copy of everything on each; all but one must have a record to acknowledge it.

    Parameters
    ----------
    brokers
        None of them started yet. With a single one there is nothing to copy.
    """

    def __init__(self, brokers: Sequence[LocalKafka]) -> None:
        self._brokers = dict(enumerate(brokers, start=1))
        self.bootstrap_servers = ",".join(broker.bootstrap_servers for broker in brokers)
        shared = {
            "controller.quorum.voters": ",".join(
                f"{number}@{broker.controller}" for number, broker in self._brokers.items()
            ),
            **dict.fromkeys(COPIED, str(len(brokers))),
            **dict.fromkeys(ACKNOWLEDGED, str(max(1, len(brokers) - 1))),
        }
        for number, broker in self._brokers.items():
            broker.settings = SETTINGS | shared | {"node.id": str(number)} | broker.settings

    def __enter__(self) -> Self:
        try:
            for broker in self:  # one alone has no majority, so none of them waits for itself
                broker.launch()
            for broker in self:  # the first one names the others, ready or not
                broker.wait_started()
            for broker in self:
                broker.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[LocalKafka]:
        return iter(self._brokers.values())

    def close(self) -> None:
        """Crash every broker that still runs, and delete their data."""
        for broker in self:
            broker.close()

    def leader_of(self, topic: str, partition: int) -> LocalKafka:
        """Return the broker that clients read a partition from and write it to."""
        (described,) = self._ask(lambda admin: admin.describe_topics([topic]))
        (leader,) = (
            each["leader_id"]
            for each in described["partitions"]
            if each["partition_index"] == partition
        )
        return self._brokers[leader]

    def group_coordinator(self, group: str) -> LocalKafka:
        """Return the broker that keeps a group's members and offsets."""
        return self._coordinator(group, CoordinatorType.GROUP)

    def transaction_coordinator(self, transactional_id: str) -> LocalKafka:
        """Return the broker that ends the transactions of an id."""
        return self._coordinator(transactional_id, CoordinatorType.TRANSACTION)

    def wait_in_sync(self) -> None:
        """Wait until every broker has all that the others have: until then none may go as well."""
        _wait_until_none("replicas that are behind", self._partitions_behind)

    def wait_known(self, topic: str) -> None:
        """Wait until every broker knows a topic: each hears of it in its own time."""
        _wait_until_none(f"brokers that do not know {topic}", lambda: self._unaware_of(topic))

    def _unaware_of(self, topic: str) -> list[str]:
        """Return the addresses of brokers that do not know a topic."""
        # A client that is new has a connection to the one broker that it was given, and asks that.
        return [
            address
            for address in (broker.bootstrap_servers for broker in self)
            if AdminClient({"bootstrap.servers": address})
            .list_topics(topic, timeout=START_TIMEOUT_S)
            .topics[topic]
            .error
            is not None
        ]

    def _partitions_behind(self) -> list[str]:
        """Return the partitions that are not on every broker yet."""
        return [
            f"{topic['name']}[{each['partition_index']}]"
            for topic in self._ask(lambda admin: admin.describe_topics())
            for each in topic["partitions"]
            if set(each["isr_nodes"]) != set(each["replica_nodes"])
        ]

    def _coordinator(self, name: str, kind: CoordinatorType) -> LocalKafka:
        # The library's public calls ask the coordinator something and do not say which it was.
        number = self._ask(lambda admin: admin._manager.run(admin._find_coordinator_id, name, kind))
        return self._brokers[int(number)]

    def _ask(self, what: Callable[[Any], Any]) -> Any:
        admin = kafka.KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        try:
            return what(admin)
        finally:
            admin.close()


def _wait_until_none(what: str, ask: Callable[[], list[str]]) -> None:
    """Ask until there is none left; raises with those that are."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while left := ask():
        if time.monotonic() > deadline_s:
            raise LocalKafkaError(f"there are still {what}: {', '.join(left)}")
        time.sleep(0.2)
