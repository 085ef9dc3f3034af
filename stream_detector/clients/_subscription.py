"""What a client was connected for, and what its caller may therefore not do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client reads, and under which identities.

    Parameters
    ----------
    topics
        Empty for a client that only produces.
    group
        Consumer group; None reads every partition of the topics and commits nothing.
    offset_reset
        "earliest" or "latest": where reading starts without a committed offset.
    transactional_id
        Makes the records and offsets of each commit one transaction. A later client with the same
        id fences this one.
    instance_id
        Kafka's `group.instance.id`: a member that returns under it gets its partitions back
        without a rebalance. Needs a group.
    """

    topics: tuple[str, ...] = ()
    group: str | None = None
    offset_reset: str = "earliest"
    transactional_id: str | None = None
    instance_id: str | None = None

    def __post_init__(self) -> None:
        if self.offset_reset not in ("earliest", "latest"):
            message = f"offset_reset must be earliest or latest, received {self.offset_reset!r}"
            raise ValueError(message)
        if self.instance_id is not None and self.group is None:
            message = f"instance_id {self.instance_id!r} needs a group to be a member of"
            raise ValueError(message)

    def require_topics(self) -> None:
        """Raise `ValueError` where the caller reads without having named a topic."""
        if not self.topics:
            message = "this client was connected without topics, so it can only produce"
            raise ValueError(message)

    def require_group(self) -> str:
        """Return the group, and raise `ValueError` where the caller commits without one."""
        if self.group is None:
            message = "this client was connected without a group, so it cannot commit"
            raise ValueError(message)
        return self.group


def require_no_transaction(*, is_open: bool) -> None:
    """Raise `ValueError` where the caller polls while a transaction is open.

    The offsets of the last poll are not committed yet, so a transaction over two polls could be
    neither finished nor retried.
    """
    if is_open:
        message = "a transaction is open; commit it, or reset the client, before the next poll"
        raise ValueError(message)
