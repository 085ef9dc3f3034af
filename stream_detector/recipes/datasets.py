"""The registry of data sets: what the records of each are, which keys it takes, who loads it.

A new data set is a module in `stream_detector.datasets` and one entry here. The names in error
messages and `--help`, and every check of `[data]` against `[window]`, follow from the entries.
Loaders are named as text, since a recipe is checked without importing what loads its data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

RecordKind = Literal["window", "samples", "image"]

REQUIRED_KEYS = {"path": "the path of a file", "series": "the name of a series"}
"""Keys of `[data]` that some data sets require, and what messages call their values."""

COLUMN_KEYS = (
    *("key", "time", "time_format", "label", "normal_label", "features"),
    *("feature_name", "feature_value"),
)
"""Keys of `[data]` that say what the columns of a file are."""

ROW_KEYS = ("test_share", "leave_out")
"""Keys of `[data]` that say which rows of a file are the test part, and which are for no part."""

PARQUET_SUFFIXES = (".parquet", ".pq")
"""Ends of the names of Parquet files, in lower case."""


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One data set.

    Parameters
    ----------
    loaders
        For each kind of record that the set has, "module:function" below
        `stream_detector.datasets`. The function for windows or samples takes `keys` as keyword
        arguments and, where `path` is one of them, `n_features` for windows; the one for images
        takes the name of the set and an `ImageChoice`.
    keys
        Keys of `[data]` that this set takes beside those that every set takes.
    required
        Those of `keys` that a recipe must give.
    window
        Keys of `[window]` whose values the data set fixes.
    sample_interval_ms
        Time between two samples of a series; None if windows are whole records, or if it is the
        user's file.
    example
        Name of one series, for messages; empty if the data set has no series to choose from.
    """

    loaders: Mapping[RecordKind, str]
    keys: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    window: Mapping[str, int] = field(default_factory=dict)
    sample_interval_ms: float | None = None
    example: str = ""


def _images() -> DatasetEntry:
    """Return a set of grey images of 28 x 28 pixels in classes."""
    keys = ("n_windows", "normal", "anomalous", "anomalous_from")
    window = {"steps": 28, "features": 28, "channels": 1}
    return DatasetEntry({"image": "images:load"}, keys, window=window)


def _beats(loader: str, *keys: str) -> DatasetEntry:
    """Return a set of heartbeats of one lead and 140 time steps."""
    return DatasetEntry({"window": loader}, keys, window={"steps": 140, "features": 1})


def _series(loader: str, n_features: int, interval_ms: float, example: str) -> DatasetEntry:
    """Return a set of several recorded series, of which a recipe chooses one."""
    keys, window = ("series",), {"features": n_features}
    return DatasetEntry({"samples": loader}, keys, keys, window, interval_ms, example)


def _file(*keys: str) -> DatasetEntry:
    """Return a user's file, which holds windows or samples of any shape."""
    loaders: dict[RecordKind, str] = {
        "window": "files.windows:load",
        "samples": "files.samples:load",
    }
    return DatasetEntry(loaders, ("path", *COLUMN_KEYS, *ROW_KEYS, *keys), ("path",))


def _given() -> DatasetEntry:
    """Return data that a program gives to `fit`, and that nothing can load again."""
    loaders: dict[RecordKind, str] = {"window": "memory:load", "samples": "memory:load"}
    return DatasetEntry(loaders, (*COLUMN_KEYS, *ROW_KEYS))


DATASETS: Mapping[str, DatasetEntry] = {
    "ecg5000": _beats("ecg5000:load", "split"),
    "synthetic-ecg": _beats("synthetic_ecg:load", "seed", "n_windows"),
    "mitdb": _series("mitdb:load", 2, 1_000 / 360, "106"),
    "smd": _series("smd:load", 38, 60_000.0, "1-6"),
    "nab": _series("nab:load", 1, 300_000.0, "realKnownCause/machine_temperature_system_failure"),
    "pumps": _series("pumps:load", 3, 1_000.0, "0"),
    "ecg5000-raw": _series("ecg5000:load_raw", 1, 5.0, "tutorial"),
    "mnist": _images(),
    "fashion-mnist": _images(),
    "csv": _file(),
    "parquet": _file("n_windows_in_memory"),
    "memory": _given(),
}


def is_file(name: object) -> bool:
    """Return whether `data.name` stands for a user's file.

    Examples
    --------
    >>> is_file("parquet"), is_file("pumps"), is_file(None)
    (True, False, False)
    """
    return isinstance(name, str) and name in DATASETS and "path" in DATASETS[name].keys


def names_of(record: RecordKind) -> tuple[str, ...]:
    """Return the data sets whose records are of one kind.

    Examples
    --------
    >>> names_of("image")
    ('mnist', 'fashion-mnist')
    """
    return tuple(name for name, entry in DATASETS.items() if record in entry.loaders)


def built_in(record: RecordKind) -> tuple[str, ...]:
    """Return the data sets whose records are of one kind, without users' own data.

    Examples
    --------
    >>> built_in("window")
    ('ecg5000', 'synthetic-ecg')
    """
    return tuple(name for name in names_of(record) if "key" not in DATASETS[name].keys)


def names_with(key: str) -> tuple[str, ...]:
    """Return the data sets that take a key of `[data]`.

    Examples
    --------
    >>> names_with("path")
    ('csv', 'parquet')
    """
    return tuple(name for name, entry in DATASETS.items() if key in entry.keys)


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, from its name.

    Examples
    --------
    >>> is_parquet(Path("a.PQ")), is_parquet(Path("a.csv"))
    (True, False)
    """
    return path.suffix.lower() in PARQUET_SUFFIXES


def name_of(path: Path) -> str:
    """Return the name of a file without what it ends with, that before `.gz` included.

    Examples
    --------
    >>> name_of(Path("d/pumps.csv.gz")), name_of(Path("pumps.v2.csv")), name_of(Path("pumps"))
    ('pumps', 'pumps.v2', 'pumps')
    """
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def is_text_table(path: Path) -> bool:
    """Return whether a file may be CSV, from its name: compressed or not, also as `.txt`.

    Examples
    --------
    >>> is_text_table(Path("a.csv")), is_text_table(Path("a.TXT.gz")), is_text_table(Path("a.pq"))
    (True, True, False)
    """
    return path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt"))


def is_table(path: Path) -> bool:
    """Return whether a file is CSV or Parquet, from its name.

    Examples
    --------
    >>> is_table(Path("a.csv")), is_table(Path("a.CSV.gz")), is_table(Path("a.png"))
    (True, True, False)
    """
    return is_parquet(path) or path.name.lower().endswith((".csv", ".csv.gz"))
