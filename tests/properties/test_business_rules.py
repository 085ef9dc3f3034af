"""Business rules can only remove: windows above the threshold, and with them alerts."""

from dataclasses import replace
from typing import Any

import numpy as np
from check_scorers import make_scorer as make_check_scorer
from check_scorers import normal_windows
from detectors import make_window_detector
from hypothesis import event, given, settings
from hypothesis import strategies as st
from restoring import begun, replayed, run
from sample_streams import (
    FLOAT32,
    PLANS,
    SIZES,
    STREAMS,
    Sent,
    Stream,
    batch_of,
    published_by,
    shrink,
    stream_of,
)

from stream_detector.core.features import Features
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.business_rules import BusinessRules, FeatureRule

DIGEST = "d" * 16
RULES = st.builds(
    FeatureRule,
    direction=st.sampled_from(["above", "below", "both"]),
    deviation_min=st.sampled_from([0.0, 0.0, 0.5, 5.0]),
    relative_deviation_min=st.sampled_from([0.0, 0.0, 0.1, 2.0]),
    valid=st.sampled_from([None, None, None, (-1.0, 1.0), (-np.inf, 3.0), (0.2, np.inf)]),
    is_ignored=st.sampled_from([False] * 4 + [True]),
)


def ruled(detector: SampleDetector, rules: tuple[FeatureRule, ...]) -> SampleDetector:
    own = BusinessRules(rules, detector.features)
    return replace(detector, rules=own, rules_digest=DIGEST)


def scores_of(published: tuple[Any, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.frombuffer(published[1])


@settings(max_examples=40)
@given(plans=PLANS, stream=STREAMS, sizes=SIZES, rules=st.tuples(RULES, RULES))
def test_rules_take_windows_away_and_add_none(
    plans: list[Any], stream: Stream, sizes: list[int], rules: tuple[FeatureRule, ...]
) -> None:
    sent, plain = stream_of(plans), stream.detector(5)
    detector = ruled(plain, rules)
    of_plain, of_ruled, of_parts = (
        published_by(run(each, begun(each, sent), sent, 0, cut)[1])
        for each, cut in ((plain, [len(sent)]), (detector, [len(sent)]), (detector, list(sizes)))
    )
    assert of_parts == of_ruled
    before, after, threshold = scores_of(of_plain), scores_of(of_ruled), plain.scorer.threshold
    assert (after <= before).all()
    is_normal = before <= threshold
    assert after[is_normal].tolist() == before[is_normal].tolist()
    anomalous = {
        (record, end_ms)
        for record, end_ms, score in zip(of_plain[0], of_plain[3], before.tolist(), strict=True)
        if score > threshold
    }
    for record, alert, _ in of_ruled[4]:
        assert alert.rules_digest == DIGEST
        if alert.event == "open" and alert.score is not None:
            assert (record, alert.event_time_ms) in anomalous
    event(f"removed: {min(3, int(((before > threshold) & (after <= threshold)).sum()))}")
    event(f"left: {min(3, int((after > threshold).sum()))}")


@settings(max_examples=20)
@given(
    plans=PLANS,
    stream=STREAMS,
    sizes=SIZES,
    again=SIZES,
    cut=st.floats(0.3, 1),
    rules=st.tuples(RULES, RULES),
)
def test_a_restart_changes_nothing(
    plans: list[Any],
    stream: Stream,
    sizes: list[int],
    again: list[int],
    cut: float,
    rules: tuple[FeatureRule, ...],
) -> None:
    sent, detector = stream_of(plans), ruled(stream.detector(5), rules)
    end = max(1, int(len(sent) * cut))
    state, _, committed = run(detector, begun(detector, sent), sent[:end], 0, list(sizes))
    restored = replayed(detector, sent, committed, list(again))
    for partition in {each.partition for each in sent} - set(committed):
        restored = restored.open_partition(partition, 0)
    rest = [run(detector, each, sent, end, []) for each in (state, restored)]
    if end < len(sent):
        assert published_by(rest[0][1]) == published_by(rest[1][1])


SCORER = make_check_scorer()


@settings(max_examples=40)
@given(
    rules=st.tuples(RULES, RULES, RULES),
    shifts=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 39), st.sampled_from([-6.0, -1.0, 2.0, 6.0])),
        max_size=6,
    ),
    n=st.integers(1, 9),
)
def test_checks_are_taken_away_and_added_nowhere(
    rules: tuple[FeatureRule, ...], shifts: list[Any], n: int
) -> None:
    windows = normal_windows(12, seed=3)
    for row, (feature, step, by) in enumerate(shifts):
        windows[row, step:, feature] += by
    found, own = SCORER.score(windows), BusinessRules(rules, Features.generated(3))
    left = own.apply(found, 1.0).scores
    assert (left <= found.scores).all()
    assert left[found.scores <= 1].tolist() == found.scores[found.scores <= 1].tolist()
    parts = [windows[at : at + n] for at in range(0, len(windows), n)]
    alone = [own.apply(SCORER.score(part), 1.0).scores for part in parts]
    assert np.concatenate(alone).tolist() == left.tolist()


@settings(max_examples=30)
@given(
    values=st.lists(
        st.lists(st.sampled_from([-4.0, -0.2, 0.0, 0.1, 2.0, 9.0]), min_size=4, max_size=4),
        min_size=1,
        max_size=9,
    ),
    rule=RULES,
)
def test_whole_windows_have_the_scores_of_a_file(values: list[list[float]], rule: Any) -> None:
    rules = BusinessRules([rule], Features.generated(1))
    detector = make_window_detector(reconstruct=shrink, rules=rules, rules_digest=DIGEST)
    windows = np.array(values, np.float32)[:, :, np.newaxis]
    sent = [Sent(0, b"k", 0, each.astype("<f4").tobytes(), FLOAT32, 4) for each in windows]
    step = detector.step(detector.initial_state(), batch_of(sent))
    assert step.scores.scores.tolist() == detector.score(windows).tolist()
    assert len(step.alerts) == int((step.scores.scores > 1).sum())
    assert {each.alert.rules_digest for each in step.alerts} <= {DIGEST}
