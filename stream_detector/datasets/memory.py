"""Data that a program gave to `fit`: a bundle says what they were, and nobody kept them."""

from typing import NoReturn

from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import BY_NAME, ColumnMap


def load(columns: ColumnMap = BY_NAME, test_share: float | None = None) -> NoReturn:
    """Refuse to load what is not there.

    Parameters
    ----------
    columns, test_share
        As for a file.

    Raises
    ------
    DatasetError
        Always.
    """
    del columns, test_share
    message = (
        "data memory: expected data that can be read again, received a recipe whose data a program "
        "gave to fit; give a file, with --dataset FILE or --set data.name=csv --set data.path=FILE"
    )
    raise DatasetError(message)
