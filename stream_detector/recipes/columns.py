"""Which column of a user's file is what, as the keys of `[data]` say it.

Without these keys, columns are found by their names: key, timestamp_ms and label; every other
column is a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

STANDARD_NAMES = {"key": "key", "time": "timestamp_ms", "label": "label"}
"""What the columns are called that are found by name."""

LABEL_NOTES = ("label_kind", "label_feature")
"""Columns that say more of a label: what kind of fault it marks, and in which features it shows."""

FEATURE_NAME = "feature_name"
"""What the column with the names of features is called where each row has one value."""

TIME_UNITS_MS = {"ms": 1.0, "s": 1_000.0, "us": 1e-3, "ns": 1e-6}
"""Milliseconds of one unit of a column of numbers."""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column is what.

    Parameters
    ----------
    key, time, label
        Names of the columns with the key of the series, the time and the label; None finds them by
        their standard names, "" says that there is none.
    time_format
        Unit of a column of numbers, one of `TIME_UNITS_MS`, "iso" for dates as ISO 8601 writes
        them, or a pattern of `datetime.strptime`; None takes what the cells say (`decide_format` of
        `stream_detector.datasets.files.times`). A date without a time zone is UTC.
    normal_label
        What the label of normal rows is; every other is anomalous. None takes 0 and 1.
    features
        Names of the columns that are features, or values of a window; none takes every other.
    is_strict
        Whether a named column must be there. False is for files other than the one that a recipe
        describes: they may have the standard names, and no labels.
    said
        Which of key, time, label and feature_name a person named for this file, so that it must
        have them.
    feature_name, feature_value
        Names of the columns with the name and the value of a feature, where each row has one value
        and the features of a sample meet by key and time. `features` are then names in the first.

    Examples
    --------
    >>> ColumnMap(key="machine", time="when").roles(["when", "machine", "flow"])
    ['timestamp_ms', 'key', 'flow']
    >>> ColumnMap(features=("flow",)).roles(["timestamp_ms", "note", "flow"])
    ['timestamp_ms', None, 'flow']
    """

    key: str | None = None
    time: str | None = None
    time_format: str | None = None
    label: str | None = None
    normal_label: str | None = None
    features: tuple[str, ...] = ()
    is_strict: bool = True
    said: tuple[str, ...] = ()
    feature_name: str | None = None
    feature_value: str | None = None

    @property
    def lenient(self) -> "ColumnMap":
        """Return the same for files other than the one that a recipe describes."""
        return replace(self, is_strict=False)

    def roles(self, names: Sequence[str]) -> list[str | None]:
        """Return what each column is: a standard name, its own name as a feature, None for neither.

        Parameters
        ----------
        names
            Headers of the file, without blanks around them.

        Raises
        ------
        ValueError
            If the file lacks a column that is named here; the message says which.
        """
        chosen = {"key": self.key, "time": self.time, "label": self.label}
        if not self.is_strict:
            # Where the named column is missing, the standard one may be there instead; and where
            # the recipe's own file has none, another one may have it.
            chosen = {
                name: each if each in names or name in self.said else None
                for name, each in chosen.items()
            }
        is_long = self._is_long(names)
        values = (self.feature_name, self.feature_value) if is_long else self.features
        named = (each for each in (*chosen.values(), *values) if each)
        lacking = [each for each in named if each not in names]
        if lacking:
            message = (
                f"expected the columns {', '.join(lacking)} that [data] or an option names, "
                f"received {', '.join(names)}"
            )
            raise ValueError(message)
        columns = {
            STANDARD_NAMES[name] if each is None else each: STANDARD_NAMES[name]
            for name, each in chosen.items()
            if each != ""
        }
        if chosen["label"] != "":
            columns |= {name: name for name in LABEL_NOTES}
        if is_long and self.feature_name is not None:
            columns |= {self.feature_name: FEATURE_NAME}
        wanted = [self.feature_value] if is_long else self.features or names
        others = set(wanted).difference((*STANDARD_NAMES.values(), *LABEL_NOTES))
        return [columns.get(name, name if name in others else None) for name in names]

    def _is_long(self, names: Sequence[str]) -> bool:
        """Return whether each row of a file with these headers has the value of one feature."""
        is_here = self.is_strict or FEATURE_NAME in self.said or self.feature_name in names
        return self.feature_name is not None and is_here

    def names_time_of(self, names: Sequence[str]) -> bool:
        """Return whether the time of a file with these headers is named, or is said to be none."""
        is_named = self.is_strict or "time" in self.said or self.time in names
        return self.time is not None and is_named

    def format_of(self, names: Sequence[str]) -> str | None:
        """Return the format of the times in a file with these headers, None where it is not said.

        A file that has the standard column in place of the one that is named has its own format.
        """
        is_here = self.is_strict or self.time is None or self.time in names
        return self.time_format if is_here else None


def is_time_format(text: str) -> bool:
    """Return whether a text is a unit, "iso", or a pattern that has a date or a time of day."""
    return text in TIME_UNITS_MS or text == "iso" or "%" in text


BY_NAME = ColumnMap()
"""Columns that are found by their standard names."""
