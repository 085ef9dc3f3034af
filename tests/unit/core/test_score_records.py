"""Scores as records: what is written reads back, and of what a score is made."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from check_scorers import make_scorer as make_check_scorer
from check_scorers import normal_windows
from detectors import make_scorer, make_window_detector
from sample_streams import FLOAT32, START_MS, Sent, Stream, batch_of, stream_of

from stream_detector.core.features import Features
from stream_detector.core.records import OutputRecord
from stream_detector.core.results import ScoreDetails, Scores, Step
from stream_detector.core.score_records import (
    PublishedScore,
    ScoreFormat,
    decode_score,
    encode_scores,
)
from stream_detector.core.scoring.business_rules import BusinessRules, FeatureRule
from stream_detector.core.scoring.reconstruction_error import feature_errors
from stream_detector.core.scoring.scorer import ScoreParts, WindowScores
from stream_detector.errors import RecordDecodeError

NAMES = ("p", 'odd "%d" name')
KEYS: tuple[bytes | None, ...] = (b"pump-7", None, b'\xff"')
NUMBERS = np.array([0.1 + 0.2, 1e-300, 7.0])


def some_scores(rows: slice = slice(None)) -> Scores:
    parts = ScoreParts(
        ("shape", "peak"),
        np.array([[0.5, 1 / 3], [0, 2], [7.0, 1e30]])[rows],
        np.array([[0.25, 0.0], [2.0, 1.5], [7.0, 0.1]])[rows],
    )
    times = np.array([[START_MS, 5, -1], [START_MS + 50, 2**53 + 1, 0]])[:, rows]
    details = ScoreDetails(KEYS[rows], times[0], times[1], parts)
    return Scores(np.arange(3)[rows], NUMBERS[rows], 1.5, details=details)


def read(records: Sequence[OutputRecord]) -> list[PublishedScore]:
    return [decode_score(each.key, each.value or b"", each.headers) for each in records]


def test_json_reads_back_to_the_last_bit() -> None:
    records = encode_scores(some_scores(), NAMES, "scores", "json")
    assert [each.key for each in records] == list(KEYS)
    assert {(each.topic, tuple(each.headers)) for each in records} == {
        ("scores", (("content-type", b"application/json"),))
    }
    assert read(records) == [
        PublishedScore(
            *("pump-7", START_MS, START_MS + 50, NUMBERS[0], 1.5),
            {"shape": 0.5, "peak": 1 / 3},
            {"p": 0.25, 'odd "%d" name': 0.0},
        ),
        PublishedScore(
            *("", 5, 2**53 + 1, 1e-300, 1.5),
            {"shape": 0.0, "peak": 2.0},
            {"p": 2.0, 'odd "%d" name': 1.5},
        ),
        PublishedScore(
            *('\\xff"', -1, 0, 7.0, 1.5),
            {"shape": 7.0, "peak": 1e30},
            {"p": 7.0, 'odd "%d" name': 0.1},
        ),
    ]
    assert list(orjson.loads(records[0].value or b"")) == list(PublishedScore._fields)


def test_float32_reads_back_as_float32() -> None:
    records = encode_scores(some_scores(), NAMES, "scores", "float32")
    assert {len(each.value or b"") for each in records} == {16 + 4 * 6}
    exactly = read(encode_scores(some_scores(), NAMES, "s", "json"))
    for one, exact in zip(read(records), exactly, strict=True):
        assert one[:3] == exact[:3]
        assert one.score == float(np.float32(exact.score))
        assert one.checks == {name: float(np.float32(x)) for name, x in exact.checks.items()}
        assert list(one.features) == list(NAMES)


@pytest.mark.parametrize("form", ["json", "float32"])
def test_a_record_does_not_depend_on_its_batch(form: ScoreFormat) -> None:
    whole = encode_scores(some_scores(), NAMES, "scores", form)
    alone = [encode_scores(some_scores(slice(n, n + 1)), NAMES, "scores", form) for n in range(3)]
    assert [each for (each,) in alone] == whole


def test_without_details_nothing_is_written() -> None:
    assert encode_scores(Scores(np.arange(1), np.ones(1), 1.0), NAMES, "scores", "json") == []


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"", ()),
        (b"[]", ()),
        (b'{"key":1}', ()),
        (b"1234", (("columns", b'["score","threshold"]'),)),
        (bytes(20), (("columns", b'["score","threshold"]'),)),
        (bytes(24), (("columns", b'["score","peak"]'),)),
        (bytes(24), (("columns", None),)),
    ],
)
def test_what_is_no_score_is_refused(value: bytes, headers: Any) -> None:
    with pytest.raises(RecordDecodeError, match="not a score"):
        decode_score(None, value, headers)


def test_the_parts_of_a_reconstruction_error_are_those_of_features() -> None:
    scorer, windows = make_scorer(3), normal_windows(9)
    parts = scorer.score(windows).made_of()
    assert parts.checks == ()
    expected = feature_errors(windows, np.zeros_like(windows), "mae")
    np.testing.assert_allclose(parts.of_features, expected, rtol=1e-6)
    alone = [scorer.score(windows[row : row + 1]).made_of().of_features[0] for row in range(9)]
    assert parts.of_features.tolist() == np.stack(alone).tolist()


def test_the_parts_of_checks_are_their_largest_looks() -> None:
    scorer, windows = make_check_scorer(), normal_windows(3, seed=9)
    windows[1, 35, 0] += 6
    windows[2, :, 2] += 4
    parts = scorer.score(windows).made_of()
    peak, level = parts.checks.index("peak"), parts.checks.index("level")
    assert (parts.of_checks[:, peak] > 1).tolist() == [False, True, False]
    assert (parts.of_checks[[0, 2], level] > 1).tolist() == [False, True]
    assert (parts.of_features > 1).tolist()[1][0]
    assert (parts.of_features > 1).tolist()[2][2]
    rules = BusinessRules([FeatureRule(), FeatureRule(), FeatureRule(is_ignored=True)], FEATURES)
    left = rules.apply(scorer.score(windows), 1.0).made_of()
    assert left.of_features[2, 2] == 0.0
    assert left.of_features[:2, :2].tolist() == parts.of_features[:2, :2].tolist()


FEATURES = Features.generated(3)


def test_a_scorer_that_does_not_say_gives_no_parts() -> None:
    found = WindowScores(np.ones(2), lambda *_: pytest.fail("explained"))
    assert [each.shape for each in found.made_of()[1:]] == [(2, 0), (2, 0)]
    times = np.zeros(2, np.int64)
    details = ScoreDetails([b"k"] * 2, times, times, found.made_of())
    scores = Scores(np.arange(2), np.ones(2), 1.0, details=details)
    (first, _) = read(encode_scores(scores, NAMES, "s", "json"))
    assert (first.checks, first.features) == ({}, {})


def step_with_details(step: Step) -> list[PublishedScore]:
    return read(encode_scores(step.scores, ("a", "b"), "scores", "json"))


def test_each_window_of_samples_has_its_key_and_times() -> None:
    plain = Stream(2, 1, 0, 10_000, (1, 1, 100, 50, 0, 500, 3, 1_000), "hold").detector(2)
    plans = [(0, key, 0, 0, "json", [(1, 0.1, 0.2)] * 3) for key in (0, 1, 0)]
    batch = batch_of(stream_of(plans))
    assert plain.step(plain.initial_state(), batch).scores.details is None
    step = replace(plain, gives_details=True).step(plain.initial_state(), batch)
    scores = step_with_details(step)
    assert [each.score for each in scores] == step.scores.scores.tolist()
    assert step.scores.start_ms is not None
    assert [each.window_start_ms for each in scores] == step.scores.start_ms.tolist()
    assert [each.key for each in scores] == ["k0"] * 2 + ["k1"] * 2 + ["k0"] * 3
    assert {len(each.features) for each in scores} == {2}


def test_each_whole_window_has_its_key_and_times() -> None:
    detector = make_window_detector(gives_details=True, model_rows_max=2)
    sent = [
        Sent(0, b"k%d" % at, START_MS + at, np.full(4, at, "<f4").tobytes(), FLOAT32, 4)
        for at in range(3)
    ]
    step = detector.step(detector.initial_state(), batch_of(sent))
    found = [
        (each.key, each.window_start_ms, each.window_end_ms, each.score)
        for each in read(encode_scores(step.scores, ("a",), "s", "json"))
    ]
    assert found == [(f"k{at}", START_MS + at, START_MS + at + 30, float(at)) for at in range(3)]


def test_a_score_without_a_field_says_which() -> None:
    with pytest.raises(RecordDecodeError, match="not a score: 'window_start_ms' is missing"):
        decode_score(None, b'{"key":1}', ())
