"""Peaks found the naive way: one frame, one step and one neighbour at a time.

What `stream_detector.core.windowing.peaks` says, written down once more, for tests to compare with:
every number is worked out from the steps that it depends on, and none is carried from one step to
the next. Numbers are rounded to float32 where they are there.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.peaks import PeakRules

TINY = np.float32(1e-12)


class Peak(NamedTuple):
    """One peak or pause of a frame."""

    step: int
    interval: int
    before: int
    is_pause: bool


@dataclass(frozen=True)
class Course:
    """One feature of a frame, and how far it goes beyond what is usual.

    Parameters
    ----------
    values
        Float32, shape (n_frame,).
    rules
        What a peak is.
    """

    values: FloatArray
    rules: PeakRules

    @cached_property
    def band(self) -> dict[int, np.float32]:
        """The signal within the band, where all that it depends on is in the frame."""
        rules, half = self.rules, self.rules.n_trend // 2
        return {
            step: mean(self.values, step, rules.n_smooth) - mean(self.values, step, rules.n_trend)
            for step in range(half, len(self.values) - half)
        }

    @cached_property
    def sizes(self) -> dict[int, np.float32]:
        """How steep the signal is about each step."""
        band, lag, reach = self.band, self.rules.n_lag, self.rules.n_burst // 2
        slopes = {
            step: abs(band[step + lag] - band[step - lag])
            for step in range(min(band) + lag, max(band) - lag + 1)
        }
        return {
            step: rounded_mean([slopes[at] for at in range(step - reach, step + reach + 1)])
            for step in range(min(slopes) + reach, max(slopes) - reach + 1)
        }

    def usual(self, step: int) -> np.float32:
        """What bursts reach: the second smallest of the largest of each quarter of the past."""
        n_block = self.rules.n_block
        largest = [
            max(self.sizes[at] for at in range(end - n_block + 1, end + 1))
            for end in range(step, step - 4 * n_block, -n_block)
        ]
        return max(sorted(largest)[1], TINY)

    def units(self, step: int) -> np.float32:
        return self.sizes[step] / self.usual(step)

    def trust(self, step: int) -> np.float32:
        """How much the feature is believed: it stands out, and has not gone wild."""
        rules = self.rules
        past = range(step - 4 * rules.n_block + 1, step + 1)
        beyond = self.usual(step) / max(rounded_mean([self.sizes[at] for at in past]), TINY)
        trust = beyond * beyond + TINY
        near = range(step - rules.n_wild_before, step + rules.n_wild_after + 1)
        if any(self.units(at) > np.float32(3) for at in near):
            trust = trust * np.float32(1e-3)
        return trust

    def slope(self, step: int) -> np.float32:
        lag = self.rules.n_lag
        return abs(self.band[step + lag] - self.band[step - lag])

    def steepest(self, step: int) -> np.float32:
        """How steep the signal was at most in the time before."""
        past = range(step - self.rules.n_block + 1, step + 1)
        return max(*(self.slope(at) for at in past), TINY)


@dataclass(frozen=True)
class Frame:
    """One frame, and the strengths of its bursts."""

    courses: list[Course]
    rules: PeakRules

    @cached_property
    def strengths(self) -> dict[int, np.float32]:
        """How strong bursts are, from the first to the last step that decides on a peak."""
        rules = self.rules
        first = rules.n_context - rules.n_back - rules.n_past
        last = rules.n_context + rules.n_search + rules.n_slack + rules.n_apart
        return {step: self.strength(step) for step in range(first, last)}

    def strength(self, step: int) -> np.float32:
        trusts = [course.trust(step) for course in self.courses]
        return added(
            [
                min(course.units(step), np.float32(1)) * trust
                for course, trust in zip(self.courses, trusts, strict=True)
            ]
        ) / added(trusts)

    def is_middle(self, step: int) -> bool:
        """Whether a step is the middle of the burst of a peak."""
        rules, strengths = self.rules, self.strengths
        here = strengths[step]
        before = [strengths[step - back] for back in range(1, rules.n_apart + 1)]
        after = [strengths[step + on] for on in range(1, rules.n_apart + 1)]
        past = [strengths[step - back] for back in range(1, rules.n_past + 1)]
        return bool(
            here > max(before)
            and here >= max(after)
            and here > 0.3
            and here >= np.float32(0.5) * max(past)
        )

    def centre(self, middle: int) -> int:
        """The centre of gravity of a burst, each step with the square of its slope."""
        shift, pull = self.rules.n_shift, self.rules.n_pull
        trusts = [course.trust(middle) / course.steepest(middle) for course in self.courses]
        step = middle
        for _ in range(3):
            masses = [
                float(
                    added(
                        [
                            course.slope(step + at) * trust
                            for course, trust in zip(self.courses, trusts, strict=True)
                        ]
                    )
                )
                ** 2
                for at in range(-pull, pull + 1)
            ]
            total = max(sum(masses), float(TINY) ** 2)
            places = range(-pull, pull + 1)
            turning = sum(mass * at for mass, at in zip(masses, places, strict=True))
            step += round(turning / total)
            step = min(max(step, middle - shift), middle + shift)
        return step


def mean(values: FloatArray, step: int, n: int) -> np.float32:
    """Return the mean of the n values about a step."""
    return rounded_mean(list(values[step - n // 2 : step + n // 2 + 1]))


def rounded_mean(values: list[np.float32]) -> np.float32:
    return np.float32(sum(map(float, values)) / len(values))


def added(values: list[np.float32]) -> np.float32:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def find_one_by_one(frame: FloatArray, rules: PeakRules, n_own: int) -> list[Peak]:
    """Return the peaks in a frame's own part, and its pause, by step.

    Parameters
    ----------
    frame
        Shape (n_frame, n_features), no value missing.
    rules, n_own
        See `find_peaks`.
    """
    whole = Frame([Course(frame[:, each], rules) for each in rules.features], rules)
    first, end = rules.n_context, rules.n_context + n_own
    found: list[Peak] = []
    known: list[tuple[int, int]] = []  # middles and steps of all peaks so far
    last_middle = -rules.n_frame  # long ago
    is_paused = False
    for middle in range(first - rules.n_back, first + rules.n_search + rules.n_slack):
        if rules.n_pause and not is_paused and first <= middle < end:
            pause_from = max(last_middle + rules.n_pause, first)
            if middle == pause_from and not found and not whole.is_middle(middle):
                found.append(Peak(pause_from, rules.n_pause, 0, True))
                is_paused = True
        if not whole.is_middle(middle):
            continue
        step = whole.centre(middle)
        if first <= middle < end:
            found.append(Peak(step, *intervals(known, middle, step, rules.n_pause), False))
        known.append((middle, step))
        if middle < first:
            last_middle = middle
    return sorted(found, key=lambda each: (each.step, each.is_pause))


def intervals(
    known: list[tuple[int, int]], middle: int, step: int, n_pause: int
) -> tuple[int, int]:
    """Return the steps since the peak before, and since then the one before that."""
    near = [at for other, at in known[-2:] if middle - other <= n_pause]
    if not near:
        return n_pause, 0
    return step - near[-1], near[1] - near[0] if len(near) > 1 else 0


def window_one_by_one(frame: FloatArray, step: int, rules: PeakRules) -> FloatArray:
    """Return the window round a peak, within the band that windows hold.

    Parameters
    ----------
    frame
        Shape (n_frame, n_features), no value missing.
    step
        Step of the peak.
    rules
        Which steps are a window.
    """
    columns = []
    first = step - rules.n_before
    reach = max(rules.n_base, rules.n_low) // 2
    for values in frame.T:
        steps = range(first, first + rules.n_window)
        if not reach:
            columns.append([values[at] for at in steps])
            continue
        start = values[first - reach]
        apart = values - start
        columns.append(
            [
                mean(apart, at, max(rules.n_low, 1))
                + (-mean(apart, at, rules.n_base) if rules.n_base else start)
                for at in steps
            ]
        )
    return np.array(columns, np.float32).T


def wider(rules: PeakRules, n_search: int) -> PeakRules:
    """Return rules by which one frame searches so many steps."""
    return replace(rules, n_search=n_search, n_slack=0)
