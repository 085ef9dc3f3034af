"""What turns windows into numbers: the protocol that every scorer fits.

Pure. A scorer brings its own threshold, and explains the windows that it scored. Higher is more
anomalous, and a window is anomalous iff its score exceeds the threshold. To add a scorer, write a
class that fits `Scorer`; detectors, alerts and the command line know nothing else of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, LinearUnit
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import Explanation, WindowContext, name_features
from stream_detector.core.scoring.reconstruction_error import ErrorKind
from stream_detector.core.scoring.sentences import CheckFacts, Facts, sentence_of
from stream_detector.errors import RecordValueError

SCALED_MAX = 1e12
"""Largest value that is scored, in the unit of the training range. Beyond it sums in float32 can
overflow, and one absurd record would stop the service with a non-finite score."""

WINDOWS_MAX = 2048
"""Most windows in one call of a scorer by default: they stay in the processor's cache."""

_ROWS_AT_ONCE = 64


class Finding(NamedTuple):
    """What a scorer says of one window.

    Parameters
    ----------
    explanation
        Where its score comes from.
    reconstruction_error
        How far a network's reconstruction is from it, in the unit of the scaled signal; None of a
        scorer without a network.
    check
        Name of the check that decided the score; None where a scorer has no checks.
    false_alarms_per_day
        How often a day a normal series is expected to reach the score; None where the calibration
        does not say.
    p_value
        Share of normal windows that are expected to reach the score, 0 to 1; None likewise.
    facts
        What the check looked at; None where a scorer gives no such numbers.
    """

    explanation: Explanation
    reconstruction_error: float | None = None
    check: str | None = None
    false_alarms_per_day: float | None = None
    p_value: float | None = None
    facts: Facts | None = None

    def described(self, features: Features, of_key: Sequence[LinearUnit] = ()) -> "Finding":
        """Return the finding in the unit of the signal, with names, what is normal and a sentence.

        Parameters
        ----------
        features, of_key
            As for `name_features`.
        """
        explanation, facts = name_features(self.explanation, features, of_key), self.facts
        name, about = "", explanation.features[0].feature if explanation.features else None
        if isinstance(facts, CheckFacts):
            about, name = facts.feature, features.names[facts.feature]
            unit = features.unit(facts.feature, of_key[facts.feature] if of_key else None)
            facts = facts.in_unit(unit)
            told = tuple(
                replace(each, low=facts.low, high=facts.high)
                if each.feature == facts.feature
                else each
                for each in explanation.features
            )
            explanation = replace(explanation, features=told)
        measured_in = "" if about is None else features.unit_name(about)
        sentence = sentence_of(explanation, facts, name, measured_in)
        return self._replace(explanation=replace(explanation, sentence=sentence), facts=facts)


class CountFeatures(Protocol):
    """Says which features of windows count, by what was observed and expected there."""

    def __call__(
        self, observed: NDArray[np.floating], expected: NDArray[np.floating], /
    ) -> NDArray[np.bool_]:
        """Return which features count.

        Parameters
        ----------
        observed, expected
            Of each window that is asked for, shape (n_windows, n, n_features), in the unit in which
            the scorer was given windows.

        Returns
        -------
        Shape (n_windows, n_features).
        """
        ...


class ScoreParts(NamedTuple):
    """What scores are made of, for those who want more than the score.

    Parameters
    ----------
    checks
        Names of the checks; none where a scorer has none.
    of_checks
        How far from normal each check finds a window, shape (n_windows, n_checks), range [0, inf);
        above 1 is anomalous.
    of_features
        The same of each feature, shape (n_windows, n_features): its largest look of any check, or
        its part of the score, in the score's unit, where a scorer has no checks. No column where a
        scorer does not say.
    """

    checks: tuple[str, ...]
    of_checks: NDArray[np.float64]
    of_features: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: "Sequence[ScoreParts]") -> "ScoreParts":
        """Return the parts of windows one after the other; at least one."""
        of_checks, of_features = zip(*(each[1:] for each in parts), strict=True)
        return cls(parts[0].checks, np.concatenate(of_checks), np.concatenate(of_features))


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """Scores of some windows, and what explains each of them.

    Parameters
    ----------
    scores
        Float64, shape (n_windows,), range [0, inf), finite.
    explain
        Says of the window with this index where its score comes from. Called for few windows only.
    restrict
        Returns the scores of the windows with these indices, shape (n,), from the features alone
        that count; all others are taken as if they were expected. Called for windows above the
        threshold only; None where a scorer expects no values, and then there can be no business
        rules (`stream_detector.core.scoring.business_rules`).
    parts
        Returns what the scores are made of; None where a scorer does not say.
    """

    scores: NDArray[np.float64]
    explain: Callable[[int, WindowContext], Finding]
    restrict: "Callable[[NDArray[np.intp], CountFeatures], WindowScores] | None" = None
    parts: Callable[[], ScoreParts] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def made_of(self) -> ScoreParts:
        """Return what the scores are made of, nothing where the scorer does not say."""
        if self.parts is not None:
            return self.parts()
        nothing = np.empty((len(self), 0))
        return ScoreParts((), nothing, nothing)


def _explain_nothing(index: int, context: WindowContext) -> Finding:
    """Stand for the explanation of no window."""
    message = f"no window {index} at {context.start_ms}"
    raise IndexError(message)


NO_SCORES = WindowScores(np.empty(0), _explain_nothing)
"""Scores of no windows, for which a scorer need not be called."""


class Scorer(Protocol):
    """Windows in, scores out."""

    @property
    def threshold(self) -> float:
        """Anomalous iff score > threshold; above zero."""
        ...

    @property
    def score_kind(self) -> str:
        """What a score is, such as "mae": a word of lower-case letters, for alerts."""
        ...

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values can be scored.

        Monotonic: a value between two that can be scored can be scored too.

        Parameters
        ----------
        values
            Float32, shape (..., n_features), unit: the signal's.

        Returns
        -------
        Same shape. False for NaN, infinities and values so far from the training range that the
        score could overflow (`SCALED_MAX`).
        """
        ...

    def score(self, windows: FloatArray) -> WindowScores:
        """Score windows.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), n_windows >= 0, unit: the signal's, or
            that of its key where each key has a scale of its own; every value is in range.

        Returns
        -------
        A score for each window, which does not depend, in any bit, on the others.

        Raises
        ------
        NonFiniteScoreError
            If a score is not finite: the scorer cannot be trusted.
        """
        ...


def score_column(score_kind: str) -> str:
    """Return what a column with scores of a kind is called.

    Examples
    --------
    >>> score_column("mae"), score_column("checks")
    ('reconstruction_error', 'score')
    """
    return "reconstruction_error" if score_kind in get_args(ErrorKind) else "score"


def all_in_range(scorer: Scorer, values: FloatArray) -> bool:
    """Return whether all values can be scored.

    Parameters
    ----------
    scorer
        Says what is in range.
    values
        Float32, C-contiguous, shape (..., n_features), as the scorer takes them.
    """
    return bool(scorer.in_range(value_range(values)).all())


def value_range(values: FloatArray, *, nan_is_missing: bool = False) -> FloatArray:
    """Return the smallest and the largest value of each feature, in two passes that copy nothing.

    Parameters
    ----------
    values
        Float32, C-contiguous, shape (..., n_features).
    nan_is_missing
        Whether NaN stands for a missing value; if not, a feature with one has NaN.

    Returns
    -------
    Shape (2, n_features); 0 where there is no value.
    """
    least, largest = (np.fmin, np.fmax) if nan_is_missing else (np.minimum, np.maximum)
    ends = np.stack([_reduced(values, reduction) for reduction in (least, largest)])
    if nan_is_missing:
        ends = np.where(np.isnan(ends), np.float32(0), ends)
    return ends


def score_windows(
    scorer: Scorer,
    windows: FloatArray,
    windows_max: int = WINDOWS_MAX,
    change: Callable[[WindowScores, slice], WindowScores] | None = None,
) -> NDArray[np.float64]:
    """Score any number of windows, slice by slice.

    Parameters
    ----------
    scorer
        Scores.
    windows
        Float32, shape (n_windows, n_steps, n_features), unit: the signal's.
    windows_max
        Most windows in one call of the scorer.
    change
        Takes the scores of some of the windows, and which these are; None changes none.

    Returns
    -------
    Shape (n_windows,), float64, bit for bit what a stream of the same windows is scored with.
    Empty gives empty.

    Raises
    ------
    RecordValueError
        If a window holds NaN, an infinity or a value too large, naming the first: bad data.
    NonFiniteScoreError
        As `Scorer.score` says.
    """
    scores = [np.empty(0)]
    for start in range(0, len(windows), windows_max):
        part = windows[start : start + windows_max]
        if not all_in_range(scorer, part):
            row = int(np.flatnonzero(~usable_windows(scorer, part))[0])
            message = f"window {start + row}: {describe_bad_value(scorer, part[row])}"
            raise RecordValueError(message)
        some = slice(start, start + len(part))
        found = scorer.score(part)
        scores.append((found if change is None else change(found, some)).scores)
    return np.concatenate(scores)


def usable_windows(scorer: Scorer, windows: FloatArray) -> NDArray[np.bool_]:
    """Return which windows hold only values in range, shape (n_windows,)."""
    is_usable = scorer.in_range(windows).all(axis=(1, 2))
    return np.asarray(is_usable, dtype=np.bool_)


def describe_bad_value(scorer: Scorer, window: FloatArray) -> str:
    """Name the first value of a window that cannot be scored.

    Parameters
    ----------
    scorer
        Says which.
    window
        Shape (n_steps, n_features); at least one value is out of range.
    """
    step, feature = np.argwhere(~scorer.in_range(window))[0]
    value = float(window[step, feature])
    place = f"values[{step}]" if window.shape[1] == 1 else f"values[{step}][{feature}]"
    if not np.isfinite(value):
        return f"{place}: expected a finite number in the range of float32, received {value}"
    return f"{place}: received {value:.3g}, over {SCALED_MAX:.0e} times the range trained on"


def _reduced(values: FloatArray, reduction: np.ufunc) -> FloatArray:
    """Return the least or the largest value of each feature, shape (n_features,)."""
    n_features = values.shape[-1]
    rows = values.reshape(-1, n_features)
    if not len(rows):
        return np.zeros(n_features, np.float32)
    if n_features == 1:
        flat: FloatArray = reduction.reduce(rows, axis=None, keepdims=True).reshape(1)
        return flat
    n_long = len(rows) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    parts = [rows[n_long:]]
    if n_long:  # long rows make long loops
        long = rows[:n_long].reshape(-1, _ROWS_AT_ONCE * n_features)
        parts.append(reduction.reduce(long, axis=0).reshape(-1, n_features))
    reduced: FloatArray = reduction.reduce(np.concatenate(parts), axis=0)
    return reduced
