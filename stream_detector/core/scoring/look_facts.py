"""What a look at a window found, in numbers that a sentence can be made of.

Pure. A look compares one number of a window, in the scaled unit and often a logarithm, with what is
normal; people want both in the unit of the signal.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.checks import Looks
from stream_detector.core.scoring.explanation import Explanation, WindowEvidence
from stream_detector.core.scoring.logarithmic import Logarithmic
from stream_detector.core.scoring.relations import Relations, blocks_of, n_blocks
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.sentences import OF_VALUES, CheckFacts, FactKind
from stream_detector.core.scoring.statistics import in_scaled_unit

_KINDS: Mapping[str, FactKind] = {
    "mean": "level",
    "slope": "slope",
    "short_slope": "slope",
    "short_shift": "level",
    "max_step": "peak",
    "max_deviation": "spike",
    "sd": "noise",
    "short_sd": "noise",
    "mean_step": "noise",
    "short_mean_step": "noise",
    "swing": "noise",
    "unchanged": "same",
}
"""What is said of each number; below normal, noise is flat. The errors are not here: they are
explained by what was expected, and relations by what the other features say."""


_LOG_MAX = 700.0
"""Logarithm of the largest factor; that of the largest float64 is 709."""


class _FeatureUnit(NamedTuple):
    """Brings scaled numbers of one feature back to the unit of the windows."""

    scaler: Scaler
    feature: int

    def value(self, scaled: float) -> float:
        """Return a value."""
        row = np.full((1, len(self.scaler.scale)), scaled, np.float32)  # (1, n_features)
        return float(self.scaler.inverse(row)[0, self.feature])

    def difference(self, scaled: float) -> float:
        """Return a difference, as it is around the middle of the scale."""
        return self.value(scaled) - self.value(0.0)

    def around(self, middle: float, reach: float) -> tuple[float, float]:
        """Return the two values that are a reach, scaled, below and above a value."""
        log = self.scaler.logarithmic
        if log is None or not log.is_logarithmic[self.feature]:
            amount = self.difference(reach)
            return middle - amount, middle + amount
        row = np.full((1, 1, len(self.scaler.scale)), middle, np.float32)  # (1, 1, n_features)
        at = float(self.scaler.transform(row)[0, 0, self.feature])
        return self.value(at - reach), self.value(at + reach)


def facts_of(
    looks: Looks,
    look: int,
    ratio: float,
    evidence: WindowEvidence,
    scaler: Scaler,
    steps: tuple[int, int],
) -> CheckFacts | None:
    """Return what one look found, and what is normal there.

    Parameters
    ----------
    looks
        Calibrated.
    look
        Which of them.
    ratio
        What it found; see `Looks.ratios`.
    evidence
        The window.
    scaler
        Brings numbers back to the unit of the window.
    steps
        Steps of a short look, and of those among which a peak is sought.

    Returns
    -------
    None where the look is at an error.
    """
    feature = int(looks.features[look])
    course = _course(evidence, scaler)  # (n_steps, n_features)
    log = scaler.logarithmic
    if log is None or not log.is_logarithmic[feature]:
        unit, values = _FeatureUnit(scaler, feature), course[:, feature]
        return _found(looks, look, ratio, unit, (values, evidence.sample_interval_ms), steps)
    # What is normal of a logarithm is told in logarithms first.
    unit = _FeatureUnit(replace(scaler, logarithmic=None), feature)
    values = log.counted(course.astype(np.float32))[:, feature].astype(np.float64)
    found = _found(looks, look, ratio, unit, (values, evidence.sample_interval_ms), steps)
    return found and _without_logarithm(found, log)


def _without_logarithm(facts: CheckFacts, log: Logarithmic) -> CheckFacts:
    """Return facts about the logarithm of a feature as such about its values, or factors."""

    def value(counted: float | None) -> float | None:
        row = np.full(len(log.unit), np.nan if counted is None else counted)  # (n_features,)
        return None if counted is None else float(log.as_values(row)[facts.feature])

    def factor(counted: float | None) -> float | None:
        return None if counted is None else float(np.exp(np.clip(counted, -_LOG_MAX, _LOG_MAX)))

    is_factor = facts.kind not in OF_VALUES
    convert = factor if is_factor else value
    observed, low, high = (convert(each) for each in (facts.observed, facts.low, facts.high))
    assert observed is not None  # noqa: S101  (it is a number)
    return facts._replace(
        observed=observed, low=low, high=high, at=value(facts.at), is_factor=is_factor
    )


def _found(
    looks: Looks,
    look: int,
    ratio: float,
    unit: _FeatureUnit,
    window: tuple[NDArray[np.float64], float],
    steps: tuple[int, int],
) -> CheckFacts | None:
    """Return what a look found, given the values of its feature and their interval in ms."""
    name, feature, scaler = looks.statistics[look], unit.feature, unit.scaler
    kind, sign = _KINDS.get(name), float(looks.signs[look])
    if kind is None:
        return None
    values, interval_ms = window  # (n_steps,)
    if scaler.is_constant is not None and scaler.is_constant[feature]:
        always = unit.value(0.0)
        farthest = float(values[np.abs(values - always).argmax()])
        return CheckFacts(feature, "never", farthest, 0.0, always, always)
    number = float(looks.middles[look] + sign * looks.scales[look] * ratio)
    if kind == "same":
        within = float(looks.middles[look] + looks.scales[look]) * interval_ms
        lasts_ms = number * interval_ms
        return CheckFacts(feature, kind, float(values[-1]), lasts_ms, changes_within_ms=within)
    convert = unit.value if kind == "level" else unit.difference
    observed = convert(in_scaled_unit(name, number))
    low, high = (None if each is None else convert(each) for each in _normal(looks, look))
    n_short, n_peak = steps
    n_steps, at = n_short if name.startswith("short_") else len(values), None
    if name == "short_shift":
        limit = float(looks.middles[look] + looks.scales[look])
        observed, low, high = _shifted(values, n_short, number, limit)
    elif kind == "noise" and sign < 0:
        kind, at = "flat", float(np.median(values))
    elif kind == "peak":
        n_steps, changes = 1, np.diff(values[-n_peak:])  # (n_peak - 1,)
        observed = float(changes[np.abs(changes).argmax()])
    elif kind == "spike":
        n_steps, newest = 1, values[-n_peak:]  # (n_peak,)
        centre, reach = float(values.mean()), high or 0.0
        observed = float(newest[np.abs(newest - centre).argmax()])
        low, high = centre - reach, centre + reach
    return CheckFacts(feature, kind, observed, n_steps * interval_ms, low, high, at)


def _course(evidence: WindowEvidence, scaler: Scaler) -> NDArray[np.float64]:
    """Return a window as it was judged, shape (n_steps, n_features): no counter starts again."""
    if scaler.relative is None:
        return evidence.window.astype(np.float64)
    course: NDArray[np.float64] = scaler.relative.without_restarts(evidence.window[np.newaxis])[0]
    return course


def course_facts(
    explanation: Explanation, normal_error: float, scaler: Scaler
) -> CheckFacts | None:
    """Return where the course of the worst feature is farthest from what was expected.

    Parameters
    ----------
    explanation
        In the unit of the window.
    normal_error
        Of the feature, >= 0, unit: that of the scaled signal.
    scaler
        Brings it back to the unit of the window.

    Returns
    -------
    None where no value was observed.
    """
    worst = explanation.features[0]
    points = [
        (abs(observed - expected), observed, expected)
        for observed, expected in zip(worst.observed, worst.expected, strict=True)
        if observed is not None
    ]
    if not points:
        return None
    _, observed, expected = max(points, key=lambda point: point[0])
    low, high = _FeatureUnit(scaler, worst.feature).around(expected, normal_error)
    lasts_ms = explanation.worst_end_ms - explanation.worst_start_ms
    return CheckFacts(worst.feature, "shape", observed, lasts_ms, low, high)


def relation_facts(
    looks: Looks,
    look: int,
    evidence: WindowEvidence,
    scaler: Scaler,
    relations: Relations,
    n_steps: int,
) -> CheckFacts:
    """Return where a feature is farthest from what the other features say.

    Parameters
    ----------
    looks, look, evidence, scaler
        See `facts_of`.
    relations
        What features say of each other.
    n_steps
        How many of the newest steps were looked at.
    """
    feature = int(looks.features[look])
    unit = _FeatureUnit(scaler, feature)
    blocks = blocks_of(evidence.scaled[np.newaxis])  # (1, n_blocks, n_features)
    residuals = relations.residuals(blocks)[0, -n_blocks(n_steps) :, feature]
    at = int(np.abs(residuals).argmax()) - len(residuals)
    scaled = float(blocks[0, at, feature])
    # The mean of the block as the signal has it, and how far from there the prediction is.
    observed = float(blocks_of(_course(evidence, scaler)[np.newaxis])[0, at, feature])
    reach = float(looks.middles[look] + looks.scales[look])
    unit_of_block = float(relations.units(blocks)[0, at, feature])
    reach *= unit_of_block
    expected = scaled - float(residuals[at]) * unit_of_block
    low, high = (
        observed + unit.value(expected + side) - unit.value(scaled) for side in (-reach, reach)
    )
    lasts_ms = n_steps * evidence.sample_interval_ms
    return CheckFacts(feature, "related", observed, lasts_ms, low, high)


def _shifted(
    values: NDArray[np.float64], n_short: int, number: float, limit: float
) -> tuple[float, float, float]:
    """Return the newest mean of some steps, and between which two it would be normal.

    Parameters
    ----------
    values
        Of the feature, shape (n_steps,), unit: that of the window.
    n_short
        Steps of a mean.
    number, limit
        How far the mean is from earlier ones, and how far is not normal; any unit.
    """
    means = np.convolve(values, np.full(n_short, 1 / n_short), "valid")
    newest, middle = float(means[-1]), float(means[: len(means) - n_short].mean())
    reach = abs(newest - middle) * limit / number
    return newest, middle - reach, middle + reach


def _normal(looks: Looks, look: int) -> tuple[float | None, float | None]:
    """Return between which two numbers a look is not anomalous, in the scaled unit."""
    name, ends = looks.statistics[look], dict[float, float]()
    for row in np.flatnonzero(looks.features == looks.features[look]).tolist():
        if looks.statistics[row] == name:
            sign = float(looks.signs[row])
            number = float(looks.middles[row] + sign * looks.scales[row])
            ends[sign] = in_scaled_unit(name, number)
    return ends.get(-1.0), ends.get(1.0)
