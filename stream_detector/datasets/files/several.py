"""Several files as one: a pattern such as pumps-*.csv, or a folder of tables."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from stream_detector.datasets.files.columns import Columns
from stream_detector.errors import DatasetError
from stream_detector.recipes.datasets import (
    PARQUET_SUFFIXES,
    is_parquet,
    is_table,
    is_text_table,
    name_of,
)

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
    return (
        is_parquet(path)
        or is_text_table(path)
        or (path.is_dir() and (_has_parquet(path) or any(map(is_table, path.iterdir()))))
    )


def _has_parquet(folder: Path) -> bool:
    """Return whether there is a Parquet file in a folder or below it."""
    return any(each.suffix.lower() in PARQUET_SUFFIXES for each in folder.rglob("*"))


def alike(first: Columns, part: Columns, *, is_keyed: bool) -> Columns:
    """Return rows of one of several files with the columns of the first one, in its order.

    Parameters
    ----------
    first
        Rows of the first file.
    part
        Rows of any of them.
    is_keyed
        Whether files without a column of keys are series of their own, called as the files are.

    Raises
    ------
    DatasetError
        If the file has other columns than the first one.
    """
    _require_same(first, part)
    if is_keyed and "key" not in part.named:
        named = {"key": [name_of(part.path)] * len(part.rows), **part.named}
        part = replace(part, named=named)
    return part.with_values([list(part.value_names).index(name) for name in first.value_names])


def stacked(path: Path, parts: Sequence[Columns]) -> Columns:
    """Return the rows of several parts, at least one, as those of one file; `path` names it."""
    first = parts[0]
    if len(parts) == 1:
        return replace(first, path=path)
    named = {name: [*chain(*(part.named[name] for part in parts))] for name in first.named}
    return replace(
        first,
        path=path,
        values=np.concatenate([part.values for part in parts]),
        named=named,
        rows=np.concatenate([part.rows for part in parts]),
    )


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
