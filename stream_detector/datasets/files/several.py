"""Several files as one: a pattern such as pumps-*.csv, or a folder of tables."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stream_detector.datasets.files.columns import Columns
from stream_detector.errors import DatasetError
from stream_detector.recipes.datasets import PARQUET_SUFFIXES, is_parquet, is_table

_WILD = frozenset("*?[")


def files_of(path: Path) -> list[Path]:
    """Return the files that a path means, in the order of their names.

    Parameters
    ----------
    path
        A file, a pattern with `*`, `?` or `[..]`, or a folder of CSV files. A folder of Parquet
        files is one table, in as many files and subfolders as it has.

    Returns
    -------
    At least one; the path itself where it is no pattern and no folder of CSV files.

    Raises
    ------
    DatasetError
        If a pattern fits no file.
    """
    if path.is_dir():
        tables = [] if _has_parquet(path) else sorted(filter(is_table, path.iterdir()))
        return tables or [path]
    if not _WILD.intersection(str(path)) or path.exists():
        return [path]
    root = Path(path.anchor) if path.is_absolute() else Path()
    found = sorted(root.glob(str(path.relative_to(root))))
    if not found:
        message = f"{path}: expected files that fit the pattern, received none; check the path"
        raise DatasetError(message)
    return found


def is_parquet_source(path: Path) -> bool:
    """Return whether a file is Parquet, or a folder has such files."""
    return is_parquet(path) or (path.is_dir() and _has_parquet(path))


def holds_tables(path: Path) -> bool:
    """Return whether a path means CSV or Parquet files: by its name, or as a folder of some."""
    return is_table(path) or (
        path.is_dir() and (_has_parquet(path) or any(map(is_table, path.iterdir())))
    )


def _has_parquet(folder: Path) -> bool:
    """Return whether there is a Parquet file in a folder or below it."""
    return any(each.suffix.lower() in PARQUET_SUFFIXES for each in folder.rglob("*"))


def joined(path: Path, parts: Sequence[Columns], *, is_keyed: bool) -> Columns:
    """Return the columns of several files as those of one.

    Parameters
    ----------
    path
        What names all of them.
    parts
        Columns of each file, at least one.
    is_keyed
        Whether files without a column of keys are series of their own, called as the files are.

    Raises
    ------
    DatasetError
        If a file has other columns than the first one.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts:
        _require_same(first, part)
    if is_keyed and "key" not in first.named:
        parts = [_keyed(part) for part in parts]
    values, named = [], {name: list(cells) for name, cells in parts[0].named.items()}
    for part in parts:
        places = [list(part.value_names).index(name) for name in first.value_names]
        values.append(part.values[:, places])
    for part in parts[1:]:
        for name, cells in named.items():
            cells.extend(part.named[name])
    return replace(
        parts[0],
        path=path,
        values=np.concatenate(values),
        named=named,
        rows=np.concatenate([part.rows for part in parts]),
        form=[f"{len(parts)} files", *first.form],
    )


def _keyed(part: Columns) -> Columns:
    """Return columns with the name of their file as the key."""
    return replace(part, named={"key": [part.path.stem] * len(part.rows), **part.named})


def _require_same(first: Columns, part: Columns) -> None:
    """Refuse a file with other columns than the first one."""
    names = [{*part.named, *part.value_names} for part in (first, part)]
    if names[0] != names[1]:
        message = (
            f"{part.path}: expected the columns of {first.path}, "
            f"{', '.join([*first.named, *first.value_names])}, received "
            f"{', '.join([*part.named, *part.value_names])}; give files of one kind, or name "
            "the columns that all of them have with --features"
        )
        raise DatasetError(message)
