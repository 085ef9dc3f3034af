"""What one check of the doctor found, and the words that all checks share."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from stream_detector.doctor.examination import Examination, Subject
from stream_detector.text import printable, shorten

Status = Literal["ok", "warning", "problem"]

N_SHOWN = 5
_CHARACTERS_MAX = 64


class Finding(NamedTuple):
    """What one check found.

    Parameters
    ----------
    check
        Its name.
    status
        A problem keeps records from being scored.
    found
        What was seen, and what was expected.
    what_to_do
        Empty where all is well.
    """

    check: str
    status: Status
    found: str
    what_to_do: str = ""


def check_rejected(
    examination: Examination, check: str, subject: Subject, advice: str
) -> Finding | None:
    """Return a finding on records that are rejected for one reason, None where there are none."""
    n_rejected = examination.rejected[subject]
    if not n_rejected:
        return None
    place, n_records = examination.examples[subject], examination.n_records
    found = f"{n_rejected:,} of {n_records:,} records rejected, such as {place.where}: "
    status: Status = "problem" if n_rejected == n_records else "warning"
    return Finding(check, status, found + place.error, advice)


def count_keys(n_keys: int, keys: Sequence[bytes]) -> str:
    """Return how many keys there are, and the first of them."""
    if not n_keys:
        return "no keys"
    shown = ", ".join(map(shown_key, keys[:N_SHOWN]))
    return f"{n_keys:,} {'key' if n_keys == 1 else 'keys'}, such as {shown}"


def duration_text(milliseconds: float) -> str:
    """Return a time in the largest unit of which it has two."""
    for unit, unit_ms in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if milliseconds >= 2 * unit_ms:
            return f"{milliseconds / unit_ms:,.1f} {unit}"
    return f"{milliseconds / 1000:.1f} s"


def shown_key(key: bytes) -> str:
    """Return a key as text that is safe to show."""
    return shorten(printable(key.decode(errors="backslashreplace")), _CHARACTERS_MAX)
