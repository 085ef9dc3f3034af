"""Another bundle's commits in the group: seen when partitions are assigned or lost."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from stream_detector.clients.memory import MemoryBroker, MemoryClient
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import BundleReference, OffsetAndMetadata, TopicPartition
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.service.context import RunContext
from stream_detector.service.group_watch import LOOK_AFTER_S, GroupWatch
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics

FIRST, SECOND = (TopicPartition("telemetry", number) for number in range(2))
OWN, OTHER = "v1", "f" * 64


class StillClock:
    """A clock that stands until it is set."""

    now_s = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def committed_by(version: str) -> OffsetAndMetadata:
    return OffsetAndMetadata(7, CommitMetadata(RestorePlan.nothing(7), version, 2).encode())


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 2)
    return broker


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def watch(
    broker: MemoryBroker, clock: StillClock, make_detector: Callable[..., WindowDetector]
) -> GroupWatch:
    client: MemoryClient = broker.connect(topics=["telemetry"], group="stream-detector-pumps")
    detector = replace(make_detector(), bundle=BundleReference("pumps", OWN))
    return GroupWatch(RunContext(client, detector, DetectSettings(), Metrics(), clock))


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Return level, event and partitions of each line, which names the group and the bundle."""
    found = []
    for record in caplog.records:
        event, group, bundle, partitions, _ = record.getMessage().split(" ", 4)
        assert (group, bundle) == ("group=stream-detector-pumps", f"committed_by={OTHER[:12]}")
        found.append((record.levelname, event, partitions))
    caplog.clear()
    return found


def test_a_commit_of_another_bundle_is_a_warning_at_first(
    watch: GroupWatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.on_assigned({FIRST: committed_by(OTHER), SECOND: committed_by(OTHER)})
    assert "give each bundle a group of its own" in caplog.text
    assert events(caplog) == [("WARNING", "bundle-changed", "partitions=telemetry[0-1]")]
    watch.on_assigned({FIRST: committed_by(OTHER)})  # nothing new: this process has not committed
    assert events(caplog) == [("WARNING", "bundle-changed", "partitions=telemetry[0]")]


@pytest.mark.parametrize(
    "committed", [committed_by(OWN), None, OffsetAndMetadata(7), OffsetAndMetadata(7, "other")]
)
def test_other_commits_are_no_matter(
    watch: GroupWatch, committed: OffsetAndMetadata | None, caplog: pytest.LogCaptureFixture
) -> None:
    watch.on_assigned({FIRST: committed})
    assert not caplog.records


def test_a_commit_of_another_bundle_after_ones_own_is_an_error(
    watch: GroupWatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.on_assigned({FIRST: committed_by(OWN), SECOND: None})
    watch.on_revoked([FIRST, SECOND])
    watch.on_assigned({FIRST: committed_by(OTHER), SECOND: committed_by(OTHER)})
    assert "two bundles run in one group" in caplog.text
    assert events(caplog) == [("ERROR", "group-shared", "partitions=telemetry[0-1]")]


def test_the_new_owner_of_lost_partitions_is_looked_at_once_and_later(
    watch: GroupWatch,
    broker: MemoryBroker,
    clock: StillClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch.on_assigned({FIRST: committed_by(OWN), SECOND: committed_by(OWN)})
    watch.on_revoked([SECOND])
    broker.committed["stream-detector-pumps"][SECOND] = committed_by(OTHER)
    clock.now_s = LOOK_AFTER_S - 0.01
    watch.look()
    assert not events(caplog)
    clock.now_s = LOOK_AFTER_S
    watch.look()
    assert events(caplog) == [("ERROR", "group-shared", "partitions=telemetry[1]")]
    clock.now_s *= 10
    watch.look()
    assert not events(caplog)


def test_an_owner_with_the_same_bundle_is_no_matter(
    watch: GroupWatch,
    broker: MemoryBroker,
    clock: StillClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch.on_assigned({FIRST: committed_by(OWN), SECOND: committed_by(OWN)})
    watch.on_revoked([SECOND])
    broker.committed["stream-detector-pumps"][SECOND] = committed_by(OWN)
    clock.now_s = LOOK_AFTER_S
    watch.look()
    assert not caplog.records


def test_nothing_is_asked_while_no_partition_was_lost(
    watch: GroupWatch, broker: MemoryBroker, clock: StillClock
) -> None:
    watch.on_assigned({FIRST: committed_by(OWN)})
    watch.on_revoked([])
    clock.now_s = 1_000
    watch.look()
    assert broker.n_calls["committed"] == 0
