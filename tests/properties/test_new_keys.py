"""Keys that training did not know get a scale: the same one however a stream is cut or restored."""

from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import orjson
from detectors import make_sample_detector
from drawing import one_of_each
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.new_keys import n_places
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.core.windowing.rules import WindowRules

START_MS = 1_767_225_600_000
ALERTING = AlertRules(1, 1, 60_000, 40, 0, 100, 10, 100, (("warning", 1.0),))

# Key, intervals since the record before it, number of samples, and their values in turn.
PLANS = st.lists(
    one_of_each(
        [0, 0, 1, 1, 2, 3],
        [0, 0, 1, 1, 4, 4, 9, 30],
        range(1, 10),
        [(0.0,), (0.1, 0.3), (0.2,), (1.0, 0.0), (50.0,), (None, 0.1)],
    ),
    min_size=20,
    max_size=80,
)
SIZES = st.lists(st.integers(1, 25), min_size=1, max_size=40)
Plan = tuple[int, int, int, tuple[float | None, ...]]


class Record(NamedTuple):
    """What a key sends, and when."""

    key: bytes
    times_ms: list[int]
    values: list[float | None]


def records_of(plans: list[Plan]) -> list[Record]:
    now_ms, records = START_MS, []
    last_ms: dict[int, int] = {}
    for number, gap, n_samples, values in plans:
        now_ms += 10 * gap
        first_ms = max(now_ms, last_ms.get(number, 0) + 10)
        times_ms = [first_ms + 10 * at for at in range(n_samples)]
        last_ms[number] = times_ms[-1]
        some = list(islice(cycle(values), n_samples))
        records.append(Record(b"k%d" % number, times_ms, some))
    return records


def detector_of(n_features: int, warm_up: int, lateness_ms: float) -> SampleDetector:
    """Return a detector that knows the key 0; new keys have one place where features are many."""
    rules = WindowRules(3, n_features, 2, 10, 40, lateness_ms, "hold", 0.5, 400)
    ones = np.ones((1, n_features), np.float32)
    names = Features.generated(n_features).names
    features = Features(names, (), KeyScales([b"k0"], 0 * ones, ones), warm_up)
    return make_sample_detector(rules, ALERTING, features=features)


def batch_of(records: list[Record], n_features: int, rows: range) -> RecordBatch:
    metadata = [
        RecordMetadata("t", 0, row, records[row].times_ms[-1], records[row].key, ()) for row in rows
    ]
    values = [
        orjson.dumps(
            {
                "values": [[value] * n_features for value in records[row].values],
                "timestamps_ms": records[row].times_ms,
            }
        )
        for row in rows
    ]
    return RecordBatch.from_columns(
        "t", values, series_columns(metadata), np.array(list(rows), np.int64)
    )


def run(
    detector: SampleDetector,
    state: DetectorState,
    records: list[Record],
    sizes: list[int],
    start: int = 0,
) -> tuple[DetectorState, list[Step], RestorePlan]:
    steps, plan, end = [], RestorePlan.nothing(start), start
    n_features, left = detector.windows.n_features, list(sizes)
    while end < len(records):
        rows = range(end, min(len(records), end + (left.pop() if left else 9)))
        step = detector.step(state, batch_of(records, n_features, rows))
        end = rows.stop
        state, plans = step.state.restore_plans({0: end})
        plan = plans[0]
        steps.append(step)
    return state, steps, plan


def restored(
    detector: SampleDetector, records: list[Record], end: int, plan: RestorePlan, sizes: list[int]
) -> DetectorState:
    n_features, left = detector.windows.n_features, list(sizes)
    text = CommitMetadata(plan, "0" * 64, 12).encode()
    assert len(text) < 4_000
    plan = CommitMetadata.decode(text, "here").restore_plan
    state: DetectorState = detector.initial_state().open_partition(0, plan.offset, plan)
    at = plan.offset
    while at < end:
        if at == plan.score_from_offset:
            state = state.start_scoring(0, plan)
        barriers = [each for each in (plan.score_from_offset, end) if each > at]
        rows = range(at, min(at + (left.pop() if left else 5), *barriers))
        batch = batch_of(records, n_features, rows)
        if plan.has_active_keys and at >= plan.score_from_offset:
            state = detector.step(state, batch).state
        else:
            state = detector.replay(state, batch)
        at = rows.stop
    return state.finish_restore(0, end, plan)  # raises where the digest differs


def scores_of(steps: list[Step]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for step in steps:
        assert step.scores.end_ms is not None
        ends = step.scores.end_ms.tolist()
        found += zip(ends, step.scores.scores.tolist(), strict=True)
    return found


FLEETS = st.tuples(
    st.sampled_from([1, 2, 200, 320]),
    st.sampled_from([1, 2, 5, 9, 20]),
    st.sampled_from([0.0, 20.0]),
)


def test_features_decide_how_many_new_keys_have_a_place() -> None:
    assert [n_places(each) for each in (1, 2, 200, 320)] == [159, 106, 1, 0]


@given(plans=PLANS, fleet=FLEETS, sizes=SIZES)
def test_scores_do_not_depend_on_where_batches_are_cut(
    plans: list[Plan], fleet: tuple[int, int, float], sizes: list[int]
) -> None:
    records = records_of(plans)
    detector = detector_of(*fleet)
    begun = detector.initial_state().open_partition(0, 0)
    _, steps, _ = run(detector, begun, records, sizes)
    whole = detector.step(
        detector.initial_state(), batch_of(records, fleet[0], range(len(records)))
    )
    assert scores_of(steps) == scores_of([whole])
    for name in ("new_keys", "fitted_keys"):
        cut = [key for step in steps for key in getattr(step, name)]
        assert sorted(cut) == sorted(getattr(whole, name))
        assert len(cut) == len(set(cut)) <= n_places(fleet[0])
    for kind in ("windows", "records"):
        counted = [getattr(step.counts, kind) for step in steps]
        for name, n in getattr(whole.counts, kind).items():
            assert sum(each.get(name, 0) for each in counted) == n
    assert [each.alert for step in steps for each in step.alerts] == [
        each.alert for each in whole.alerts
    ]
    event(f"fitted: {len(whole.fitted_keys)}")


def long_plans(seed: int, shares: list[float], n_samples_max: int) -> list[Plan]:
    """Return a stream that is so long, and so quiet, that a replay need not begin at its start."""
    random = np.random.default_rng(seed)
    weights = np.array(shares) / sum(shares)
    return [
        (
            int(random.choice(4, p=weights)),
            int(random.choice([1, 3, 5])),
            int(random.integers(1, n_samples_max + 1)),
            tuple((0.3 * random.normal(size=5)).tolist()) if random.uniform() < 0.98 else (50.0,),
        )
        for _ in range(200)
    ]


SHARES = st.lists(st.sampled_from([0.02, 0.1, 1.0]), min_size=4, max_size=4)


@settings(max_examples=80)
@given(
    plans=PLANS | st.tuples(st.integers(0, 2**32 - 1), SHARES, st.sampled_from([1, 2, 8])),
    fleet=FLEETS,
    sizes=SIZES,
    again=SIZES,
    cut=st.floats(0.05, 1),
)
def test_a_restored_detector_continues_as_the_one_before(
    plans: list[Plan] | tuple[int, list[float], int],
    fleet: tuple[int, int, float],
    sizes: list[int],
    again: list[int],
    cut: float,
) -> None:
    records = records_of(long_plans(*plans) if isinstance(plans, tuple) else plans)
    detector, end = detector_of(*fleet), max(1, int(cut * len(records)))
    begun = detector.initial_state().open_partition(0, 0)
    state, _, plan = run(detector, begun, records[:end], sizes)
    back = restored(detector, records, end, plan, again)
    event(f"replayed {10 * (end - plan.offset) // end / 10}, scales {bool(plan.scales)}")
    # Once more, from what the restored one commits.
    middle = (end + len(records)) // 2
    state, steps, _ = run(detector, state, records[:middle], sizes, end)
    back, same, plan = run(detector, back, records[:middle], again, end)
    assert scores_of(steps) == scores_of(same)
    if middle > end:
        back = restored(detector, records, middle, plan, sizes)
    _, steps, _ = run(detector, state, records, sizes, middle)
    _, same, _ = run(detector, back, records, again, middle)
    assert scores_of(steps) == scores_of(same)
    assert [each.alert for step in steps for each in step.alerts] == [
        each.alert for step in same for each in step.alerts
    ]
