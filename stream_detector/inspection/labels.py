"""Find the column that marks rows as anomalous."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.times import label_text, to_labels
from stream_detector.inspection.table import RawColumn
from stream_detector.text import snake_case

NORMAL_WORDS = (
    "normal", "ok", "okay", "healthy", "good", "nominal", "none", "no", "false", "benign", "fine",
    "no fault", "no_fault", "nofault", "no failure", "no_failure", "running", "regular", "pass",
    "passed", "operational", "in control", "inlier",
)  # fmt: skip
"""Labels of normal rows, in lower case; the first that occurs is taken."""

_NAME = re.compile(
    r"label|labels|y_true|ground_?truth|outlier|is_?outlier|attack|"
    r"(.*[ _-])?(anomal(y|ies|ous)|fault(s|y)?|fail(ed|ure|ures)?|defect|broken|is_?anomaly)"
    r"([ _-](label|class|flag|type|kind|id|name|status|code|state))?|"
    r"(is|has)[ _-]?(anomal.*|fault.*|fail.*)"
)
_MAYBE = re.compile(r"class|target|y|gt")
"""Names of labels that may be those of a feature too: only 0 and 1, mostly 0, are labels."""

_BAD = re.compile(r".*(fault|fail|broken|error|alarm|anomal|abnormal|leak|defect|damage|bad).*")
"""What the state of a machine may say when it is no mode of operation."""

_MAYBE_SHARE_MAX, _SHARE_MAX = 0.2, 0.5
_STATE = re.compile(r"(.*[ _-])?(status|state|condition|health|mode|quality)")
_KINDS_MAX = 50


@dataclass(frozen=True, slots=True, eq=False)
class LabelColumn:
    """The column of labels.

    Parameters
    ----------
    name
        Its name.
    normal_label
        What the label of a normal row is; None where labels are 0 and 1.
    is_normal
        Which rows are normal, shape (n_rows,).
    why
        Why it was taken, and how many rows are anomalous.
    """

    name: str
    normal_label: str | None
    is_normal: NDArray[np.bool_]
    why: str


def looks_like_label(column: RawColumn) -> bool:
    """Return whether a column is called as labels are, and holds few different values."""
    is_maybe = _MAYBE.fullmatch(snake_case(column.name)) is not None
    if is_maybe and column.numbers is not None:
        there = column.numbers[~np.isnan(column.numbers)]
        return set(there.tolist()) == {0.0, 1.0} and float(there.mean()) <= _MAYBE_SHARE_MAX
    if _NAME.fullmatch(snake_case(column.name)) is None:
        return False
    if column.numbers is not None:
        there = column.numbers[~np.isnan(column.numbers)]
        if not (there == np.trunc(there)).all():
            return False
    return len(_values(column)) <= _KINDS_MAX


def find_label(
    columns: Sequence[RawColumn], normal_label: str | None, *, is_said: bool
) -> LabelColumn | None:
    """Return the column of labels, None if there is none.

    Parameters
    ----------
    columns
        Those that may be it.
    normal_label
        What a person said is the label of a normal row.
    is_said
        Whether a person said that this is the column, so that its name does not matter.
    """
    named = [each for each in columns if is_said or looks_like_label(each)]
    plain = [each for each in named if each.name == "label"]
    # One of two values says better whether a row is normal than one that names kinds.
    for column in plain + sorted(named, key=lambda each: len(_values(each))):
        normal = normal_label or _normal_of(column)
        if normal is None:
            continue
        found = _as_label(column, normal, "as you said" if is_said else "called as labels are")
        if is_said or found.is_normal.mean() >= 1 - _SHARE_MAX:
            return found
    for column in columns:
        if column.numbers is None and _STATE.fullmatch(snake_case(column.name)):
            texts = _values(column)
            normal = next((word for word in NORMAL_WORDS if word in texts), None)
            is_state = any(_BAD.fullmatch(text) for text in texts)
            if normal is not None and is_state and len(texts) <= _KINDS_MAX:
                return _as_label(column, normal, f"says {normal}")
    return None


def _as_label(column: RawColumn, normal: str, why: str) -> LabelColumn:
    """Return a column as labels, given what a normal row has."""
    cells = column.cells if column.numbers is None else column.numbers.tolist()
    is_normal = to_labels(cells, normal) == 0
    n_anomalous = int((~is_normal).sum())
    is_plain = column.numbers is not None and set(_values(column)) <= {"0", "1"} and normal == "0"
    is_plain = is_plain and not np.isnan(column.numbers).any()  # type: ignore[arg-type]
    shown = "" if is_plain else f", normal is {normal}"
    why = f"{why}{shown}; {n_anomalous:,} rows are anomalous and not trained on"
    return LabelColumn(column.name, None if is_plain else normal, is_normal, why)


def _values(column: RawColumn) -> list[str]:
    """Return the different labels in a column, the most frequent first, missing ones left out."""
    numbers = column.numbers
    cells = column.cells if numbers is None else numbers[~np.isnan(numbers)].tolist()
    texts: Counter[str] = Counter()
    for cell, count in Counter(cells).items():
        texts[label_text(cell)] += count
    return [text for text, _ in texts.most_common() if text]


def _normal_of(column: RawColumn) -> str | None:
    """Return what the label of a normal row is, None where that cannot be told."""
    texts = _values(column)
    if not texts:
        return None
    if column.numbers is not None:
        if "0" in texts:
            return "0"
        # 1 and -1: as scikit-learn marks inliers and outliers, or the rarer is the anomaly. Where
        # most rows have no number, only anomalous rows have one.
        return "normal" if column.is_missing.mean() > _SHARE_MAX else texts[0]
    word = next((word for word in NORMAL_WORDS if word in texts), None)
    # Where only anomalous rows have a text, an empty cell is normal.
    missing = bool(column.is_missing.any())
    return word or ("normal" if missing else texts[0])
