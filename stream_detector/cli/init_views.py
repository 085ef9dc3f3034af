"""What the command `init` shows."""

import json
from typing import TYPE_CHECKING, Any

from stream_detector.cli.init_columns import show_columns
from stream_detector.cli.terminal import print_table, time_text, write_line
from stream_detector.inspection.plan import duration

if TYPE_CHECKING:
    from stream_detector.cli.init_recipe import Made, Target
    from stream_detector.inspection.strange import StrangeWindows
    from stream_detector.inspection.trial import Trial
    from stream_detector.recipes.sections import DataSection


def show_made(made: "Made", target: "Target") -> None:
    """Show what was found out about a file, and the recipe that follows."""
    from stream_detector.recipes.scaling import FEATURE_KEYS

    show_columns(made.table, made.layout)
    plan = made.plan
    rows = [
        (f"{table}.{key}", json.dumps(chosen.value), chosen.why)
        for table, values in (("window", plan.window), ("alerting", plan.alerting))
        for key, chosen in values.items()
    ]
    scaling = made.values["scaling"]
    rows += [
        (f"scaling.{key}", json.dumps(scaling[key].value), scaling[key].why)
        for key in FEATURE_KEYS
        if key in scaling
    ]
    print_table(f"recipe {target.recipe}", ("key", "value", "because"), rows, is_text=True)
    for limit in plan.limits:
        write_line(f"not promised: {limit}")


def show_strange(strange: "StrangeWindows", target: "Target") -> None:
    """Show the training windows that are least like the rest."""
    if not strange.windows:
        write_line("no training window stands out from the others of its key")
        return
    rows = [
        (
            each.key,
            time_text(each.start_ms),
            each.feature,
            f"{each.statistic} {each.spreads:.0f} times its usual spread from the median",
        )
        for each in strange.windows
    ]
    title = "look at these training windows before you trust the detector"
    print_table(title, ("key", "from", "feature", "how far"), rows, is_text=True)
    if not strange.is_likely_faulty:
        return
    share = f"{strange.share:.1%} of the training windows are far out"
    if strange.left_out:
        write_line(
            f"{share}: the data are likely to hold faults. These {len(strange.left_out)} spans are "
            f"left out of the training, as data.leave_out of {target.recipe} lists them; remove "
            "what is normal from that list, and train again"
        )
    else:
        write_line(
            f"{share}, too many to be faults: they are trained on; if some are faults, mark their "
            "rows with a column of labels"
        )


def show_trial(trial: "Trial", made: "Made") -> None:
    """Show which artificial faults were found, how fast, and the false alarms without any."""
    columns = ("fault", "tried", "found", "median delay", "feature right")
    for title, rows in (
        ("artificial faults in the last fifth of the data, by kind and size", trial.by_kind),
        ("the same by feature", trial.by_feature),
    ):
        if rows:
            print_table(title, columns, [_fault_row(row) for row in rows])
    if not trial.by_kind:
        write_line("the last fifth of the data has no room for artificial faults")
    labelled = trial.labelled
    if labelled.n_events:
        delay = (
            "" if not labelled.n_found else f", in the median after {duration(labelled.delay_ms)}"
        )
        found = f"{labelled.n_found} of {labelled.n_events} found{delay}"
        write_line(f"{_known_faults(made.recipe.data)} in the last fifth: {found}")
    write_line(false_alarm_text(trial, made.false_alarms_per_day))


def _known_faults(data: "DataSection") -> str:
    """Return what says where there are faults in the data.

    Examples
    --------
    >>> from stream_detector.recipes.sections import DataSection
    >>> _known_faults(DataSection(name="csv", path="a.csv", label="fault"))
    'faults that your labels mark'
    >>> _known_faults(DataSection(name="csv", path="a.csv", leave_out=[("p1", 0, 1)]))
    'likely faults that were left out of the training'
    """
    if not data.leave_out:
        return "faults that your labels mark"
    if not data.label:
        return "likely faults that were left out of the training"
    return "faults that your labels mark, and those that were left out of the training,"


def false_alarm_text(trial: "Trial", asked: float) -> str:
    """Return how many false alarms there were on the untouched samples, and what that says."""
    rate = trial.false_per_day
    by = ", ".join(f"{name} {n}" for name, n in trial.by_reason.items() if n)
    text = (
        f"false alarms in the last fifth as it is: {trial.n_false}{f' ({by})' if by else ''} in "
        f"{trial.days:.3g} days of all keys, {rate.value:.2g} a day and key, in truth "
        f"{rate.low:.2g} to {rate.high:.2g} (95 %); asked for {asked:g}"
    )
    if asked * trial.days < 3:  # noqa: PLR2004
        text += "; extrapolated: so few days can neither confirm nor deny that"
    return text


def _fault_row(row: Any) -> tuple[Any, ...]:
    """Return a row about faults of one kind or feature."""
    each = row.figures
    delay = "-" if each.n_found == 0 else duration(each.delay_ms)
    right = f"{each.n_feature_right} of {each.n_feature_known}"
    return row.what, each.n_events, f"{each.n_found} ({each.recall.value:.0%})", delay, right


def show_next(made: "Made", target: "Target") -> None:
    """Show the commands that run the detector, and a record to send."""
    write_line("to run it:")
    for line in next_steps(made, target):
        write_line(f"  {line}")


def next_steps(made: "Made", target: "Target") -> list[str]:
    """Return the commands that run the detector, and those that send records where none come."""
    if target.topic:
        return [
            f"stream-detector doctor {target.bundle} --topic {target.topic}",
            f"stream-detector detect {target.bundle} --input-topic {target.topic}",
        ]
    commands = [
        f"stream-detector detect {target.bundle} --input-topic telemetry",
        f"stream-detector replay {made.table.path} --bundle {target.bundle} --topic telemetry "
        '--start-ms "$(date +%s000)"',
    ]
    example = example_record(made)
    if example is None:
        return commands
    key, record = example
    return [
        *commands,
        f"echo '{key}|{record}' | kafka-console-producer.sh --bootstrap-server localhost:9092 "
        "--topic telemetry --property parse.key=true --property 'key.separator=|'",
    ]


def example_record(made: "Made") -> tuple[str, str] | None:
    """Return key and value of a record with the first complete row of the file.

    None where `[input]` says what records look like: they are not ours to make up.
    """
    if made.recipe.input.is_given:
        return None
    values = {}
    for name in made.layout.features:
        column = made.table.named(name)
        numbers = None if column is None else column.numbers
        if numbers is not None:
            there = numbers[numbers == numbers]  # noqa: PLR0124  (no NaN)
            values[name] = float(f"{there[0]:.6g}") if len(there) else None
    time_ms = round(float(made.layout.times_ms[0]))
    record = {"values": values, "timestamp_ms": time_ms}
    # As the file has it: a number may have zeros in front.
    column = made.table.named(made.recipe.data.columns.key or "")
    key = (column and column.first) or made.layout.keys[made.layout.series[0]]
    return key, json.dumps(record)


def report_of(made: "Made", target: "Target") -> dict[str, Any]:
    """Return what was found out, for `--json`."""
    example = example_record(made)
    return {
        "data": str(made.table.path),
        "recipe": str(target.recipe),
        "columns": {
            name: {"role": role, "why": why} for name, (role, why) in made.layout.why.items()
        },
        "n_rows": made.table.n_rows,
        "n_keys": len(made.layout.keys),
        "n_anomalous_rows": int((~made.layout.is_normal).sum()),
        "sample_interval_ms": made.timing.sample_interval_ms,
        "days": made.plan.days,
        "notes": list(made.layout.notes),
        "limits": list(made.plan.limits),
        "next": next_steps(made, target)[:2],
        "record": example and {"key": example[0], "value": json.loads(example[1])},
    }
