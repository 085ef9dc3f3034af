"""Server Machine Dataset: 38 metrics of a server, one sample a minute, with labelled faults.

The recording of each machine has two halves, a normal one and one with faults, which are the
training and the test part. Its publishers scaled every feature to [0, 1] and removed the dates: the
first sample gets the time `BASE_MS`, and the test part follows the training part without a gap.

Notes
-----
Source: Y. Su, Y. Zhao, C. Niu, R. Liu, W. Sun, D. Pei (2019), "Robust Anomaly Detection for
Multivariate Time Series through Stochastic Recurrent Neural Network", KDD 2019, whose repository
NetManAIOps/OmniAnomaly holds the files. The paper itself was not read.
"""

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.datasets.base import BASE_MS, SampleDataset
from stream_detector.datasets.fetch import RemoteFile, fetch
from stream_detector.errors import DatasetError

N_FEATURES = 38
SAMPLE_INTERVAL_MS = 60_000

_URL = "https://raw.githubusercontent.com/NetManAIOps/OmniAnomaly/master/ServerMachineDataset/"
_FOLDERS = ("train", "test", "test_label", "interpretation_label")

# sha256 of the file in each of `_FOLDERS`.
_SHA256 = {
    "1-6": (
        "27e1765c04c2a5d08f39d98e7979e7764886fc733c36382fe081157a5ac0b9d8",
        "0797fe4bfd25ef13c830955cb9f2a36b4c9d5da265b8e91702408b6b048267f4",
        "8359ffa67b5421b0b9967ccf396a58c7b3bf52fa24c3f95e6b9df6486f1d6365",
        "2cc68339b99fbf9ec0891c2a081c2d05ee04087a766d6200572fc74e99867f8f",
    ),
    "2-1": (
        "d6eb13ff74a537cf33686319fffdd4cdcb394862570a3acd519b4c37af97cd2e",
        "2d103661799271be958227907950a1c76803356442d60a4070671cc0abbefb20",
        "416dd20a447f38b8d9394382293ed44f509c1c3f99c4aa2fbff179498626dbdc",
        "fe4e3a67039d46045b9a3b18fd4dd6138f5c228447fcefb0c5f4beb1f46ede37",
    ),
    "2-7": (
        "32e9d88b18bf1b377a2bd0a6d5de2a766f36c58781e76dbe2491b0347557dec2",
        "58c3dfd109437ccbedab9d36608d32874c2ae5473484c5941f85349baf32cef8",
        "d9d7aceca750277dd28883f7b5b34da3653652ea9c96de78baa84daeebc4a9b7",
        "61b6ffc489cc22c3c08c514c59dde1bc6a0f3991cc964aff0626555e151241fe",
    ),
    "3-3": (
        "6bbad775c6ef6319abba08aaa6faa2befb2cd570f9db85b80413ae6fdf1047a4",
        "ecc3140ce24869a44ebac9b03ca372fb1a6eb7e5bde96946f1a350283d4b152a",
        "4e2c657f613759f11f167c5540d047723d41d8a3c76467fa4daafcc8a7112035",
        "25da8eda22a12fedc4a3009351d6bbbfa45ed5d5f7b7aaec458840bae2378239",
    ),
}
SERIES = tuple(_SHA256)


class Interpretation(NamedTuple):
    """The features that a fault shows in, as annotated by the publishers.

    Parameters
    ----------
    start, end
        First sample of the fault, and the sample after its last, counted from 0 at the start of
        the test part.
    features
        Numbers of the features, from 0, ascending.
    """

    start: int
    end: int
    features: tuple[int, ...]


def load(series: str) -> SampleDataset:
    """Load one machine.

    Parameters
    ----------
    series
        Group and number of the machine, one of `SERIES`.

    Returns
    -------
    All labels of the training part are 0, since the publishers consider it normal. Features are
    named "0" to "37"; the publishers give no names.

    Raises
    ------
    DatasetError
        If the machine is unknown, or a file is missing.
    """
    train, test = _table(series, "train"), _table(series, "test")
    labels = _table(series, "test_label")[:, 0].astype(np.int8)
    n_samples = len(train) + len(test)
    times_ms = BASE_MS + SAMPLE_INTERVAL_MS * np.arange(n_samples, dtype=np.float64)
    return SampleDataset(
        name="smd",
        split=series,
        train=_samples(series, times_ms[: len(train)], train, np.zeros(len(train), np.int8)),
        test=_samples(series, times_ms[len(train) :], test, labels),
        feature_names=tuple(map(_feature_name, range(N_FEATURES))),
        faults=tuple(
            LabelledEvent(
                series,
                float(times_ms[len(train) + each.start]),
                float(times_ms[len(train) + each.end - 1]),
                features=tuple(map(_feature_name, each.features)),
            )
            for each in interpretations(series)
        ),
    )


def _feature_name(number: int) -> str:
    """Return the name of a feature; the publishers give none."""
    return f"reading_{number}"


def interpretations(series: str) -> list[Interpretation]:
    """Return the features that each fault of the test part shows in, in order of time.

    Parameters
    ----------
    series
        Group and number of the machine, one of `SERIES`.

    Returns
    -------
    One item for each line of the file. Items may be nested: machine 3-3 has 28 items for 26 runs
    of labelled samples, since two short items, from 4564 to 4567 and from 19459 to 19462, lie
    within longer ones.

    Raises
    ------
    DatasetError
        If the machine is unknown, or a file is missing.
    """
    found = []
    for line in _content(series, "interpretation_label").decode().split():
        span, _, listed = line.partition(":")
        start, _, end = span.partition("-")
        # The file counts features from 1, and an end is the sample after the last labelled one.
        features = sorted({int(number) - 1 for number in listed.split(",")})
        found.append(Interpretation(int(start), int(end), tuple(features)))
    return sorted(found)


def _samples(
    series: str, times_ms: NDArray[np.float64], table: NDArray[np.float64], labels: NDArray[np.int8]
) -> Samples:
    """Return one part as samples of one series."""
    return Samples(
        keys=(series,),
        series=np.zeros(len(table), dtype=np.intp),
        times_ms=times_ms,
        values=np.ascontiguousarray(table, dtype=np.float32),
        labels=labels,
    )


def _table(series: str, folder: str) -> NDArray[np.float64]:
    """Return the numbers of a comma-separated file, one sample in each row."""
    return np.loadtxt(io.BytesIO(_content(series, folder)), delimiter=",", ndmin=2)


def _content(series: str, folder: str) -> bytes:
    """Return one of a machine's files."""
    if series not in _SHA256:
        message = (
            f"data set smd: expected one of the machines {', '.join(SERIES)}, "
            f"received {series!r}; only machines with a known sha256 are supported"
        )
        raise DatasetError(message)
    name = f"{folder}/machine-{series}.txt"
    sha256 = _SHA256[series][_FOLDERS.index(folder)]
    return fetch(RemoteFile(f"smd/{name}", f"{_URL}{name}", sha256))
