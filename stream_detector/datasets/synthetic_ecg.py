"""Synthetic heartbeats with labelled anomalies: unlimited, seeded, and without a download.

Each window is one beat of the dynamical model of McSharry et al. (2003), with parameters that vary
a little from beat to beat.

Notes
-----
Source as read: P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. Smith (2003), "A dynamical
model for generating synthetic electrocardiogram signals", IEEE Transactions on Biomedical
Engineering 50(3), 289-294, read in part (section "The dynamical model") in the authors' edition at
physionet.org/content/ecgsyn/1.0.0/paper. The equations of motion and the values of Table I were
read in independent implementations that quote them, and agree between these.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset

KINDS = ("normal", "ectopic", "missing", "st-shift", "noise")
"""Kinds of beats; all but the first are anomalous."""

N_STEPS = 140
SAMPLE_INTERVAL_MS = 7

_TRAIN_SHARE = 0.8
_BLOCK = 256
"""Beats that `stream` makes at once, few enough for their arrays to stay in the CPU cache."""

# Table I, in the order P, Q, R, S, T.
_ANGLES = np.array([-1 / 3, -1 / 12, 0.0, 1 / 12, 1 / 2]) * np.pi
_HEIGHTS = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
_WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])

_RESPIRATION_HZ = 0.25
_MILLIVOLTS = 25.0
"""Model units to millivolts, so that R is about 1.2 mV high."""
_WANDER_MV = 0.15
_NOISE_MV = 0.01


class Beat(NamedTuple):
    """One synthetic window.

    Parameters
    ----------
    window
        Float32, shape (140, 1), unit: mV, one step every 7 ms.
    label
        0 normal, 1 anomalous.
    kind
        One of `KINDS`.
    """

    window: FloatArray
    label: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Shape:
    """The model's parameters for n beats at once; arrays over beats and P, Q, R, S, T."""

    angles: NDArray[np.float64]  # (n_windows, 5), rad
    heights: NDArray[np.float64]  # (n_windows, 5)
    widths: NDArray[np.float64]  # (n_windows, 5), rad
    rate_hz: NDArray[np.float64]  # (n_windows,)
    peak_s: NDArray[np.float64]  # (n_windows,), time of R
    breath: NDArray[np.float64]  # (n_windows,), phase of respiration, rad


def generate(
    n_windows: int, rng: np.random.Generator, anomaly_share: float = 0.1
) -> tuple[FloatArray, NDArray[np.int8], NDArray[np.str_]]:
    """Generate beats.

    Parameters
    ----------
    n_windows
        Number of beats, >= 0.
    rng
        Source of all randomness.
    anomaly_share
        Expected share of anomalous beats, 0 to 1; the four kinds are equally likely.

    Returns
    -------
    Windows (n_windows, 140, 1), float32, unit: mV; labels (n_windows,), int8, 1 anomalous;
    kinds (n_windows,), each one of `KINDS`.

    Examples
    --------
    >>> windows, labels, kinds = generate(3, np.random.default_rng(0), anomaly_share=0.0)
    >>> windows.shape, labels.tolist(), set(kinds.tolist())
    ((3, 140, 1), [0, 0, 0], {'normal'})
    """
    chosen = np.where(
        rng.random(n_windows) < anomaly_share, rng.integers(1, len(KINDS), n_windows), 0
    )
    kinds = np.array(KINDS)[chosen]
    shape = _with_anomalies(_draw_shape(n_windows, rng), kinds)
    signal = _MILLIVOLTS * _integrate(shape)  # (n_windows, n_steps)
    signal += rng.normal(0.0, _NOISE_MV, signal.shape)
    _shift_st(signal, np.flatnonzero(kinds == "st-shift"), shape, rng)
    _add_bursts(signal, np.flatnonzero(kinds == "noise"), rng)
    windows = signal[:, :, np.newaxis].astype(np.float32)  # (n_windows, n_steps, 1)
    return windows, (chosen > 0).astype(np.int8), kinds


def stream(seed: int, anomaly_share: float = 0.02) -> Iterator[Beat]:
    """Yield beats without end; the same seed gives the same beats.

    Examples
    --------
    >>> beat = next(stream(seed=1))
    >>> beat.window.shape, beat.label, beat.kind
    ((140, 1), 0, 'normal')
    """
    rng = np.random.default_rng(seed)
    while True:
        block = generate(_BLOCK, rng, anomaly_share)
        for window, label, kind in zip(*block, strict=True):
            yield Beat(window, int(label), str(kind))


def load(seed: int = 0, n_windows: int = 5000) -> Dataset:
    """Generate a data set of beats: four fifths to train on, one fifth to test on."""
    windows, labels, _ = generate(n_windows, np.random.default_rng(seed))
    n_train = int(_TRAIN_SHARE * n_windows)
    return Dataset(
        "synthetic-ecg",
        "",
        windows[:n_train],
        labels[:n_train],
        windows[n_train:],
        labels[n_train:],
    )


def _draw_shape(n_windows: int, rng: np.random.Generator) -> _Shape:
    """Vary Table I a little for each beat."""
    size = (n_windows, len(_ANGLES))
    middle_s = 1e-3 * SAMPLE_INTERVAL_MS * N_STEPS / 2
    return _Shape(
        angles=_ANGLES + rng.normal(0.0, 0.02, size),
        heights=_HEIGHTS * np.exp(rng.normal(0.0, 0.06, size)),
        widths=_WIDTHS * np.exp(rng.normal(0.0, 0.03, size)),
        rate_hz=np.exp(rng.normal(0.0, 0.03, n_windows)),
        peak_s=middle_s + rng.normal(0.0, 0.004, n_windows),
        breath=rng.uniform(0.0, 2 * np.pi, n_windows),
    )


def _with_anomalies(shape: _Shape, kinds: NDArray[np.str_]) -> _Shape:
    """Return the parameters changed for ectopic and missing beats.

    An ectopic beat comes early and without P, its QRS is broad and its T inverted. Of a missing
    beat only P remains: the atria contract, the ventricles do not.
    """
    heights, widths, peak_s = shape.heights.copy(), shape.widths.copy(), shape.peak_s.copy()
    ectopic, missing = kinds == "ectopic", kinds == "missing"
    heights[ectopic] *= (0.0, 0.7, 0.7, 0.7, -1.5)
    widths[ectopic] *= (1.0, 1.6, 1.6, 1.6, 1.2)
    peak_s[ectopic] -= 0.12
    heights[missing, 1:] = 0.0
    return replace(shape, heights=heights, widths=widths, peak_s=peak_s)


def _integrate(shape: _Shape) -> NDArray[np.float64]:
    """Return z at each step, shape (n_windows, n_steps), by the classical Runge-Kutta method.

    On the limit cycle the model's first two equations say that the angle runs at a constant
    speed, which leaves the third: z' = -sum_i a_i d_i exp(-d_i^2 / (2 b_i^2)) - (z - z_0), with
    d_i the angle to event i and z_0 the baseline that respiration moves.
    """
    step_s = 1e-3 * SAMPLE_INTERVAL_MS
    speed = 2 * np.pi * shape.rate_hz  # (n_windows,), rad/s

    def slope(z: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        angle = speed * (time_s - shape.peak_s)  # (n_windows,)
        distance = angle[:, np.newaxis] - shape.angles  # (n_windows, 5)
        distance = (distance + np.pi) % (2 * np.pi) - np.pi
        pull = shape.heights * distance * np.exp(-0.5 * (distance / shape.widths) ** 2)
        wander = np.sin(2 * np.pi * _RESPIRATION_HZ * time_s + shape.breath)
        baseline = _WANDER_MV / _MILLIVOLTS * wander  # (n_windows,)
        result: NDArray[np.float64] = -pull.sum(axis=1) - (z - baseline)
        return result

    z = np.zeros(len(shape.peak_s))
    steps = np.empty((N_STEPS, len(z)))
    for index in range(N_STEPS):
        steps[index] = z
        start_s = index * step_s
        k1 = slope(z, start_s)
        k2 = slope(z + 0.5 * step_s * k1, start_s + 0.5 * step_s)
        k3 = slope(z + 0.5 * step_s * k2, start_s + 0.5 * step_s)
        k4 = slope(z + step_s * k3, start_s + step_s)
        z = z + step_s / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.ascontiguousarray(steps.T)


def _shift_st(
    signal: NDArray[np.float64],
    rows: NDArray[np.intp],
    shape: _Shape,
    rng: np.random.Generator,
) -> None:
    """Raise or lower the signal between S and the end of T, in place, by 0.2 to 0.4 mV."""
    time_s = 1e-3 * SAMPLE_INTERVAL_MS * np.arange(N_STEPS)
    since_peak_s = time_s - shape.peak_s[rows, np.newaxis]  # (n_rows, n_steps)
    rise, fall = (0.5 * (1 + np.tanh((since_peak_s - at) / 0.01)) for at in (0.08, 0.34))
    height_mv = rng.uniform(0.2, 0.4, len(rows)) * rng.choice((-1.0, 1.0), len(rows))
    signal[rows] += height_mv[:, np.newaxis] * (rise - fall)


def _add_bursts(
    signal: NDArray[np.float64], rows: NDArray[np.intp], rng: np.random.Generator
) -> None:
    """Add noise of 0.2 to 0.4 mV to 30 to 70 steps in a row, in place."""
    length = rng.integers(30, 71, len(rows))
    start = rng.integers(0, N_STEPS - length)
    steps = np.arange(N_STEPS)
    inside = (steps >= start[:, np.newaxis]) & (steps < (start + length)[:, np.newaxis])
    height_mv = rng.uniform(0.2, 0.4, len(rows))[:, np.newaxis]
    signal[rows] += inside * height_mv * rng.normal(size=(len(rows), N_STEPS))
