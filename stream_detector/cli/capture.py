"""The command `capture`: from a topic to a file, as a bundle reads its records."""

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.options import (
    ONLINE,
    BundlePath,
    Client,
    InputTopic,
    OutFile,
    Servers,
    Set,
    SettingsFile,
    examples,
    run_changes,
    setting_option,
)
from stream_detector.cli.terminal import say
from stream_detector.core.codec.formats import ContentType
from stream_detector.errors import ConfigError
from stream_detector.recipes.datasets import COLUMN_KEYS
from stream_detector.settings import DetectSettings, load_settings

if TYPE_CHECKING:
    from stream_detector.recipes import DataSection

EXAMPLES = examples(
    "stream-detector capture bundles/pumps --minutes 60 --out last-hour.csv",
    "stream-detector evaluate bundles/pumps --dataset last-hour.csv",
    "stream-detector train pumps.toml --set data.path=last-hour.csv --out bundles/pumps-new",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("capture", epilog=EXAMPLES, rich_help_panel=ONLINE)(capture)


def capture(
    bundle: BundlePath,
    topic: InputTopic = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How much to read, by the times of the records.")
    ] = 30.0,
    out: OutFile = None,
    bootstrap_servers: Servers = None,
    client: Client = None,
    content_type: Annotated[ContentType | None, setting_option("content_type")] = None,
    overrides: Set = None,
    settings_file: SettingsFile = None,
) -> None:
    """Write the newest samples of a topic to a CSV file, as a bundle reads them.

    The file has the columns key and timestamp_ms and one for each feature, so `evaluate` and
    `score` take it as it is, and `train` as the data of the bundle's recipe: to train again when
    what is normal has changed, or to try another recipe on what the stream holds.

    Waits for more where the topic holds fewer minutes; Ctrl-C writes what there is. Holds all of it
    in memory while it reads. Joins no group, and commits nothing.
    """
    from stream_detector.assembly import open_bundle, require_content_type
    from stream_detector.cli.topic_samples import write_newest
    from stream_detector.core.sample_detector import SampleDetector
    from stream_detector.outputs.recording import record_samples_for

    settings = load_settings(
        DetectSettings,
        settings_file,
        input_topic=topic,
        bootstrap_servers=bootstrap_servers,
        client=client,
        content_type=content_type,
        **run_changes(overrides),
    )
    if out is not None and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        message = f"--out: expected a file that can be written, received {out}; give another path"
        raise ConfigError(message)
    served = open_bundle(bundle, changes=settings.changes)
    require_content_type(settings.content_type, served)
    if not isinstance(served.detector, SampleDetector):
        message = (
            f"bundle {bundle}: expected one whose records are samples, received one of "
            f"{served.bundle.manifest.recipe.window.record}s"
        )
        raise ConfigError(message)
    read = partial(record_samples_for, served.detector, settings)
    write_newest(read, settings.input_topic, minutes, out)
    if out is not None:
        changes = changes_for(served.bundle.manifest.recipe.data, out)
        words = " ".join(f"--set {shlex.quote(each)}" for each in changes)
        say(f"to train on it: stream-detector train RECIPE.toml {words} --out bundles/NEW")


def changes_for(data: "DataSection", path: Path) -> list[str]:
    """Return what makes the recipe of a bundle one for a captured file.

    Parameters
    ----------
    data
        The recipe's `[data]`.
    path
        The file; its columns have the names that are found where the recipe says none.
    """
    if data.name != "csv":
        return ["data.name=csv", f"data.path={path}"]  # all else of [data] goes with the name
    unsaid = [f"data.{name}=" for name in COLUMN_KEYS if getattr(data, name) is not None]
    return [f"data.path={path}", *unsaid]
