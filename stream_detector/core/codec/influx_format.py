r"""The record format `influx`: lines of InfluxDB's line protocol, read by a mapping.

Pure. A line is `measurement,tag=text field=1.5,other=2i 1556813561098000000`: tags, fields and
time are separated by blanks, and a backslash takes the meaning of a blank, a comma or an equals
sign. The document has the names of Telegraf's JSON: `metrics`, each with `name`, `tags`, `fields`
and `timestamp`.

Source, as read: InfluxData, "Line protocol reference" (InfluxDB OSS v2), sections "Elements of line
protocol", "Data types and format" and "Special characters".
"""

import re
from typing import Any

from stream_detector.core.codec.mapping import InputMapping
from stream_detector.errors import RecordDecodeError

MEDIA_TYPES = {"influx": b"application/vnd.influxdata.line-protocol"}
"""What the `content-type` header says for this format."""

_NAME = r"(?:\\[,= ]|\\(?![,= ])|[^,= \\])++"
_VALUE = r'(?:"(?:\\.|[^"\\])*+"|[^,= "]++)'
_LINE = re.compile(
    r"(?P<name>(?:\\[, ]|\\(?![, ])|[^, \\])++)"
    rf"(?P<tags>(?:,{_NAME}={_NAME})*+) +"
    rf"(?P<fields>{_NAME}={_VALUE}(?:,{_NAME}={_VALUE})*+)"
    r"(?: +(?P<time>-?[0-9]{1,20}))? *"
)
_TAG = re.compile(f"({_NAME})=({_NAME})")
_FIELD = re.compile(f"({_NAME})=({_VALUE})")
_ESCAPED = re.compile(r"\\([,= ])")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"(-?[0-9]+)[iu]")
_TRUTH = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}


def read_document(value: bytes, mapping: InputMapping) -> dict[str, Any]:
    """Return the lines of a record.

    Parameters
    ----------
    value
        One or more lines in UTF-8. Empty lines and comments, which begin with #, are left out.
    mapping
        Not used.

    Raises
    ------
    RecordDecodeError
        If one is no line of the protocol: bad data.

    Examples
    --------
    >>> line = b"weather,site=A temp=21.5,n=3i 1556813561098000000"
    >>> document = read_document(line, InputMapping())
    >>> document["metrics"][0]["tags"], document["metrics"][0]["fields"]
    ({'site': 'A'}, {'temp': 21.5, 'n': 3.0})
    """
    del mapping
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        message = f"line protocol: expected UTF-8, received {value[:40]!r}: {error}"
        raise RecordDecodeError(message) from None
    lines = [line.strip("\r") for line in text.split("\n")]
    metrics = [_read_line(line) for line in lines if line.strip() and not line.startswith("#")]
    if not metrics:
        message = f"line protocol: expected a line, received {value[:40]!r}"
        raise RecordDecodeError(message)
    return {"metrics": metrics}


def _read_line(line: str) -> dict[str, Any]:
    """Return one line."""
    found = _LINE.fullmatch(line)
    if found is None:
        message = (
            "line protocol: expected measurement,tag=text field=1.5 1556813561098000000, received "
            f"{line[:80]!r}"
        )
        raise RecordDecodeError(message)
    metric: dict[str, Any] = {
        "name": _plain(found["name"]),
        "tags": {_plain(name): _plain(text) for name, text in _TAG.findall(found["tags"])},
        "fields": {_plain(name): _field(text) for name, text in _FIELD.findall(found["fields"])},
    }
    if found["time"] is not None:
        metric["timestamp"] = int(found["time"])
    return metric


def _plain(name: str) -> str:
    """Return a name without the backslashes that take a meaning away."""
    return _ESCAPED.sub(r"\1", name)


def _field(text: str) -> Any:
    """Return the value of a field: a number, a text or a truth value."""
    if text.startswith('"'):
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if _NUMBER.fullmatch(text):
        return float(text)
    if whole := _WHOLE.fullmatch(text):
        return float(whole[1])
    if text in _TRUTH:
        return _TRUTH[text]
    message = f"line protocol: expected a number, a text in quotes or true, received {text[:40]!r}"
    raise RecordDecodeError(message)
