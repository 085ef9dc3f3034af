"""The command `init` for a file in which each row is a whole window."""

import json
from typing import TYPE_CHECKING

from stream_detector.cli.init_recipe import Target, write_values
from stream_detector.cli.terminal import print_json, say, write_line
from stream_detector.cli.train import train_with_progress
from stream_detector.inspection.base import base_recipe
from stream_detector.inspection.whole_windows import WindowLayout, compose_windows

if TYPE_CHECKING:
    from stream_detector.inspection.table import RawTable


def init_windows(
    table: "RawTable", layout: WindowLayout, target: Target, *, is_training: bool, as_json: bool
) -> None:
    """Write the recipe, train it, and say how to run it.

    Raises
    ------
    DatasetError
        If there are too few windows.
    ConfigError
        If the recipe cannot be written.
    """
    n_steps, path = len(layout.values), table.path
    recipe = write_values(compose_windows(target.name, table, layout, base_recipe()), path, target)
    told = (
        f"{path.name}: {layout.n_rows:,} rows, each row is a whole window of {n_steps} values "
        f"({layout.values[0]} to {layout.values[-1]}); {layout.n_normal:,} are normal. "
        "If a row is one sample with many features, say which column is the time with --time, or "
        "how far rows are apart with --interval"
    )
    if layout.maybe_label:
        say(
            f"note: column {layout.maybe_label} has few different whole numbers, as labels have: "
            f"if it is no value, give --label {layout.maybe_label} --normal-label and what normal "
            "rows have"
        )
    report: dict[str, object] = {
        "data": str(path),
        "recipe": str(target.recipe),
        "record": "window",
        "n_rows": layout.n_rows,
        "n_anomalous_rows": layout.n_rows - layout.n_normal,
        "n_steps": n_steps,
    }
    if not as_json:
        write_line(told)
        write_line(f"recipe {target.recipe}")
    if is_training:
        bundle = train_with_progress(recipe, target.bundle, overwrite=target.is_replacing)
        report |= {
            "bundle": str(bundle.path),
            "version": bundle.manifest.version,
            "warnings": list(bundle.manifest.warnings),
        }
        for warning in bundle.manifest.warnings:
            say(f"warning: {warning}")
    if as_json:
        print_json(report)
        return
    record = json.dumps({"values": [0.0] * n_steps})
    write_line("to run it:")
    for line in (
        f"stream-detector detect {target.bundle} --input-topic telemetry",
        f"stream-detector replay {path} --bundle {target.bundle} --topic telemetry",
        f"echo '{record}' | kafka-console-producer.sh --bootstrap-server localhost:9092 "
        "--topic telemetry",
    ):
        write_line(f"  {line}")
