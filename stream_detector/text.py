"""Foreign text: what keys, headers, values, names and paths are turned into before people see them.

Pure. Whoever writes a record, a file or a bundle chooses such text. It can move a terminal's
cursor, forge a line, reverse what is read, run in a spreadsheet, or be a megabyte long.
"""

import json
import re

ERROR_CHARACTERS_MAX = 512
"""Longest message about a record. It goes into a header of its dead letter, into the log and to
terminals, so a record must not decide how long it is."""

_BETWEEN_VALUES = str.maketrans("\t\n\r", "   ")
"""Within a string JSON has no raw control characters, so these stand between two values."""

_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


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


def snake_case(name: str) -> str:
    """Return a name in lower case, camel case written with underscores.

    Examples
    --------
    >>> snake_case(" oilTemp ")
    'oil_temp'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()


def brief(value: object, n_characters_max: int = 40) -> str:
    """Return the beginning of a value from a record, as text.

    Parameters
    ----------
    value
        Of any kind, arrays and objects within each other as deep as a parser takes them.
    n_characters_max
        So much of it is shown.

    Examples
    --------
    >>> brief([1, 2]), brief("abc", 2)
    ('[1, 2]', 'ab')
    """
    try:
        return str(value)[:n_characters_max]
    except RecursionError:
        return f"{json_kind(value)} of arrays or objects too deep within each other"


def json_kind(value: object) -> str:
    """Return what a value of JSON is, in the words of JSON.

    Examples
    --------
    >>> [json_kind(each) for each in (None, True, {}, [], "a", 1.5)]
    ['null', 'true or false', 'an object', 'an array', 'a text', 'a number']
    """
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (dict, "an object"), (list, "an array"), (str, "a text"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "a number")


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


def quoted(text: str, n_characters_max: int = ERROR_CHARACTERS_MAX) -> str:
    r"""Return text as one field of a line: printable, cut, in quotes where it holds a space.

    So a text cannot look like the fields that follow it.

    Examples
    --------
    >>> [quoted(text) for text in ("pump-7", "a b=1", 'a" b', "")]
    ['pump-7', '"a b=1"', '"a\' b"', '""']
    """
    field = shorten(printable(text), n_characters_max)
    return '"' + field.replace('"', "'") + '"' if " " in field or not field else field


def json_line(document: str) -> str:
    r"""Return a JSON document on one line, with escapes for all that is not printable.

    It reads back equal: JSON has an escape for every character, of which lone surrogates are two.

    Parameters
    ----------
    document
        Valid JSON.

    Examples
    --------
    >>> print(json_line('{"key":\n"a\x9b31m\u202eb"}'))
    {"key": "a\u009b31m\u202eb"}
    """
    line = document.translate(_BETWEEN_VALUES)
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)


def csv_cell(text: str) -> str:
    r"""Return text for a cell of a CSV file that a spreadsheet may open.

    What is not printable is escaped. Text that begins as a formula does, with `=`, `+`, `-` or `@`,
    gets an apostrophe in front, unless it is a number; `read_csv_cell` takes it away again.

    Notes
    -----
    Source: OWASP, "CSV Injection"; it names the full-width forms of the four characters too.

    Examples
    --------
    >>> [csv_cell(text) for text in ("pump-7", "=1+1", "-5", "a\nb")]
    ['pump-7', "'=1+1", '-5', 'a\\nb']
    """
    shown = printable(text)
    return "'" + shown if _FORMULA.match(shown) and not _is_number(shown) else shown


def read_csv_cell(cell: str) -> str:
    """Return the text of a cell that `csv_cell` wrote; any other cell is returned as it is.

    Examples
    --------
    >>> [read_csv_cell(cell) for cell in ("pump-7", "'=1+1", "'-5", "'quoted'")]
    ['pump-7', '=1+1', "'-5", "'quoted'"]
    """
    is_marked = cell.startswith("'") and _FORMULA.match(cell) and not _is_number(cell[1:])
    return cell[1:] if is_marked else cell


def _is_number(text: str) -> bool:
    """Return whether a spreadsheet takes a text for a number, and not for a formula."""
    try:
        float(text)
    except ValueError:
        return False
    return True
