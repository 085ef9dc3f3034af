"""Which log events the source writes, found without running it."""

import ast
from pathlib import Path
from typing import NamedTuple

_NAME = "log_event"


class LogCalls(NamedTuple):
    """All calls of `log_event` with one name.

    Parameters
    ----------
    level
        Name of the level, such as "INFO".
    fields
        Fields that the calls name.
    others
        Keywords of all other calls in the same modules: a call may pass fields on with `**`.
    """

    level: str
    fields: set[str]
    others: set[str]


def log_calls(package: Path) -> dict[str, LogCalls]:
    """Return the calls of `log_event` in a package by the name of the event.

    Raises
    ------
    ValueError
        If a call does not say its level and event as literals, or two calls differ in level.
    """
    found: dict[str, LogCalls] = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if _NAME not in text:
            continue  # most modules log nothing, and to parse them takes time
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        keywords = {each.arg for call in calls for each in call.keywords if each.arg}
        for call in calls:
            if not (isinstance(call.func, ast.Name) and call.func.id == _NAME):
                continue
            level, event = call.args
            name = event.value if isinstance(event, ast.Constant) else None
            if not isinstance(level, ast.Attribute) or not isinstance(name, str):
                message = f"{path}:{call.lineno}: expected log_event(logging.LEVEL, 'event', ...)"
                raise ValueError(message)  # noqa: TRY004  (wrong source, not a wrong type)
            has_more = any(each.arg is None for each in call.keywords)
            known = found.setdefault(name, LogCalls(level.attr, set(), set()))
            if known.level != level.attr:
                message = f"{path}:{call.lineno}: {name} has two levels"
                raise ValueError(message)
            known.fields.update(each.arg for each in call.keywords if each.arg)
            known.others.update(keywords if has_more else ())
    return found
