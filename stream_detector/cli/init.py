"""The command `init`: from a file of samples to a recipe, a bundle, and what to expect of it."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.options import (
    OFFLINE,
    Client,
    Json,
    Long,
    SaidColumns,
    Servers,
    Set,
    SettingsFile,
    examples,
    input_changes,
    names_in,
    seconds,
)
from stream_detector.cli.terminal import print_json, say
from stream_detector.errors import ConfigError
from stream_detector.recipes.input import parse_input
from stream_detector.settings import DetectSettings, load_settings

if TYPE_CHECKING:
    from stream_detector.cli.init_columns import Choices
    from stream_detector.cli.init_recipe import Target

EXAMPLES = examples(
    "stream-detector init pumps.csv --yes",
    "stream-detector init readings.parquet --key machine --time recorded_at --label fault",
    "stream-detector init tags.csv --long tag,value --yes",
    "stream-detector init --from-topic telemetry --minutes 30 --out live.toml",
)

Data = Annotated[
    Path | None,
    typer.Argument(help="FILE.csv or FILE.parquet, a sample a row.", show_default=False),
]
Out = Annotated[Path | None, typer.Option("--out", help="Recipe to write; default NAME.toml.")]
BundleFolder = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle to write; default bundles/NAME.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Take the best guess instead of asking.")]
Key = Annotated[str | None, typer.Option(help='Column with the key of the series; "" for none.')]
Time = Annotated[str | None, typer.Option(help='Column with the time; "" for none.')]
TimeFormat = Annotated[
    str | None, typer.Option(help="s, ms, us, ns, iso or a pattern such as '%d.%m.%Y %H:%M'.")
]
Label = Annotated[str | None, typer.Option(help='Column that marks anomalous rows; "" for none.')]
NormalLabel = Annotated[
    str | None, typer.Option(help="Label of normal rows; all others are anomalous.")
]
Features = Annotated[
    str | None, typer.Option(help="Columns that are features, with commas between them.")
]
Ignore = Annotated[str | None, typer.Option(help="Columns to leave out, with commas between them.")]
Interval = Annotated[
    str | None,
    typer.Option(help="Time between two rows of a file without times, such as 5s; default 1s."),
]
FalseAlarms = Annotated[
    float,
    typer.Option(min=1e-5, max=1000.0, help="False alarms a day and key that you accept."),
]
RecipeOnly = Annotated[
    bool, typer.Option("--recipe-only", help="Write the recipe and do not train.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a recipe or bundle without asking.")
]
FromTopic = Annotated[
    str | None, typer.Option(help="Topic to read samples from, instead of a file.")
]
Minutes = Annotated[float, typer.Option(min=0.1, help="With --from-topic: how much to read.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("init", epilog=EXAMPLES, rich_help_panel=OFFLINE)(init)


def init(
    data: Data = None,
    out: Out = None,
    bundle: BundleFolder = None,
    yes: Yes = False,
    key: Key = None,
    time: Time = None,
    time_format: TimeFormat = None,
    label: Label = None,
    normal_label: NormalLabel = None,
    features: Features = None,
    ignore: Ignore = None,
    long: Long = None,
    interval: Interval = None,
    false_alarms_per_day: FalseAlarms = 0.2,
    recipe_only: RecipeOnly = False,
    overwrite: Overwrite = False,
    from_topic: FromTopic = None,
    minutes: Minutes = 30.0,
    overrides: Set = None,
    bootstrap_servers: Servers = None,
    client: Client = None,
    settings_file: SettingsFile = None,
    as_json: Json = False,
) -> None:
    """Make a detector for your own data: recipe, bundle, and what it would find.

    Looks at the columns of a file of samples and at their times, chooses windows and times of
    alerts, writes a recipe in which every key says why it has its value, trains it, and tries a
    detector of the first four fifths of the data on the rest, with artificial faults. Asks whether
    its guess of the columns is right; with --yes it takes and prints it. Rows that a label marks as
    anomalous are not trained on. Works from about 200 rows, and says what so few do not promise.

    With --from-topic it reads the newest minutes of a topic, waits for them where there are fewer,
    writes them to a CSV file beside the recipe, and goes on with that file; --set says where in
    its records key, time and features are. Needs the train extra.
    """
    from stream_detector.cli.init_columns import Choices, refuse_to_ask
    from stream_detector.cli.init_recipe import Target
    from stream_detector.inspection.roles import Said
    from stream_detector.recipes.datasets import name_of

    given, ignored = names_in(features), names_in(ignore)
    name, value = (None, None) if long is None else SaidColumns(long=long).long_names
    said = Said(key, time, time_format, label, normal_label, given, name, value, ignored)
    interval_s = seconds(interval, "--interval")
    if data is None or from_topic is not None:
        if data is not None or from_topic is None:
            received = "neither" if data is None else "both"
            message = f"init: expected a file or --from-topic TOPIC, received {received}; give one"
            raise ConfigError(message)
        from stream_detector.cli.topic_samples import write_newest
        from stream_detector.outputs.recording import record_samples

        if not yes:
            refuse_to_ask()
        target = Target.of(from_topic, out, bundle, is_replacing=overwrite)
        settings = load_settings(
            DetectSettings,
            settings_file,
            bootstrap_servers=bootstrap_servers,
            client=client,
            input=input_changes(overrides),
        )
        data = target.recipe.with_name(f"{target.recipe.stem}.samples.csv")
        read = partial(record_samples, settings, from_topic)
        recording = write_newest(read, from_topic, minutes, data)
        table, needed = recording.table.model_dump(exclude_none=True), recording.needed
        servers = f" --bootstrap-servers {bootstrap_servers}" if bootstrap_servers else ""
        target = replace(target, topic=from_topic + servers)
        known = replace(said, key="key", time="timestamp_ms", time_format="ms")
        said = replace(known, why="as recorded")
        if needed and "feature_name" not in table and said.label is None:
            said = replace(said, features=given or needed, label="")
    else:
        needed = ()
        table = parse_input(input_changes(overrides) or {}).model_dump(exclude_none=True)
        target = Target.of(name_of(data), out, bundle, is_replacing=overwrite)
    choices = Choices(said, not yes, interval_s, false_alarms_per_day, table, needed)
    _make(data, target, choices, is_training=not recipe_only, as_json=as_json)


def _make(
    data: Path, target: "Target", choices: "Choices", *, is_training: bool, as_json: bool
) -> None:
    """Write the recipe, train and try it, and show what was found."""
    from stream_detector.cli.init_columns import agree_on_columns, decide_on_others
    from stream_detector.cli.init_recipe import make_recipe
    from stream_detector.cli.init_views import report_of, show_made, show_next
    from stream_detector.inspection.roles import Said
    from stream_detector.inspection.table import read_raw
    from stream_detector.inspection.whole_windows import find_windows, why_samples

    table = read_raw(data)
    said = choices.said
    is_open = replace(said, label=None, normal_label=None) == Said() and choices.interval_s is None
    windows = find_windows(table, said.label, said.normal_label) if is_open else None
    why = None if windows is None else why_samples(table, windows)
    if why is not None:
        say(f"{data}: {why}")
    elif windows is not None:
        from stream_detector.cli.init_windows import init_windows

        init_windows(table, windows, target, is_training=is_training, as_json=as_json)
        return
    table, layout = agree_on_columns(table, choices)
    made = make_recipe(table, layout, target, decide_on_others(layout, choices))
    report = report_of(made, target)
    if not as_json:
        show_made(made, target)
    if is_training:
        from stream_detector.cli.init_trial import train_and_try

        report |= train_and_try(made, target, is_shown=not as_json)
    if as_json:
        print_json(report)
    else:
        show_next(made, target)
