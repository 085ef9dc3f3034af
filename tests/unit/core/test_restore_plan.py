"""What is committed with an offset reads back as it was, a jump of stream time included."""

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from sample_streams import Stream, batch_of, stream_of  # tests/support

from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.core.state.sample_state import NO_DIGEST, RestorePoint, SampleState
from stream_detector.core.windowing.keyed_state import Jump, name_of
from stream_detector.errors import StateError

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState

PLAN = RestorePlan(5, 1_000.25, 7, has_active_keys=True, digest="0" * 16, n_open_alerts=2)
ALERTING = (1, 1, 100, 50, 0, 500, 3, 1_000)


@pytest.mark.parametrize(
    "jump", [None, Jump(name_of(b"k"), 2_000.5, 3_000.0), Jump(2**64 - 1, 0, 0)]
)
def test_metadata_reads_back(jump: Jump | None) -> None:
    metadata = CommitMetadata(PLAN._replace(jump=jump), "1" * 64, 3)
    assert CommitMetadata.decode(metadata.encode(), "t[0]@7") == metadata
    assert ("jump" in orjson.loads(metadata.encode())) == (jump is not None)
    assert "rules" not in orjson.loads(metadata.encode())
    other = metadata._replace(rules="0123456789abcdef")
    assert CommitMetadata.decode(other.encode(), "t[0]@7") == other


@pytest.mark.parametrize("jump", [1, [1], [1, "x", 2], {"a": 1}, [None, 1, 2]])
def test_a_jump_that_no_one_wrote_is_refused(jump: object) -> None:
    fields = orjson.loads(CommitMetadata(PLAN, "1" * 64, 3).encode()) | {"jump": jump}
    with pytest.raises(StateError, match="metadata of another program"):
        CommitMetadata.decode(orjson.dumps(fields).decode(), "t[0]@7")


def samples(*offsets: int) -> list[tuple[int, int, int, int, str, list[tuple[int, float, float]]]]:
    """Return one sample a record, each so many intervals behind where it should be."""
    return [(0, 0, behind, 0, "json", [(1, 0.1, 0.1)]) for behind in offsets]


def test_a_held_sample_is_part_of_the_digest_and_comes_back() -> None:
    detector = Stream(4, 4, 0, 100_000, ALERTING, "hold").detector(5)
    sent = stream_of(samples(*[0] * 40, -100_000))
    state: DetectorState = detector.initial_state().open_partition(0, 0)
    digests, plan = [], RestorePlan.nothing(0)
    for at in range(len(sent)):
        step = detector.step(state, batch_of(sent[at : at + 1], at))
        state, plans = step.state.restore_plans({0: at + 1})
        plan = plans[0]
        digests.append(plan.digest)
    assert len(set(digests)) == len(digests)
    assert plan.offset > 0
    restored: DetectorState = detector.initial_state().open_partition(0, plan.offset, plan)
    rows = list(range(plan.offset, len(sent)))
    restored = detector.replay(restored, batch_of([sent[row] for row in rows], offsets=rows))
    restored = restored.finish_restore(0, len(sent), plan)  # compares the digest
    for each in (state, restored):
        assert isinstance(each, SampleState)
        held = each.windows.apply_delta().held
        assert held.times_ms.tolist() == [1_767_225_600_410 + 1_000_000]
        assert held.values.shape == (1, 2)


@pytest.mark.parametrize(("refused_at", "is_exact"), [(4, True), (5, False)])
def test_a_digest_is_of_a_past_without_refused_records(refused_at: int, is_exact: bool) -> None:
    detector = Stream(4, 4, 0, 100_000, ALERTING, "hold").detector(5)
    state = detector.initial_state().open_partition(0, 5)
    assert isinstance(state, SampleState)
    _, plans = replace(state, refused_at={0: refused_at}).restore_plans({0: 6})
    assert plans[0].offset == 5
    assert (plans[0].digest != NO_DIGEST) is is_exact


@pytest.mark.parametrize(("behind_ms", "score_from"), [(0.0, 3), (1 / 16, 9)])
def test_the_last_values_of_features_come_back_from_before_them(
    behind_ms: float, score_from: int
) -> None:
    detector = Stream(4, 4, 0, 100_000, ALERTING, "hold", no_data_ms=50).detector(5)
    sent = stream_of(samples(*[0] * 10))
    state = detector.step(detector.initial_state().open_partition(0, 0), batch_of(sent)).state
    assert isinstance(state, SampleState)
    at_ms = state.windows.apply_delta().stream_times_ms[0] - behind_ms
    points = (RestorePoint(3, 0), RestorePoint(9, at_ms), RestorePoint(10, at_ms))
    _, plans = replace(state, restore_points={0: points}).restore_plans({0: 10})
    assert plans[0].score_from_offset == score_from


@pytest.mark.parametrize(("next_offset", "offsets"), [(5, [5]), (6, [5, 6])])
def test_a_restore_point_is_behind_the_one_before(next_offset: int, offsets: list[int]) -> None:
    detector = Stream(4, 4, 0, 100_000, ALERTING, "hold").detector(5)
    state, _ = detector.initial_state().open_partition(0, 5).restore_plans({0: next_offset})
    assert isinstance(state, SampleState)
    assert [each.offset for each in state.restore_points[0]] == offsets
