r"""Peaks of a signal, such as heartbeats or the pulse of each turn, found in frames of it.

Pure: arrays in, arrays out. A peak is a burst of slopes within a band of frequencies. How large a
burst has to be follows from the seconds before it, so a change of gain is followed, and a feature
that is noisy, or far beyond its usual size, hardly counts::

    signal       _____/\______________/\______~~~~_______/\____
    bursts           ####             ####    .  .      ####
    peaks             ^                ^                 ^

Everything that decides on a peak lies within a fixed reach around it: `PeakRules.n_context` steps
before and `PeakRules.n_after` after. So a peak is found, or not, wherever reading starts. Frames
overlap, and each looks for peaks in a part of its own, which begins after the context and is as
long as the distance to the next frame::

    frame 1      |---- context ----|= part =|- after -|
    frame 2               |---- context ----|= part =|- after -|

Where no value is missing, frames that overlap share their signal, and it is looked at once.
"""

from dataclasses import dataclass

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, join_ranges
from stream_detector.core.windowing.moving import moving_mean, trailing_max
from stream_detector.core.windowing.pauses import Found, Peaks, with_pauses

STRENGTH_MIN = 0.3
"""Least strength of a peak, where 1 is that of most peaks of the seconds before. A ventricular beat
of an ECG is broader than a normal one, and about half as strong."""

_SHARE_OF_PAST = 0.5
"""Least share of the strongest burst in the time before that a peak must have: the T wave that
follows a heartbeat has less."""

_STRENGTH_MAX = np.float32(1.0)
"""Largest strength in one feature that counts, so that no feature outvotes the others."""

_N_PULLS = 3
"""How often a peak moves to the centre of gravity of what is around it. Where a burst saturates,
its middle is where it begins, and one move does not reach the centre."""

_WILD = np.float32(3.0)
"""Strength beyond which a feature is not believed: bursts of noise go far beyond it."""

_HARDLY = np.float32(1e-3)
"""By which the weight of a feature that is not believed is multiplied."""

_TINY = np.float32(1e-12)

N_BLOCKS = 4
"""Blocks of the context whose largest bursts are compared; the second smallest is usual. So it does
not matter that one block has no peak, or that one has a burst of noise."""

_STEPS_AT_ONCE = 32_000
"""Steps that stay in the processor's cache together."""


@dataclass(frozen=True, slots=True)
class PeakRules:
    """How peaks are found, and which steps around them are a window. All numbers are steps.

    Parameters
    ----------
    features
        Features in which peaks are sought.
    n_features
        Features of the signal, the first ones; what is beside them stays as it is.
    n_smooth, n_trend
        Lengths of the two moving means between which the band lies that peaks are sought in, odd,
        n_smooth < n_trend.
    n_apart
        Least distance between two peaks, >= 6.
    n_block
        A quarter of the past that says how strong peaks are.
    n_before, n_window
        Steps of a window before its peak, and all of its steps.
    n_low, n_base
        Lengths of the two moving means between which the band lies that windows hold, odd; 1 leaves
        out no high frequencies, and 0 no low ones.
    n_search
        Steps that a frame searches at least, the distance between two frames.
    n_slack
        Most steps by which a frame may start late because its first samples are missing.
    n_pause
        Steps without a peak that are a pause; 0 does not look for pauses, nor at the distance of
        peaks.

    Examples
    --------
    >>> rules = PeakRules((0,), 1, 9, 41, 72, 360, 35, 70, 5, 159, 144, 36, 0)
    >>> rules.n_context, rules.n_after, rules.n_frame
    (1715, 140, 2035)
    """

    features: tuple[int, ...]
    n_features: int
    n_smooth: int
    n_trend: int
    n_apart: int
    n_block: int
    n_before: int
    n_window: int
    n_low: int
    n_base: int
    n_search: int
    n_slack: int
    n_pause: int

    @property
    def n_lag(self) -> int:
        """Return over how many steps to each side a slope is taken."""
        return max(self.n_smooth // 2, 1)

    @property
    def n_burst(self) -> int:
        """Return over how many steps slopes are averaged, an odd number."""
        return self.n_apart // 5 * 2 + 1

    @property
    def n_reach(self) -> int:
        """Return how many steps to each side decide how strong a burst is."""
        return self.n_trend // 2 + self.n_lag + self.n_burst // 2

    @property
    def n_past(self) -> int:
        """Return for how long a burst hides the weaker ones after it."""
        return self.n_apart * 9 // 5

    @property
    def n_wild_before(self) -> int:
        """Return how long before a step a feature may have gone wild."""
        return self.n_apart * 3 // 2

    @property
    def n_wild_after(self) -> int:
        """Return how long after a step a feature may go wild."""
        return self.n_apart // 4

    @property
    def n_shift(self) -> int:
        """Return how far from the middle of a burst its centre of gravity may be."""
        return self.n_apart // 3

    @property
    def n_pull(self) -> int:
        """Return how many steps to each side pull a peak to the centre of its burst."""
        return self.n_burst // 2 + self.n_shift // 4

    @property
    def n_context(self) -> int:
        """Return how many steps before a peak decide on it, at most."""
        decides = N_BLOCKS * self.n_block + self.n_past + self.n_wild_before + self.n_reach
        return decides + self.n_back

    @property
    def n_back(self) -> int:
        """Return how long before its own part a frame looks for peaks, to know their distance.

        Two peaks may be closer to each other than the middles of their bursts.
        """
        return self.n_pause + 2 * self.n_shift if self.n_pause else 0

    @property
    def n_after(self) -> int:
        """Return how many steps after a peak decide on it, or are in its window."""
        decided = self.n_apart + self.n_wild_after + self.n_reach
        margin = self.n_low // 2 + self.n_base // 2
        return max(decided, self.n_shift + self.n_window - self.n_before + margin)

    @property
    def n_frame(self) -> int:
        """Return the steps of a frame."""
        return self.n_context + self.n_search + self.n_slack + self.n_after


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Where frames are in the stretches of signal that they share.

    Parameters
    ----------
    stretches
        Stretch of each frame, ascending, shape (n_frames,).
    firsts
        Step there at which it begins, ascending in a stretch, shape (n_frames,).
    n_own
        Steps that it searches, the distance to the next one, shape (n_frames,); at most
        n_search + n_slack.
    """

    stretches: Indices
    firsts: Indices
    n_own: Indices

    @classmethod
    def apart(cls, n_own: Indices) -> "Frames":
        """Return frames each of which has its own signal."""
        stretches = np.arange(len(n_own))
        return cls(stretches, np.zeros_like(stretches), n_own)

    def places(self, peaks: Peaks) -> tuple[Indices, Indices]:
        """Return stretch and step of peaks, each of shape (n_peaks,)."""
        return self.stretches[peaks.frames], self.firsts[peaks.frames] + peaks.steps


def find_peaks(signal: FloatArray, rules: PeakRules, frames: Frames) -> Peaks:
    """Find the peaks in the part of each frame that is its own.

    Parameters
    ----------
    signal
        Float32, shape (n_stretches, n_steps, n_features), no value missing, unit: the signal's.
    rules
        What a peak is.
    frames
        Where the frames are. The last one of a stretch ends with it.

    Returns
    -------
    The peaks. None of a constant signal.
    """
    n_at_once = max(1, _STEPS_AT_ONCE // signal.shape[1])
    starts = range(0, len(signal), n_at_once)
    parts = [_find(signal[start : start + n_at_once], rules) for start in starts]
    nothing = np.empty(0, np.intp)
    of_stretches = Found(
        np.concatenate(
            [nothing, *(part.frames + at for part, at in zip(parts, starts, strict=True))]
        ),
        np.concatenate([nothing, *(part.steps for part in parts)]),
        np.concatenate([nothing, *(part.middles for part in parts)]),
    )
    found = _of_frames(of_stretches, frames, rules, signal.shape[1])
    is_own = found.middles >= rules.n_context
    if not rules.n_pause:
        return Peaks.without_intervals(found.frames[is_own], found.steps[is_own])
    return with_pauses(found, is_own, frames.n_own, rules.n_context, rules.n_pause)


def _of_frames(found: Found, frames: Frames, rules: PeakRules, n_steps: int) -> Found:
    """Return what each frame sees of the peaks of its stretch, up to the end of its own part."""
    places = found.frames * n_steps + found.middles  # (n_found,), ascending
    begins = frames.stretches * n_steps + frames.firsts + rules.n_context  # (n_frames,)
    seen = np.searchsorted(places, begins - rules.n_back)
    counts = np.searchsorted(places, begins + frames.n_own) - seen
    at = join_ranges(seen, counts)  # (n_seen,)
    of_frame = np.repeat(np.arange(len(counts)), counts)
    firsts = frames.firsts[of_frame]
    return Found(of_frame, found.steps[at] - firsts, found.middles[at] - firsts)


@dataclass(frozen=True, slots=True, eq=False)
class _Bursts:
    """How strong the bursts are at the steps that matter.

    Parameters
    ----------
    first
        Step of the first of them.
    strengths
        Shape (n_stretches, n), 1 for most peaks.
    weights
        How much each feature is believed, above 0, shape (n_stretches, n_features, n).
    band
        The signal within the band, shape (n_stretches, n_features, n_in_band), of which the first
        is step `n_trend // 2`.
    """

    first: int
    strengths: FloatArray
    weights: FloatArray
    band: FloatArray


def _find(signal: FloatArray, rules: PeakRules) -> Found:
    """Return all peaks that the frames of each stretch can see."""
    n_searched = _n_searched(signal, rules)
    bursts = _bursts(signal, rules)
    begin = rules.n_context - rules.n_back - bursts.first
    end = begin + rules.n_back + n_searched
    strengths = bursts.strengths  # (n_stretches, n)
    before = trailing_max(strengths, rules.n_apart)
    own = strengths[:, begin:end]  # (n_stretches, n_searched)
    is_peak = (
        (own > before[:, begin - 1 : end - 1])
        & (own >= before[:, begin + rules.n_apart : end + rules.n_apart])
        & (own > STRENGTH_MIN)
        & (own >= _SHARE_OF_PAST * trailing_max(strengths, rules.n_past)[:, begin - 1 : end - 1])
    )
    in_stretch, at = np.nonzero(is_peak)  # (n_found,)
    weights = bursts.weights[in_stretch, :, at + begin]  # (n_found, n_features)
    middles = at + rules.n_context - rules.n_back  # (n_found,)
    steps = _centres(bursts.band, in_stretch, middles, weights, rules)
    return Found(in_stretch, steps, middles)


def _n_searched(signal: FloatArray, rules: PeakRules) -> int:
    """Return how many steps of each stretch its frames search together, at most."""
    return int(signal.shape[1]) - rules.n_context - rules.n_after


def _bursts(signal: FloatArray, rules: PeakRules) -> _Bursts:
    """Return how strong bursts of slopes are, from where a peak can depend on them."""
    chosen = signal[:, :, list(rules.features)].transpose(0, 2, 1)
    values = np.ascontiguousarray(chosen)  # (n_stretches, n_features, n_steps)
    lag = rules.n_lag
    trend = moving_mean(values, rules.n_trend)
    earlier = (rules.n_trend - rules.n_smooth) // 2
    band = moving_mean(values, rules.n_smooth)[..., earlier : earlier + trend.shape[2]] - trend
    slopes = np.abs(band[..., 2 * lag :] - band[..., : -2 * lag])
    sizes = moving_mean(slopes, rules.n_burst)
    # The first and the last step that matter.
    first = rules.n_context - rules.n_back - rules.n_past - rules.n_wild_before
    searched = rules.n_context + _n_searched(signal, rules)
    last = searched + rules.n_apart + rules.n_wild_after
    here = slice(first - rules.n_reach, last - rules.n_reach)  # `sizes` begin at step n_reach
    usual = _usual(sizes, rules.n_block, here)
    context = N_BLOCKS * rules.n_block
    mean = moving_mean(sizes[..., here.start + 1 - context : here.stop], context)
    units: FloatArray = sizes[..., here] / usual  # (n_stretches, n_features, n)
    # Noise has no peaks that stand out; squared, it is nothing beside a clean feature.
    weights: FloatArray = np.square(usual / np.maximum(mean, _TINY))
    weights += _TINY
    wildest = trailing_max(units, rules.n_wild_before + rules.n_wild_after + 1)
    is_wild = np.zeros(units.shape, dtype=np.bool_)
    is_wild[..., : -rules.n_wild_after] = wildest[..., rules.n_wild_after :] > _WILD
    weights[is_wild] *= _HARDLY
    # Divided last: where every feature reaches the largest strength, the sum is exactly that.
    strengths = _over_features(np.minimum(units, _STRENGTH_MAX) * weights)
    strengths /= _over_features(weights)
    return _Bursts(first, strengths, weights, band)


def _centres(
    band: FloatArray, in_stretch: Indices, middles: Indices, weights: FloatArray, rules: PeakRules
) -> Indices:
    """Return the centre of gravity of each burst of slopes, shape (n_found,).

    It stays where it is from one beat to the next, while the highest point of a beat may be now one
    wave and now another. A feature counts as much as it is believed, in units of what its slopes
    usually reach, and a step with the square of its slope.
    """
    n_features, lag = band.shape[1], rules.n_lag
    slopes = np.abs(band[..., 2 * lag :] - band[..., : -2 * lag])
    first = rules.n_trend // 2 + lag  # step of the first slope
    around = np.arange(-rules.n_pull, rules.n_pull + 1)
    columns = np.arange(n_features)[np.newaxis, :, np.newaxis]
    stretch_of = in_stretch[:, np.newaxis, np.newaxis]
    past = (middles - first)[:, np.newaxis, np.newaxis] - np.arange(rules.n_block)
    usual = slopes[stretch_of, columns, past].max(axis=2)  # (n_found, n_features)
    factors = (weights / np.maximum(usual, _TINY))[:, :, np.newaxis]  # (n_found, n_features, 1)
    steps = middles
    for _ in range(_N_PULLS):
        near = (steps - first)[:, np.newaxis, np.newaxis] + around
        pulling = slopes[stretch_of, columns, near]
        joined = _over_features(pulling * factors)  # (n_found, 2 * n_pull + 1)
        masses = np.square(joined.astype(np.float64))
        shifts = (masses * around).sum(axis=1) / np.maximum(masses.sum(axis=1), float(_TINY) ** 2)
        moved = steps + np.rint(shifts).astype(np.intp)
        steps = np.clip(moved, middles - rules.n_shift, middles + rules.n_shift)
    return steps


def _usual(sizes: FloatArray, n_block: int, here: slice) -> FloatArray:
    """Return the second smallest of the largest bursts of the blocks before each step, above 0."""
    largest = trailing_max(sizes, n_block)
    first, second, third, fourth = (
        largest[..., here.start - back : here.stop - back]
        for back in range(0, N_BLOCKS * n_block, n_block)
    )
    low = np.maximum(np.minimum(first, second), np.minimum(third, fourth))
    high = np.minimum(np.maximum(first, second), np.maximum(third, fourth))
    usual: FloatArray = np.maximum(np.minimum(low, high), _TINY)
    return usual


def _over_features(values: FloatArray) -> FloatArray:
    """Return the sum over features, shape (n_stretches, n).

    One after the other, so that no bit depends on how many stretches there are.
    """
    total = values[:, 0].copy()
    for feature in range(1, values.shape[1]):
        total += values[:, feature]
    return total


def window_values(
    signal: FloatArray, places: tuple[Indices, Indices], rules: PeakRules
) -> FloatArray:
    """Return the windows round peaks, within the band that windows hold.

    Parameters
    ----------
    signal
        As for `find_peaks`.
    places
        Stretch of each peak and its step there, each of shape (n_peaks,).
    rules
        The same.

    Returns
    -------
    Float32, shape (n_peaks, n_window, n_features), C-contiguous, unit: the signal's.
    """
    reach = max(rules.n_base, rules.n_low) // 2
    stretches, steps = places
    first = steps - rules.n_before - reach  # (n_peaks,)
    around = first[:, np.newaxis] + np.arange(rules.n_window + 2 * reach)
    values = signal[stretches[:, np.newaxis], around].transpose(0, 2, 1)
    if not reach:
        return np.ascontiguousarray(values.transpose(0, 2, 1))
    # Around the first value, so that little is lost in sums of a signal far from zero.
    values = np.ascontiguousarray(values)
    from_first = values - values[..., :1]
    low = _mean_round_each(from_first, max(rules.n_low, 1), reach)
    if rules.n_base:
        low -= _mean_round_each(from_first, rules.n_base, reach)
    else:
        low += values[..., :1]
    return np.ascontiguousarray(low.transpose(0, 2, 1))


def _mean_round_each(values: FloatArray, n: int, reach: int) -> FloatArray:
    """Return the mean of n values, an odd number, round all but the first and last `reach`."""
    margin = reach - n // 2
    return moving_mean(values[..., margin : values.shape[-1] - margin], n)
