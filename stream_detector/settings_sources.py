"""Where settings come from: unknown keys of files, misspelt variables, and wrong values."""

import os
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath, read_toml
from stream_detector.text import shorten

ENVIRONMENT_PREFIX = "STREAM_DETECTOR_"

_SHOWN_MAX = 100
_MISSPELT = 0.8
"""A variable as like as this to a setting's is a misspelt one. Others are none of ours: those of
tests and benchmarks, or of the services of a Kubernetes cluster."""

_MAYBE_SECRET = ("sasl_", "ssl_", "schema_registry_", "security_")
"""Settings beside secrets, whose values are never shown: a password may be in the wrong place."""


def read_settings_file(file: AnyPath, known: Collection[str]) -> dict[str, Any]:
    """Return the settings of a file, refusing one that is not known.

    Raises
    ------
    ConfigError
        If the file cannot be read or a key is unknown.
    """
    try:
        values = read_toml(file)
    except (OSError, ValueError) as error:
        message = f"settings file {file} cannot be read: {error}"
        raise ConfigError(message) from None
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = ", ".join(sorted(known))
        message = f"settings file {file}: unknown {', '.join(unknown)}; known are {names}"
        raise ConfigError(message)
    return values


def refuse_misspelt_variables(known: Collection[str]) -> None:
    """Refuse an environment variable that is nearly a setting's, as a file's key is refused.

    Raises
    ------
    ConfigError
        If there is one.
    """
    for variable, value in sorted(os.environ.items()):
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        is_ours = variable.startswith(ENVIRONMENT_PREFIX) and not value.startswith("tcp://")
        if name in known or not is_ours:
            continue
        for near in get_close_matches(name, known, n=1, cutoff=_MISSPELT):
            message = (
                f"environment variable {variable}: expected the name of a setting, which this is "
                f"not; did you mean {ENVIRONMENT_PREFIX}{near.upper()}? If not, unset it"
            )
            raise ConfigError(message)


def describe_problems(
    problems: Sequence[Mapping[str, Any]], flags: Collection[str], file: AnyPath | None
) -> str:
    """Return every problem of a validation, one clause each, secrets left out.

    Parameters
    ----------
    problems
        As pydantic lists them, with the values received.
    flags
        Names of the settings that were given on the command line.
    file
        The file that gave those that neither the command line nor the environment did.
    """
    return "settings: " + "; ".join(_describe(each, flags, file) for each in problems)


def _describe(problem: Mapping[str, Any], flags: Collection[str], file: AnyPath | None) -> str:
    """Return a clause: the setting, what was expected, what was received, and from where."""
    name = ".".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    if not name:
        return text
    setting = str(problem["loc"][0])
    if not setting.startswith(_MAYBE_SECRET):
        text += f", received {shorten(repr(problem['input']), _SHOWN_MAX)}"
    variable = ENVIRONMENT_PREFIX + setting.upper()
    if setting in flags:
        return f"{name}: {text}"
    return f"{name}: {text}, from {variable if variable in os.environ else f'the file {file}'}"
