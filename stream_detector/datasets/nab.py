"""Numenta Anomaly Benchmark: the series of its folder realKnownCause, of one feature each.

The times of the files have no time zone and are read as UTC. They are irregular: hours are missing,
and times repeat where a clock was set back. Samples are sorted by time; of several samples with the
same time, the first in the file is kept.

Notes
-----
Source as read: the repository numenta/NAB, `labels/combined_windows.json` for the labels and
`nab/util.py` for the probationary period, in which a detector may learn and is not scored: 15 % of
a file, and for files of more than 5,000 rows 15 % of 5,000. Here it is 15 % of every file, so that
long files give enough windows to train a network.
"""

import csv
import io
import json
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.datasets.base import SampleDataset
from stream_detector.datasets.fetch import RemoteFile, fetch
from stream_detector.errors import DatasetError

_TRAIN_SHARE = 0.15
_URL = "https://raw.githubusercontent.com/numenta/NAB/master/"
_WINDOWS = RemoteFile(
    mirror_path="nab/labels/combined_windows.json",
    url=f"{_URL}labels/combined_windows.json",
    sha256="1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1",
)
_FOLDER = "realKnownCause"
_SHA256 = {
    "ambient_temperature_system_failure": (
        "230b68ccca20f59d562afd5d24ad52939c9b784386bed0054018358bf9120581"
    ),
    "cpu_utilization_asg_misconfiguration": (
        "58ba65dc0737cfbac11b51514476d50c438d44011232144bb8d93f392df58f9f"
    ),
    "ec2_request_latency_system_failure": (
        "98378580aa80157e057c61d59d81daddccc6c65a2c0c800e3f01f603b8215c3f"
    ),
    "machine_temperature_system_failure": (
        "92bf5b87fc7f9bba8ca0b7ec63ccaac8cb4a1371a258e8c29a10ae9c018d82a4"
    ),
    "nyc_taxi": "d8fa6f7f0734bf5c8be12c52a94e20a82664c397d9dec4449156bd453d32856d",
    "rogue_agent_key_hold": "47b110baa8e3636574c1033dda1cce780873647fab58223d159d4fee6f180e86",
    "rogue_agent_key_updown": "9797cfef477c13306f7a33874ab4d6cf700f8f2c7e5825a2a5bc02004370909a",
}
SERIES = tuple(f"{_FOLDER}/{name}" for name in _SHA256)


def load(series: str) -> SampleDataset:
    """Load one series.

    Parameters
    ----------
    series
        Folder and name without ".csv", one of `SERIES`.

    Returns
    -------
    The first 15 % of the samples are the training part. The label is 1 inside the benchmark's
    windows around its anomalies, both ends included. All windows of a series together cover a
    tenth of it; some lie in the training part.

    Raises
    ------
    DatasetError
        If the series is unknown, or a file is missing.
    """
    times_ms, values = _read(series)
    labels = np.zeros(len(times_ms), dtype=np.int8)
    for start, end in json.loads(fetch(_WINDOWS))[f"{series}.csv"]:
        labels[(times_ms >= _time_ms(start)) & (times_ms <= _time_ms(end))] = 1

    def part(rows: slice) -> Samples:
        return Samples(
            keys=(series,),
            series=np.zeros(len(labels[rows]), dtype=np.intp),
            times_ms=times_ms[rows],
            values=values[rows],
            labels=labels[rows],
        )

    n_train = int(_TRAIN_SHARE * len(times_ms))
    return SampleDataset(
        name="nab",
        split=series,
        train=part(slice(n_train)),
        test=part(slice(n_train, len(times_ms))),
        feature_names=("value",),
    )


def _read(series: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return strictly increasing times, shape (n_samples,), and values."""
    if series not in SERIES:
        message = (
            f"data set nab: expected one of the series {', '.join(SERIES)}, received {series!r}; "
            f"only series of the folder {_FOLDER} are supported"
        )
        raise DatasetError(message)
    name = f"data/{series}.csv"
    sha256 = _SHA256[series.rpartition("/")[2]]
    content = fetch(RemoteFile(f"nab/{name}", f"{_URL}{name}", sha256))
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    times_ms = np.array([_time_ms(row["timestamp"]) for row in rows])
    values = np.array([float(row["value"]) for row in rows]).astype(np.float32)
    # NumPy returns the sorted times and the index of the first sample with each time.
    times_ms, first = np.unique(times_ms, return_index=True)
    return times_ms, values[first, np.newaxis]  # (n_samples, 1)


def _time_ms(text: str) -> float:
    """Return a time without a zone as milliseconds since 1970-01-01 UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000.0
