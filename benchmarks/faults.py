"""What faults do to delivery on a real Kafka: lost, duplicated, and the time to recover.

Every fault and every poison record of the integration tests, with every client, kind of delivery,
shape of records and version of Kafka. What was published is compared with an uninterrupted run, by
bytes. Needs Java and Maven. Ends with 1 where something was lost, differs, or came twice with
`exactly_once` or beside a poison record.

    python benchmarks/faults.py [--faults killed] [--clients confluent] [--seed 7] [--json FILE]
"""

import argparse
import itertools
import json
import secrets
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common  # noqa: F401  (puts tests/support on the path)
from delivery_stream import DELIVERIES, SHAPES
from fault_scenarios import FAULTS, LONG, OF_THREE_BROKERS, is_possible_with, play
from fault_stage import Case, Stage
from local_kafka import VERSIONS
from poison_records import POISONS
from rich.console import Console
from rich.progress import Progress

CLIENTS = ("kafka-python", "confluent")
COLUMNS = ("fault", "client", "Kafka", "delivery")

Run = dict[str, Any]


def main() -> None:
    """Play the faults and print the table."""
    options = read_options()
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    sys.stderr.write(f"seed {seed}\n")
    cases = [
        Case(*each)
        for each in itertools.product(options.shapes, options.clients, options.deliveries)
    ]
    todo = {
        n_brokers: [
            (name, case)
            for name, case in itertools.product(names, cases)
            if any(part in name for part in options.faults) and is_possible_with(name, case)
        ]
        * options.runs
        for n_brokers, names in ((1, FAULTS | LONG | POISONS), (3, OF_THREE_BROKERS))
    }
    n_runs = len(options.versions) * sum(map(len, todo.values()))
    runs: list[Run] = []
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        bar = progress.add_task("faults", total=n_runs)
        for version, n_brokers in itertools.product(options.versions, todo):
            if not todo[n_brokers]:
                continue
            with Stage(Path(folder), version, n_brokers) as stage:
                for number, (name, case) in enumerate(todo[n_brokers]):
                    progress.update(bar, description=f"{version} {name}")
                    runs.append(one(name, stage, case, seed + number))
                    if options.json:  # each time: two hours are long
                        options.json.write_text(json.dumps(runs, indent=2) + "\n")
                    progress.advance(bar)
    rows = summed(runs)
    show(rows)
    sys.exit(any(not is_kept(row) for row in rows))


def read_options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", nargs="+", default=[""], help="parts of their names")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, choices=SHAPES)
    parser.add_argument("--clients", nargs="+", default=CLIENTS, choices=CLIENTS)
    parser.add_argument("--deliveries", nargs="+", default=DELIVERIES, choices=DELIVERIES)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, choices=VERSIONS)
    parser.add_argument("--runs", type=int, default=1, help="of each fault and shape of records")
    parser.add_argument("--seed", type=int, help="of all that is left to chance")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    return parser.parse_args()


def one(name: str, stage: Stage, case: Case, seed: int) -> Run:
    """Play one fault; a process that did not end as expected is reported, and counted as lost."""
    run = {"fault": name, "Kafka": stage.broker.version, "seed": seed, **case._asdict()}
    try:
        return run | asdict(play(name, stage, case, seed)) | {"failure": None}
    except AssertionError as error:
        return run | {"failure": str(error)}


def summed(runs: Iterable[Run]) -> list[Run]:
    """Return a row for each fault, client, version and delivery."""
    rows: dict[tuple[str, ...], Run] = {}
    for run in runs:
        key = tuple(run[column] for column in COLUMNS)
        row = rows.setdefault(
            key,
            dict(zip(COLUMNS, key, strict=True))
            | {
                "runs": 0,
                "failed": 0,
                "lost": 0,
                "differing": 0,
                "duplicated": 0,
                "recovery_s": [],
            },
        )
        row["runs"] += 1
        if run["failure"] is not None:
            row["failed"] += 1
            continue
        row["lost"] += run["n_lost"]
        row["differing"] += run["n_wrong"]
        row["duplicated"] += run["n_repeated"]
        if run["recovery_s"] is not None:
            row["recovery_s"].append(run["recovery_s"])
    return list(rows.values())


def is_kept(row: Run) -> bool:
    """Return whether what is promised was kept."""
    may_repeat = row["delivery"] == "at_least_once" and row["fault"] not in POISONS
    is_once = may_repeat or not row["duplicated"]
    return is_once and not (row["failed"] or row["lost"] or row["differing"])


def show(rows: Iterable[Run]) -> None:
    """Print the table, as Markdown takes it too."""
    columns = (*COLUMNS, "runs", "failed", "lost", "differing", "duplicated", "seconds to recover")
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        seconds = row["recovery_s"]
        shown = f"{min(seconds):.1f} - {max(seconds):.1f}" if seconds else ""
        print("| " + " | ".join([*(str(row[name]) for name in columns[:-1]), shown]) + " |")


if __name__ == "__main__":
    main()
