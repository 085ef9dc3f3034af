"""Make many series out of a few recordings."""

from collections.abc import Sequence

import numpy as np

from stream_detector.core.records import Samples


def make_fleet(
    recordings: Sequence[Samples],
    name: str,
    n_series: int,
    n_samples: int,
    sample_interval_ms: float,
    seed: int = 0,
) -> Samples:
    """Return many series, each a recording from a random place on.

    Series k has the key NAME-00k and recording k; with fewer recordings than series, they are used
    again. At its end a recording continues at its beginning. All series start at the start time of
    the first recording.

    Parameters
    ----------
    recordings
        One series each, not empty, all with the same number of features; their keys are not used.
    name
        First part of the keys, before the number.
    n_series
        Number of series, >= 1.
    n_samples
        Number of samples of each series, >= 1.
    sample_interval_ms
        Time from one sample to the next, above 0.
    seed
        Decides where each series begins, >= 0.

    Returns
    -------
    n_series * n_samples samples, one series after the other, with labels if all recordings have
    them. Always the same for the same arguments.

    Raises
    ------
    ValueError
        If there is no recording, or `n_series` or `n_samples` is below 1: the caller's mistake.

    Examples
    --------
    >>> ramp = Samples(
    ...     keys=("a",),
    ...     series=np.zeros(3, dtype=np.intp),
    ...     times_ms=np.array([5.0, 6.0, 7.0]),
    ...     values=np.arange(3, dtype=np.float32)[:, None],
    ... )
    >>> fleet = make_fleet([ramp], "pump", n_series=2, n_samples=4, sample_interval_ms=1)
    >>> fleet.keys, fleet.times_ms.tolist()
    (('pump-000', 'pump-001'), [5.0, 6.0, 7.0, 8.0, 5.0, 6.0, 7.0, 8.0])
    """
    sizes = {"recordings": len(recordings), "n_series": n_series, "n_samples": n_samples}
    for what, size in sizes.items():
        if size < 1:
            message = f"fleet of {name}: expected {what} of 1 or more, received {size}"
            raise ValueError(message)
    random = np.random.default_rng(seed)
    steps = np.arange(n_samples)
    values, labels = [], []
    for number in range(n_series):
        recording = recordings[number % len(recordings)]
        rows = (int(random.integers(len(recording))) + steps) % len(recording)
        values.append(recording.values[rows])
        labels.append(None if recording.labels is None else recording.labels[rows])
    known = [each for each in labels if each is not None]
    times_ms = recordings[0].times_ms[0] + sample_interval_ms * steps
    return Samples(
        keys=tuple(f"{name}-{number:03d}" for number in range(n_series)),
        series=np.repeat(np.arange(n_series), n_samples),
        times_ms=np.tile(times_ms, n_series),
        values=np.concatenate(values),
        labels=np.concatenate(known) if len(known) == n_series else None,
    )


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Join samples; a key that is in several parts is one series.

    Parameters
    ----------
    parts
        At least one, all with the same number of features. The samples of a series in a later part
        must be later in time.

    Returns
    -------
    Samples in the order of the parts, with labels if all parts have them.
    """
    keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))
    number = {key: index for index, key in enumerate(keys)}
    known = [part.labels for part in parts if part.labels is not None]
    return Samples(
        keys=keys,
        series=np.concatenate(
            [np.array([number[key] for key in part.keys], np.intp)[part.series] for part in parts]
        ),
        times_ms=np.concatenate([part.times_ms for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        labels=np.concatenate(known) if len(known) == len(parts) else None,
    )
