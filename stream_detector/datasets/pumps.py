"""A simulated fleet of pumps with labelled faults: seeded, and without a download.

Each pump has a temperature, a pressure and a vibration, once a second. All three follow its load,
which goes up and down within minutes, and the time of day; each has noise of its own that is
correlated in time. As with real telemetry, samples get lost, connections drop for some seconds,
single values are missing, and clocks jitter.

The training part has no faults. In the test part, three pumps of four have faults of seven kinds,
each in one feature; the kinds follow each other in turn, so each occurs equally often, give or take
one::

    kind          duration      what it does to the feature
    spike         1 to 3 s      adds 5 sd
    stuck         300 s         repeats the value at its start
    shift         300 s         adds or takes away 3 sd
    drift         900 s         adds what grows from 0 to 5 sd
    oscillation   300 s         adds a sine of 1.5 sd, with a period of 8 to 15 s
    noise         300 s         adds noise of 1.5 sd
    dead          300 s         has no value

Here sd is the standard deviation of that feature of that pump without faults.

Notes
-----
Simulated, with no model of a real pump behind it: what matters is that the features depend on each
other and on slow rhythms, so that most faults stay within the range of normal values.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.datasets.base import BASE_MS, SampleDataset
from stream_detector.errors import DatasetError
from stream_detector.text import shorten

FEATURES = ("temperature", "pressure", "vibration")
"""Names of the features."""

UNITS = ("°C", "bar", "mm/s")
"""What they are measured in."""

KINDS = ("spike", "stuck", "shift", "drift", "oscillation", "noise", "dead")
"""Kinds of faults."""

SAMPLE_INTERVAL_MS = 1_000
N_PUMPS = 20
TRAIN_HOURS, TEST_HOURS = 5.0, 3.0
N_FAULTS_EACH = 3
"""Faults of each pump that has any."""

_SEED, _SEED_MAX = re.compile(r"[0-9]{1,10}", re.ASCII), 2**32 - 1
_HOUR_S, _DAY_S = 3_600, 86_400
_FAULTLESS_EVERY = 4
"""One pump in so many has no faults."""

_LONGEST_S = 900
_REST_S = 300
"""Time without a fault around each fault, so that one is over before the next begins."""

_SHARE_LOST, _SHARE_MISSING = 0.005, 0.002
_DROPOUTS_PER_HOUR = 1.0
_DROPOUT_S = (5, 91)
_JITTER_MS = 30.0


class Fault(NamedTuple):
    """One fault.

    Parameters
    ----------
    key
        The pump.
    kind
        One of `KINDS`.
    feature
        One of `FEATURES`.
    start_ms, end_ms
        Times of its first sample and of the one after its last, milliseconds since 1970-01-01 UTC;
        of the grid of whole seconds, without the jitter of the pump's clock.
    """

    key: str
    kind: str
    feature: str
    start_ms: float
    end_ms: float

    @property
    def as_event(self) -> LabelledEvent:
        """Return the fault in the words of an evaluation, with room for the clock's jitter."""
        start_ms, end_ms = (each - SAMPLE_INTERVAL_MS / 2 for each in (self.start_ms, self.end_ms))
        return LabelledEvent(self.key, start_ms, end_ms, self.kind, (self.feature,))


class Fleet(NamedTuple):
    """Samples of all pumps, and the faults in them.

    Parameters
    ----------
    samples
        By pump and then by time, labelled 1 while a fault lasts.
    faults
        By pump and then by time.
    """

    samples: Samples
    faults: Sequence[Fault]


def load(series: str) -> SampleDataset:
    """Simulate 20 pumps for 8 hours: 5 to train on without faults, 3 to test on with faults.

    Parameters
    ----------
    series
        Which fleet: its seed, such as "0". Other seeds give other pumps and other faults.

    Raises
    ------
    DatasetError
        If it is not a whole number from 0 to 4294967295.
    """
    if not _SEED.fullmatch(series) or int(series) > _SEED_MAX:
        message = (
            f"data set pumps: expected the seed of a fleet, 0 to {_SEED_MAX}, as in pumps:0, "
            f"received {shorten(repr(series), 64)}"
        )
        raise DatasetError(message)
    samples, faults = simulate(int(series))
    is_test = samples.times_ms >= BASE_MS + TRAIN_HOURS * _HOUR_S * 1_000 - SAMPLE_INTERVAL_MS / 2
    return SampleDataset(
        "pumps",
        series,
        _where(samples, ~is_test),
        _where(samples, is_test),
        FEATURES,
        tuple(fault.as_event for fault in faults),
    )


def simulate(
    seed: int,
    *,
    n_pumps: int = N_PUMPS,
    train_hours: float = TRAIN_HOURS,
    test_hours: float = TEST_HOURS,
    kinds: Sequence[str] = KINDS,
) -> Fleet:
    """Simulate a fleet.

    Parameters
    ----------
    seed
        The same seed gives the same fleet.
    n_pumps
        Number of pumps, >= 1.
    train_hours, test_hours
        Hours without faults, and hours after them with faults. Three faults fit into 3 hours; of
        shorter hours as many as fit.
    kinds
        Which kinds of faults occur; none for a fleet without faults.

    Examples
    --------
    >>> fleet = simulate(0, n_pumps=4, train_hours=0.1, test_hours=0.5)
    >>> fleet.samples.keys
    ('pump-00', 'pump-01', 'pump-02', 'pump-03')
    >>> [(fault.key, fault.kind) for fault in fleet.faults]
    [('pump-00', 'spike'), ('pump-01', 'stuck'), ('pump-02', 'shift')]
    """
    rng = np.random.default_rng(seed)
    n_train = round(train_hours * _HOUR_S)
    n_steps = n_train + round(test_hours * _HOUR_S)
    keys = tuple(f"pump-{number:02d}" for number in range(n_pumps))
    faults: list[Fault] = []
    parts = []
    for number, key in enumerate(keys):
        values = _normal(n_steps, rng)  # (n_steps, n_features)
        labels = np.zeros(n_steps, dtype=np.int8)
        if kinds and number % _FAULTLESS_EVERY != _FAULTLESS_EVERY - 1:
            for start in _starts(n_train, n_steps, rng):
                kind = kinds[len(faults) % len(kinds)]
                faults.append(_add_fault(values, labels, (key, kind, start), rng))
        parts.append((number, *_transmit(values, labels, rng)))
    return Fleet(_join(keys, parts), faults)


def _normal(n_steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the signals of one pump without faults, shape (n_steps, n_features)."""
    seconds = np.arange(n_steps)
    day = np.sin(2 * np.pi * seconds / _DAY_S + rng.uniform(0, 2 * np.pi))  # (n_steps,)
    load = _load(n_steps, rng)  # (n_steps,), range about 0 to 1
    warmth = _smooth(load, 120.0)  # (n_steps,), the housing follows the load slowly
    scale = np.exp(rng.normal(0.0, 0.1, len(FEATURES)))  # no two pumps are quite alike
    temperature = 52.0 + 0.8 * day + 9.0 * scale[0] * warmth + _correlated(n_steps, 0.25, 20.0, rng)
    pressure = 3.2 + 1.1 * scale[1] * load - 0.03 * day + _correlated(n_steps, 0.05, 3.0, rng)
    roughness = 0.35 + 0.5 * scale[2] * load**2
    vibration = 1.4 + roughness * (1.0 + _correlated(n_steps, 0.3, 1.5, rng))
    offsets = rng.normal(0.0, (3.0, 0.2, 0.1))  # (n_features,)
    return np.column_stack([temperature, pressure, vibration]) + offsets


def _load(n_steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a load that changes between levels every one to four minutes, shape (n_steps,)."""
    n_levels = n_steps // 60 + 1
    durations = rng.integers(60, 240, n_levels)  # (n_levels,), seconds
    levels = np.where(np.arange(n_levels) % 2, 0.85, 0.25) + rng.normal(0.0, 0.06, n_levels)
    return _smooth(np.repeat(levels, durations)[:n_steps], 6.0)


def _smooth(signal: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Return a signal through a low-pass of first order, shape (n_steps,)."""
    smooth = np.empty_like(signal)
    share = 1.0 - np.exp(-1.0 / seconds)
    now = float(signal[0]) if len(signal) else 0.0
    for step, value in enumerate(signal.tolist()):
        now += share * (value - now)
        smooth[step] = now
    return smooth


def _correlated(
    n_steps: int, sd: float, seconds: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise with this standard deviation and correlation time, shape (n_steps,)."""
    keep = np.exp(-1.0 / seconds)
    steps = rng.normal(0.0, sd * np.sqrt(1.0 - keep**2), n_steps).tolist()
    noise, now = np.empty(n_steps), float(rng.normal(0.0, sd))
    for step, change in enumerate(steps):
        now = keep * now + change
        noise[step] = now
    return noise


def _starts(n_train: int, n_steps: int, rng: np.random.Generator) -> list[int]:
    """Return the steps at which the faults of one pump start: one in each part of the test."""
    room = _LONGEST_S + 2 * _REST_S
    n_faults = min(N_FAULTS_EACH, max((n_steps - n_train) // room, 0))
    edges = np.linspace(n_train, n_steps, n_faults + 1).astype(int)
    return [
        int(rng.integers(start + _REST_S, end - _LONGEST_S - _REST_S + 1))
        for start, end in pairwise(edges.tolist())
    ]


def _add_fault(
    values: NDArray[np.float64],
    labels: NDArray[np.int8],
    what: tuple[str, str, int],
    rng: np.random.Generator,
) -> Fault:
    """Add a fault of some key and kind at some step to the values, and mark it in the labels."""
    key, kind, start = what
    feature = int(rng.integers(len(FEATURES)))
    length = {"spike": int(rng.integers(1, 4)), "drift": _LONGEST_S}.get(kind, 300)
    span = slice(start, start + length)
    sd, sign = float(values[:, feature].std()), float(rng.choice((-1.0, 1.0)))
    steps = np.arange(length)
    if kind == "stuck":
        values[span, feature] = values[start, feature]
    elif kind == "dead":
        values[span, feature] = np.nan
    else:
        change = {
            "spike": np.full(length, 5.0 * sign),
            "shift": np.full(length, 3.0 * sign),
            "drift": 5.0 * sign * steps / length,
            "oscillation": 1.5 * np.sin(2 * np.pi * steps / rng.uniform(8.0, 15.0)),
            "noise": rng.normal(0.0, 1.5, length),
        }
        values[span, feature] += sd * change[kind]
    labels[span] = 1
    start_ms = BASE_MS + SAMPLE_INTERVAL_MS * start
    return Fault(key, kind, FEATURES[feature], start_ms, start_ms + SAMPLE_INTERVAL_MS * length)


def _transmit(
    values: NDArray[np.float64], labels: NDArray[np.int8], rng: np.random.Generator
) -> tuple[NDArray[np.float64], FloatArray, NDArray[np.int8]]:
    """Return times, values and labels of the samples that arrive, some values missing."""
    n_steps = len(values)
    is_lost = rng.random(n_steps) < _SHARE_LOST  # (n_steps,)
    for start in rng.integers(0, n_steps, rng.poisson(_DROPOUTS_PER_HOUR * n_steps / _HOUR_S)):
        is_lost[start : start + rng.integers(*_DROPOUT_S)] = True
    is_missing = rng.random(values.shape) < _SHARE_MISSING  # (n_steps, n_features)
    received = np.where(is_missing, np.nan, values).astype(np.float32)
    jitter = np.clip(rng.normal(0.0, _JITTER_MS, n_steps), -400.0, 400.0)
    times_ms = BASE_MS + SAMPLE_INTERVAL_MS * np.arange(n_steps) + np.round(jitter)
    return times_ms[~is_lost], received[~is_lost], labels[~is_lost]


def _join(
    keys: tuple[str, ...],
    parts: Sequence[tuple[int, NDArray[np.float64], FloatArray, NDArray[np.int8]]],
) -> Samples:
    """Return the samples of all pumps, by pump."""
    return Samples(
        keys=keys,
        series=np.concatenate([np.full(len(times), number) for number, times, _, _ in parts]),
        times_ms=np.concatenate([times for _, times, _, _ in parts]),
        values=np.ascontiguousarray(np.concatenate([values for _, _, values, _ in parts])),
        labels=np.concatenate([labels for _, _, _, labels in parts]),
    )


def _where(samples: Samples, mask: NDArray[np.bool_]) -> Samples:
    """Return some of the samples."""
    labels = samples.labels
    return Samples(
        samples.keys,
        samples.series[mask],
        samples.times_ms[mask],
        np.ascontiguousarray(samples.values[mask]),
        None if labels is None else labels[mask],
    )
