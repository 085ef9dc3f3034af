"""MIT-BIH Arrhythmia Database: half-hour ECGs of two leads, every beat annotated.

A record has 650,000 samples, 360 a second. Its first five minutes are the training part. The
records have no dates: the first sample gets the time `BASE_MS`. All records together are series of
one data set, as if recorded at the same time.

Notes
-----
Source as read: the headers and annotations of the records; the table of beat annotation symbols at
physionet.org/physiobank/annotations.shtml as in the `wfdb` package, which has V for a premature
ventricular contraction and F for a fusion of a ventricular and a normal beat.
"""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.datasets.base import BASE_MS, SampleDataset
from stream_detector.datasets.fetch import RemoteFile, fetch
from stream_detector.errors import DatasetError

SAMPLES_PER_SECOND = 360
N_LEADS = 2
ANOMALOUS_SYMBOLS = ("V", "F")
"""Annotations labelled anomalous: premature ventricular contraction, and fusion beat."""

_TRAIN_SECONDS = 300
_URL = "https://physionet.org/files/mitdb/1.0.0/"

# sha256 of .hea, .dat and .atr.
_SHA256 = {
    "100": (
        "60ebc904c7bf3e04d142638d3fd5c903e8dc9f10f1ea3264e07926aa089ee75e",
        "b2ea3c250e56e48f4b7b90697832b8ecd1afa1e0bb31f2dcfea4ed6e1075a639",
        "8d8a5349fb16638ebbf649f1779d12e96d91b736b2aafe59db43719ae583d471",
    ),
    "106": (
        "ad5ed3ee5603926a07a09f0d0c9e2a7ff10a705dbafcde3d185317730a8839ab",
        "c017bc18b95b1f970bca143a044ee5d54168648b541e47aa656f2737a59c1202",
        "585347e6d1bd3ad89cdb52cb80945878a5e51026d81f871a376bb6e13936f7fa",
    ),
    "112": (
        "a78dc4b0907b3db806395cff76b3a2e9a70e889b9dc3702c7de55aa8b41abd7d",
        "3c7af9758687314255b5d946a58d9509d53ecf2a300230684fa8ecf00b774bdb",
        "69cf7ee24d65a5430162ae9b6452be9d4855c2af47f91976b7f02038ea115002",
    ),
    "115": (
        "3212847a692bf3bc5e1dde0343d272e7d56735983276031420060d51d0cdd41c",
        "34185efe9889608c76ebfbf5a467d3457970c6d11b77a2bf81b94bcf46e07c41",
        "4980667b19b7a637729d40762f071b483d69f5431db818cbddc9a8ae64cc4da2",
    ),
    "119": (
        "658f01382d7280a06e2f4c06363569d477394a6898c69ee788bb383f6092df63",
        "02a286a28e69b441568add915f16a2856b22bab893bf8729ee9654411ed3a5aa",
        "fd919c8ea20eed4a22fb37984977f30ce48d382eefd2d90934bf947a88e0fd7b",
    ),
    "200": (
        "9e0c2ff5b790cf624deab0ccb8a9f211a9e29a748d8197da3c1ee7c5b596b40c",
        "a9e203b3807b9fcd3647cde03444437cb8eec7f5128a8eb413edafb394272e0f",
        "f9624a11696760427d75314a78c31f89ca3c446af855890c8f8b66cddd8b3a3f",
    ),
    "208": (
        "5a27efda1bea972440a0b5f40a1c322898693e9602d5ce4722fe750b7dea46e9",
        "22873623623c44ee413a5b60cacb15d4af2723734836fb3ae45d9ff96bdb36e7",
        "33878519ee34d00cb233fdb15b11c2b8da0b0aea2e643d31b07105cc3392edf4",
    ),
    "221": (
        "09afd18974ee6e0cfa8b5b6ce80112c4df0cfbb8c8d01d3d085ecdf7790ada7b",
        "274d17c6a35f7adcbb10a59ea34350e5ad299c2d69e4fa579d8863213e1fe9ae",
        "92549b966cc17bcf2edf00a97237d1e350a761d9ffe20065b5ed303848aad7ae",
    ),
}
SERIES = tuple(_SHA256)
ALL = "all"
"""Name of all records together."""

_WARNING = "The inplace keyword"


def load(series: str) -> SampleDataset:
    """Load one record, or all: two leads in millivolts, five minutes to train on, the rest to test.

    Parameters
    ----------
    series
        Number of the record as text, one of `SERIES`, or `ALL`, where the number is the key.

    Returns
    -------
    The label is 1 for the one sample that a V or F annotation refers to, and 0 for every other:
    the database has the position of a beat, not its duration. The second lead is another one in
    some records, so features of all together have no names of leads.

    Raises
    ------
    DatasetError
        If the record is unknown, a file is missing, or wfdb is not installed.
    """
    if series != ALL:
        return _load_one(series)
    each = [_load_one(name) for name in SERIES]
    return SampleDataset(
        name="mitdb",
        split=ALL,
        train=_side_by_side([data.train for data in each]),
        test=_side_by_side([data.test for data in each]),
        feature_names=Features.generated(N_LEADS).names,
    )


def _load_one(series: str) -> SampleDataset:
    """Load one record; see `load`."""
    record, annotation = _read(series)
    n_samples = int(record.sig_len)
    labels = np.zeros(n_samples, dtype=np.int8)
    labels[annotation.sample[np.isin(annotation.symbol, ANOMALOUS_SYMBOLS)]] = 1
    times_ms = BASE_MS + np.arange(n_samples, dtype=np.float64) * (1000.0 / SAMPLES_PER_SECOND)
    values = np.ascontiguousarray(record.p_signal, dtype=np.float32)  # (n_samples, 2)

    def part(rows: slice) -> Samples:
        return Samples(
            keys=(series,),
            series=np.zeros(len(labels[rows]), dtype=np.intp),
            times_ms=times_ms[rows],
            values=values[rows],
            labels=labels[rows],
        )

    n_train = _TRAIN_SECONDS * SAMPLES_PER_SECOND
    return SampleDataset(
        name="mitdb",
        split=series,
        train=part(slice(n_train)),
        test=part(slice(n_train, n_samples)),
        feature_names=tuple(record.sig_name),
    )


def _side_by_side(parts: Sequence[Samples]) -> Samples:
    """Return labelled samples of one series each as samples of several series."""
    return Samples(
        keys=tuple(part.keys[0] for part in parts),
        series=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        times_ms=np.concatenate([part.times_ms for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        labels=np.concatenate([part.labels for part in parts if part.labels is not None]),
    )


def beats(series: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the sample and the symbol of each annotation of a record.

    Parameters
    ----------
    series
        Number of the record as text, one of `SERIES`.

    Returns
    -------
    Numbers of the annotated samples, counted from 0 at the start of the record, ascending, shape
    (n_annotations,), and the symbol of each. Annotations that are not beats, such as "+" for a
    change of rhythm, are included.

    Raises
    ------
    DatasetError
        If the record is unknown, a file is missing, or wfdb is not installed.
    """
    _, annotation = _read(series)
    return np.asarray(annotation.sample, dtype=np.int64), tuple(annotation.symbol)


def _read(series: str) -> tuple[Any, Any]:
    """Return record and annotation as read by wfdb."""
    if series not in _SHA256:
        message = (
            f"data set mitdb: expected one of the records {', '.join(SERIES)}, or {ALL}, "
            f"received {series!r}; only records with a known sha256 are supported"
        )
        raise DatasetError(message)
    try:
        with warnings.catch_warnings():
            # wfdb builds its table of symbols in a way that pandas has deprecated.
            warnings.filterwarnings("ignore", _WARNING, DeprecationWarning)
            import wfdb  # noqa: PLC0415  (part of the train extra)
    except ImportError:
        message = (
            "data set mitdb needs the train extra, which has the package wfdb: "
            "pip install 'stream-detector[train]'"
        )
        raise DatasetError(message) from None
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / series
        for suffix, sha256 in zip((".hea", ".dat", ".atr"), _SHA256[series], strict=True):
            name = f"{series}{suffix}"
            content = fetch(RemoteFile(f"mitdb/{name}", f"{_URL}{name}", sha256))
            stem.with_suffix(suffix).write_bytes(content)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _WARNING, DeprecationWarning)
            return wfdb.rdrecord(str(stem)), wfdb.rdann(str(stem), "atr")
