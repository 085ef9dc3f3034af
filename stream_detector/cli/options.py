"""What the commands share: options, the help of options that are settings, panels, examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream_detector.cli.terminal import parse_duration_s
from stream_detector.errors import ConfigError
from stream_detector.recipes import parse_overrides
from stream_detector.settings import (
    ClientName,
    ConnectionSettings,
    DetectSettings,
    EngineName,
    load_settings,
)

OFFLINE = "Offline, on files"
ONLINE = "Online, on Kafka"
"""Panels of the program's help."""


def examples(*commands: str) -> str:
    """Return the last part of a command's help: command lines that can be copied."""
    return "\n".join(("Examples:", "", "```text", *commands, "```"))


def setting_help(field: str) -> str:
    """Return a setting's description and its default."""
    setting = DetectSettings.model_fields[field]
    default = "" if setting.default in (None, False) else f" Default {setting.default}."
    return f"{setting.description}.{default}"


def setting_option(field: str, **options: Any) -> Any:
    """Return an option whose help is the setting's description and default."""
    return typer.Option(help=setting_help(field), show_default=False, **options)


BundlePath = Annotated[Path, typer.Argument(help="Folder that `train` wrote.", show_default=False)]
WindowFile = Annotated[
    Path,
    typer.Argument(help="FILE.csv or FILE.parquet, windows or samples; or a folder of images."),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", help="CSV to write; default standard output.")
]
OutFileOrFolder = Annotated[
    Path | None,
    typer.Option(
        "--out", help="CSV to write, default standard output; for images a folder of PNGs."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of a table.")]
Part = Literal["test", "all"]
Engine = Annotated[EngineName, typer.Option(help="What runs the network.")]

Servers = Annotated[str | None, setting_option("bootstrap_servers", metavar="HOST:PORT[,...]")]
Client = Annotated[ClientName | None, setting_option("client")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="TOML file of settings; flags win over it.")
]


Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a key of the recipe's [input] for this run, as in input.key=device."
    ),
]


def input_changes(overrides: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the keys of `[input]` that `--set` changes, None where there are none.

    Raises
    ------
    ConfigError
        If an override is malformed, or is one of another table, which a bundle has fixed.
    """
    if not overrides:
        return None
    values = parse_overrides(overrides)
    changes = values.pop("input", {})
    if values or not isinstance(changes, dict):
        others = ", ".join(values) or "input"
        message = (
            f"--set: expected input.KEY=VALUE, received {others}; all else is part of the bundle: "
            "train another"
        )
        raise ConfigError(message)
    return changes


def connection_settings(
    servers: str | None, client: ClientName | None, settings_file: Path | None
) -> ConnectionSettings:
    """Return how to reach Kafka, as flags, environment and file say.

    Raises
    ------
    ConfigError
        If a setting is wrong.
    """
    return load_settings(
        ConnectionSettings, settings_file, bootstrap_servers=servers, client=client
    )


def seconds(text: str | None, flag: str) -> float | None:
    """Return a duration given as text, None where it was not given.

    Raises
    ------
    ConfigError
        If it is no duration above zero; the message names the flag.
    """
    return None if text is None else parse_duration_s(text, flag)
