"""Foreign text: what keys, headers, values, names and paths are turned into before people see them.

Pure. Whoever writes a record, a file or a bundle chooses such text. It can move a terminal's
cursor, forge a line, reverse what is read, or be a megabyte long.
"""

ERROR_CHARACTERS_MAX = 512
"""Longest message about a record. It goes into a header of its dead letter, into the log and to
terminals, so a record must not decide how long it is."""


def printable(text: str) -> str:
    r"""Return text on one line in which every character that is not printable is escaped.

    Escaped are control characters (C0, C1, newlines), format characters (among them those that
    reverse the direction of writing), separators other than the space, and lone surrogates.

    Examples
    --------
    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def shorten(text: str, n_characters_max: int = ERROR_CHARACTERS_MAX) -> str:
    """Return text of at most so many characters, which says how long it was where it was cut.

    Parameters
    ----------
    text
        Any text.
    n_characters_max
        Most characters of the result, at least 32.

    Examples
    --------
    >>> shorten("a" * 2_000, 32)
    'aaaaaaaaaa... (2,000 characters)'
    >>> shorten("short", 32)
    'short'
    """
    if len(text) <= n_characters_max:
        return text
    end = f"... ({len(text):,} characters)"
    return text[: n_characters_max - len(end)] + end
