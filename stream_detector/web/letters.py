"""Dead letters by reason, each with an example, as the page shows them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stream_detector.core.codec.dead_letters import DeadLetter
from stream_detector.outputs.dead_letters import (
    Snapshot,
    Summary,
    count_letter,
    key_text,
    location_of,
    source_text,
)
from stream_detector.text import printable, shorten
from stream_detector.web.alert_board import name_of

LETTERS_MAX = 5_000
"""Most dead letters that are read, the newest of each partition."""

VALUE_CHARACTERS_MAX = 400


def read_letters(take_snapshot: Callable[[], Snapshot]) -> dict[str, Any]:
    """Return the newest dead letters by reason, the most frequent first, as values that JSON has.

    Parameters
    ----------
    take_snapshot
        Returns what the topic holds now.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    """
    snapshot = take_snapshot()
    n_each = max(1, LETTERS_MAX // max(1, len(snapshot.offsets)))
    newest = {
        each: range(max(offsets.start, offsets.stop - n_each), offsets.stop)
        for each, offsets in snapshot.offsets.items()
    }
    summary: Summary = {}
    examples: dict[tuple[str, str] | None, DeadLetter] = {}
    for letter in replace(snapshot, offsets=newest).letters():
        count_letter(summary, letter)
        examples[(letter.reason.stage, letter.reason.error) if letter.reason else None] = letter
    kinds = sorted(summary.items(), key=lambda item: -item[1].n_letters)
    return {
        "topic": snapshot.topic,
        "n_held": sum(map(len, snapshot.offsets.values())),
        "n_read": sum(tally.n_letters for tally in summary.values()),
        "kinds": [
            {
                "stage": _text(kind[0] if kind else "-"),
                "error": _text(kind[1] if kind else "no dead letter"),
                "n_letters": tally.n_letters,
                "n_redriven": tally.n_redriven,
                "oldest_ms": tally.oldest_ms,
                "newest_ms": tally.newest_ms,
                "example": _example(examples[kind]),
            }
            for kind, tally in kinds
        ],
    }


def _example(letter: DeadLetter) -> dict[str, Any]:
    """Return what is shown of a dead letter; all of it is printable and cut."""
    value = letter.value
    shown = (
        None if value is None else value[:VALUE_CHARACTERS_MAX].decode(errors="backslashreplace")
    )
    return {
        "name": name_of(key_text(letter.key) or ""),
        "message": _text(letter.reason.message if letter.reason else ""),
        "source": _text(source_text(letter) or ""),
        "location": str(location_of(letter)),
        "value": None if shown is None else shorten(printable(shown), VALUE_CHARACTERS_MAX),
        "n_value_bytes": None if value is None else len(value),
    }


def _text(text: str) -> str:
    """Return foreign text for people."""
    return shorten(printable(text), VALUE_CHARACTERS_MAX)
