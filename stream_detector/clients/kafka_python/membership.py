"""Mend what kafka-python does about a rebalance that ends while nobody polls.

The library joins a group in the background, and only a poll takes over what came of it. Four
things go wrong there (3.0.12), and here they are as in Java's client:

- A join that ended between two polls was thrown away, and the group joined again. Each time all
  members rebalance once more, and those that work long between polls, or poll briefly, may never
  get their partitions. Here the next poll takes it over.
- From the end of a join to the next poll no heartbeat was sent: a member that worked for longer
  than the session timeout was removed. Here they are sent from the end of the join on.
- A member that had been removed claimed its former partitions when it joined again. One that was
  to move on to another member waited for its former owner to revoke it, and nobody read it. Here
  a member claims what it has.
- Committed offsets that came after their poll had ended were kept, however long, until they were
  next asked for. Here they are forgotten with the assignment that they belong to.
"""

from typing import Any

from kafka.structs import MemberState


class GroupJoin:
    """How a consumer of the library joins its group.

    Parameters
    ----------
    coordinator
        Of the consumer; it is to call the methods here in place of its own.
    """

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator
        self._join_and_sync = coordinator._do_join_and_sync_async  # noqa: SLF001
        self._take_over = coordinator._on_join_complete_async  # noqa: SLF001
        self._finished_in: Any = None
        self._assignment: Any = None

    async def join_and_sync(self) -> Any:
        """Return the encoded assignment of the join that no poll has taken over yet, else join.

        A join that failed is tried again: a failure that stays comes back.
        """
        coordinator = self._coordinator
        # The generation is another object once the member has fallen out of the group.
        if self._finished_in is None or self._finished_in is not coordinator._generation:  # noqa: SLF001
            await self._claim_what_is_owned()
            self._assignment = await self._join_and_sync()
            self._finished_in = coordinator._generation  # noqa: SLF001
            coordinator.state = MemberState.STABLE
            coordinator._enable_heartbeat()  # noqa: SLF001
        return self._assignment

    async def take_over(self, *details: Any) -> None:
        """Take over an assignment; called within a poll."""
        self._finished_in = None
        forget_fetched_offsets(self._coordinator)
        await self._take_over(*details)

    async def _claim_what_is_owned(self) -> None:
        """Let the next join name the partitions that this member has, and no others."""
        coordinator = self._coordinator
        generation = coordinator._generation  # noqa: SLF001
        subscription = coordinator._subscription  # noqa: SLF001
        if generation.is_lost() and subscription.assigned_partitions():
            await coordinator._on_join_prepare_async(  # noqa: SLF001
                generation.generation_id, generation.member_id
            )
        owned = sorted(subscription.assigned_partitions())
        for assignor in coordinator._assignors.values():  # noqa: SLF001
            assignor.member_assignment = owned


def forget_fetched_offsets(coordinator: Any) -> None:
    """Let committed offsets be asked for from now on, whatever was asked before.

    Parameters
    ----------
    coordinator
        Of a consumer of the library.
    """
    coordinator._offset_fetch_futures.clear()  # noqa: SLF001


def mend_joins(consumer: Any) -> None:
    """Let a consumer join its group as `GroupJoin` does.

    Parameters
    ----------
    consumer
        Of the library, before its first poll.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    join = GroupJoin(coordinator)
    coordinator._do_join_and_sync_async = join.join_and_sync  # noqa: SLF001
    coordinator._on_join_complete_async = join.take_over  # noqa: SLF001
