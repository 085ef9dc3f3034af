"""What the commands share: options, the help of options that are settings, panels, examples."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from stream_detector.cli.terminal import parse_duration_s
from stream_detector.errors import ConfigError
from stream_detector.recipes import changes_of_run
from stream_detector.recipes.columns import FEATURE_NAME, ColumnMap, is_time_format
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


def setting_help(field: str, kind: type[ConnectionSettings] = DetectSettings) -> str:
    """Return a setting's description and its default."""
    setting = kind.model_fields[field]
    default = "" if setting.default in (None, False) else f" Default {setting.default}."
    return f"{setting.description}.{default}"


def setting_option(
    field: str, kind: type[ConnectionSettings] = DetectSettings, **options: Any
) -> Any:
    """Return an option whose help is the setting's description and default."""
    return typer.Option(help=setting_help(field, kind), show_default=False, **options)


BundlePath = Annotated[Path, typer.Argument(help="Folder that `train` wrote.", show_default=False)]
WindowFile = Annotated[
    Path,
    typer.Argument(
        help="FILE.csv or FILE.parquet, windows or samples, 'FILES-*.csv' or a folder of them; or "
        "a folder of images."
    ),
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
JsonLines = Annotated[bool, typer.Option("--json", help="Write each as one line of JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of a table.")]
Part = Literal["test", "all"]
Engine = Annotated[EngineName, typer.Option(help="What runs the network.")]

Key = Annotated[
    str | None, typer.Option(help='File: column with the key of the series; "" for none.')
]
Time = Annotated[str | None, typer.Option(help="File: column with the time.")]
TimeFormat = Annotated[
    str | None,
    typer.Option(help="File: s, ms, us, ns, iso or a pattern; default what the cells look like."),
]
Label = Annotated[str | None, typer.Option(help='File: column with the label; "" for none.')]
FeatureNames = Annotated[
    str | None,
    typer.Option("--features", help="File: columns that are features, with commas between them."),
]

Long = Annotated[
    str | None,
    typer.Option(
        "--long",
        metavar="NAME,VALUE",
        help="File of samples with one value a row: the columns with the name of the feature and "
        "with its value.",
    ),
]

CountOrNames = Annotated[
    str | None,
    typer.Option(
        "--features",
        help="Windows: how many features those of a file have, 1 by default. Or the columns of a "
        "file that are features, with commas between them.",
    ),
]

Servers = Annotated[str | None, setting_option("bootstrap_servers", metavar="HOST:PORT[,...]")]
Client = Annotated[ClientName | None, setting_option("client")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="TOML file of settings; flags win over it.")
]
InputTopic = Annotated[
    str | None,
    typer.Option("--topic", help="Topic to read; default the setting input_topic."),
]
FromBeginning = Annotated[
    bool,
    typer.Option(
        "--from-beginning",
        help="Start with the oldest that is kept instead of the next one published.",
    ),
]
StopWhenIdle = Annotated[
    str | None, typer.Option(help="Stop after so long without a record, such as 5s.")
]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a key of the recipe's [input] or [alerting] for this run, as in "
        "input.key=device or alerting.features.pressure.direction=below.",
    ),
]


def input_changes(overrides: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the keys of `[input]` that `--set` changes, None where there are none.

    Raises
    ------
    ConfigError
        If an override is malformed, or is one of another table.
    """
    return changes_of_run(overrides or [], ("input",)).get("input")


def run_changes(overrides: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Return what `--set` changes of a bundle's recipe, by table.

    Raises
    ------
    ConfigError
        If an override is malformed, or is one of a table that a bundle has fixed.
    """
    return changes_of_run(overrides or [])


class SaidColumns(NamedTuple):
    """What options say about the columns of a file; None says nothing.

    Parameters
    ----------
    key, time, time_format, label
        As in `stream_detector.recipes.columns.ColumnMap`.
    features
        Names with commas between them.
    long
        Names of the columns of a feature's name and value, with a comma between them.
    """

    key: str | None = None
    time: str | None = None
    time_format: str | None = None
    label: str | None = None
    features: str | None = None
    long: str | None = None

    def over(self, base: "ColumnMap") -> "ColumnMap":
        """Return which column is what: as is said here, and else as in `base`.

        Raises
        ------
        ConfigError
            If the format of the time is none.
        """
        if self.time_format is not None and not is_time_format(self.time_format):
            message = (
                "--time-format: expected s, ms, us, ns, iso or a pattern such as "
                f"'%d.%m.%Y %H:%M:%S', received {self.time_format!r}"
            )
            raise ConfigError(message)
        given = {
            name: each
            for name, each in (("key", self.key), ("time", self.time), ("label", self.label))
            if each is not None
        }
        changes: dict[str, Any] = dict(given)
        if self.time is not None or self.time_format is not None:
            changes["time_format"] = self.time_format
        if self.features is not None:
            changes["features"] = self.feature_names
        if self.long is not None:
            changes["feature_name"], changes["feature_value"] = self.long_names
            given[FEATURE_NAME] = self.long
        return replace(base, **changes, said=tuple(given)) if changes else base

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Return the names of the features, in order."""
        return names_in(self.features)

    @property
    def long_names(self) -> tuple[str, str]:
        """Return the columns with the name and the value of a feature.

        Raises
        ------
        ConfigError
            If these are not two.
        """
        names = [name.strip() for name in (self.long or "").split(",")]
        if len(names) != 2 or not all(names):  # noqa: PLR2004
            message = f"--long: expected two columns, as in tag,value, received {self.long!r}"
            raise ConfigError(message)
        return names[0], names[1]

    @property
    def overrides(self) -> list[str]:
        """Return the same as overrides of a recipe."""
        changes = self.over(ColumnMap())
        values = {
            "key": self.key,
            "time": self.time,
            "time_format": self.time_format,
            "label": self.label,
            "features": list(changes.features) or None,
            "feature_name": changes.feature_name,
            "feature_value": changes.feature_value,
        }
        return [
            f"data.{name}={json.dumps(each, ensure_ascii=False)}"
            for name, each in values.items()
            if each is not None
        ]

    def require_file(self, source: str | None, flag: str) -> None:
        """Refuse options about the columns of a file where the source of data is none.

        Raises
        ------
        ConfigError
            Naming the first of them.
        """
        from stream_detector.datasets.files.several import holds_tables

        given = [name for name, each in self._asdict().items() if each is not None]
        if given and not (source is not None and holds_tables(Path(source))):
            option = f"--{given[0].replace('_', '-')}"
            message = f"{option}: expected only with {flag} FILE.csv or FILE.parquet; leave it out"
            raise ConfigError(message)


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in a text with commas between them.

    Examples
    --------
    >>> names_in("flow, kw,"), names_in(None)
    (('flow', 'kw'), ())
    """
    names = (name.strip() for name in (text or "").split(","))
    return tuple(name for name in names if name)


def count_or_names(text: str | None) -> tuple[int | None, str | None]:
    """Return how many features windows have, or the names of columns, as --features says.

    Raises
    ------
    ConfigError
        If it is a number below 1.
    """
    if text is None or not text.strip().lstrip("+-").isdecimal():
        return None, text
    if int(text) < 1:
        message = f"--features: expected a number of at least 1, or names, received {text}"
        raise ConfigError(message)
    return int(text), None


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
