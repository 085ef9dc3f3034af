"""Notice that another bundle commits offsets in the consumer group of this process.

The members of a group share the records of a topic. Where they have different bundles, each record
is judged by one of them only, and which one that is changes with every rebalance. While a bundle is
replaced this is so for a moment; otherwise it is a mistake that nothing else shows.

Every commit names the bundle that made it. Commits are looked at when partitions are assigned, and
once more a little after partitions were revoked: the member that reads them now has committed by
then if its bundle is another one (`stream_detector.service.takeover`).
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from stream_detector.core.records import OffsetAndMetadata, TopicPartition
from stream_detector.core.state.restore_plan import CommitMetadata
from stream_detector.errors import StateError
from stream_detector.service.assignment import describe_partitions
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event

LOOK_AFTER_S = 15.0
"""Time from the loss of partitions until their commits are looked at: a new owner has taken over
by then, as a rebalance takes a few seconds."""

_REPLACED = (
    "it was replaced by this one, or it still runs: then give each bundle a group of its own, "
    "since members of a group share the records"
)
_SHARED = (
    "two bundles run in one group, so each judges only a part of the records: give each bundle a "
    "group of its own, or, if this is an upgrade, restart this process with the new bundle"
)


class GroupWatch:
    """Logs which partitions were committed by another bundle.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        # By whose bundle each partition was committed when this process last looked.
        self._versions: dict[TopicPartition, str | None] = {}
        self._revoked: set[TopicPartition] = set()
        self._look_at_s: float | None = None

    def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Note partitions that another member reads now, to look at their commits later."""
        self._revoked |= set(partitions)
        if self._revoked:
            self._look_at_s = self._context.clock.monotonic_s() + LOOK_AFTER_S

    def on_assigned(self, committed: Mapping[TopicPartition, OffsetAndMetadata | None]) -> None:
        """Look at the commits of partitions that are assigned now."""
        self._report(committed)
        self._revoked -= set(committed)

    def on_taken_over(self, partitions: Iterable[TopicPartition]) -> None:
        """Note that this process has committed the offsets of partitions."""
        self._versions |= dict.fromkeys(partitions, self._context.detector.bundle.version)

    def look(self) -> None:
        """Look at the commits of revoked partitions, once, when it is time.

        Raises
        ------
        BrokerError
            If the broker does not answer.
        """
        if self._look_at_s is None or self._context.clock.monotonic_s() < self._look_at_s:
            return
        self._look_at_s = None
        revoked, self._revoked = self._revoked, set()
        self._report(self._context.client.committed(revoked))

    def _report(self, committed: Mapping[TopicPartition, OffsetAndMetadata | None]) -> None:
        """Log which of these commits are another bundle's, one line for each bundle."""
        bundle = self._context.detector.bundle
        group = self._context.settings.group_of(bundle.name)
        others: defaultdict[tuple[str, bool], list[TopicPartition]] = defaultdict(list)
        for each, checkpoint in committed.items():
            metadata = commit_metadata(each, checkpoint)
            version = None if metadata is None else metadata.bundle_version
            is_new = each in self._versions and self._versions[each] != version
            self._versions[each] = version
            if version is not None and version != bundle.version:
                others[version, is_new].append(each)
        for (version, is_new), partitions in others.items():
            where = describe_partitions(partitions)
            if is_new:  # it committed after this process had these partitions, so both run
                log_event(
                    logging.ERROR,
                    "group-shared",
                    group=group,
                    committed_by=version[:12],
                    partitions=where,
                    reason=_SHARED,
                )
            else:
                log_event(
                    logging.WARNING,
                    "bundle-changed",
                    group=group,
                    committed_by=version[:12],
                    partitions=where,
                    reason=_REPLACED,
                )


def commit_metadata(
    partition: TopicPartition, checkpoint: OffsetAndMetadata | None
) -> CommitMetadata | None:
    """Return what a detector committed with an offset, None where no detector did."""
    if checkpoint is None or not checkpoint.metadata:
        return None
    try:
        return CommitMetadata.decode(checkpoint.metadata, str(partition))
    except StateError:
        return None
