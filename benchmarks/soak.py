"""Whether `detect` uses no more after a long time than after a short one.

A real Kafka, a steady load of 200 records (7,200 samples) a second with keys that come and go,
alerts and bad records, and `stream-detector detect` in a process of its own. Resident memory,
descriptors and threads are read each second. The first quarter of the run is warm-up; the last is
compared with the second. Ends with 1 where memory differs by more than 2 %, the others rise, or
where `detect` did not do all records or did not end in order. Needs Linux.

    python benchmarks/soak.py [--minutes 30] [--client confluent] [--delivery exactly_once]
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common  # puts tests/support on the path
from command_line import CommandLine
from delivery_stream import DELIVERIES
from rich.console import Console
from rich.progress import Progress
from soaking import CHANGES, RECIPE, Load, Soaked, Usage, soak

CLIENTS = ("kafka-python", "confluent")
GROWTH_MAX = 0.02


def main() -> None:
    """Run, print the table and judge."""
    options = read_options()
    with tempfile.TemporaryDirectory() as folder, common.running_broker() as servers:
        command_line = CommandLine(Path(folder))
        try:
            soaked = run(command_line, Path(folder) / "bundle", servers, options)
        finally:
            command_line.close()
    show(soaked)
    leaks = soaked.leaks(GROWTH_MAX)
    if options.json:
        found = {"client": options.client, "delivery": options.delivery, "leaks": leaks}
        options.json.write_text(json.dumps(found | figures(soaked), indent=2) + "\n")
    print("\nnot flat: " + ", ".join(leaks) if leaks else "\nflat")
    sys.exit(bool(leaks))


def read_options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--client", default=CLIENTS[0], choices=CLIENTS)
    parser.add_argument("--delivery", default=DELIVERIES[0], choices=DELIVERIES)
    parser.add_argument("--minutes", type=float, default=30.0, help="at most")
    parser.add_argument("--records", type=int, default=1_000_000, help="at most")
    parser.add_argument("--json", type=Path, help="also write all that was read to this file")
    return parser.parse_args()


def run(
    command_line: CommandLine, bundle: Path, servers: str, options: argparse.Namespace
) -> Soaked:
    """Train, start `detect` and keep it busy."""
    changes = [word for change in CHANGES for word in ("--set", change)]
    command_line.run("train", RECIPE, "--out", bundle, *changes)
    topics = {name: f"soak-{name}" for name in ("input", "alerts", "dead-letter")}
    common.make_topics(servers, *topics.values())
    running = command_line.start(
        *("detect", bundle, "--bootstrap-servers", servers, "--group", "soak"),
        *(f"--{name}-topic={topic}" for name, topic in topics.items()),
        *("--client", options.client, "--delivery", options.delivery, "--metrics-port", 0),
    )
    running.wait_for("ready")
    seconds = 60 * options.minutes
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("soak", total=seconds)

        def tell(usage: Usage) -> None:
            resident = f"{usage.resident_kib / 1024:.1f} MiB"
            progress.update(bar, completed=usage.at_s, description=f"soak, {resident}")

        load = Load(servers, topics["input"])
        return soak(running, load, seconds=seconds, n_records_max=options.records, on_read=tell)


def figures(soaked: Soaked) -> dict[str, Any]:
    """Return all that was read."""
    return {
        "warm": soaked.warm._asdict(),
        "last": soaked.last._asdict(),
        "growth": soaked.growth,
        "n_records": soaked.n_records,
        "usages": [asdict(each) for each in soaked.usages],
    }


def show(soaked: Soaked) -> None:
    """Print the table, as Markdown takes it too."""
    parts = (soaked.warm, soaked.last)
    spans = [f"minutes {part.from_s / 60:.1f} - {part.to_s / 60:.1f}" for part in parts]
    print(f"\n| median (least - most) | {' | '.join(spans)} |\n| --- | --- | --- |")
    for title, name, unit, digits in (
        ("resident memory, MiB", "resident_kib", 1024, 1),
        ("descriptors", "n_descriptors", 1, 0),
        ("threads", "n_threads", 1, 0),
    ):
        spreads = [[value / unit for value in getattr(part, name)] for part in parts]
        cells = ["{:.{d}f} ({:.{d}f} - {:.{d}f})".format(*each, d=digits) for each in spreads]
        print(f"| {title} | {' | '.join(cells)} |")
    print(
        f"\nmemory {soaked.growth:+.2%}; {soaked.n_records:,} records, "
        f"{soaked.total('alerts'):,.0f} alert events, "
        f"{soaked.total('idle_keys'):,.0f} keys forgotten, "
        f"{soaked.metrics['stream_detector_batch_records_count']:,.0f} commits"
    )


if __name__ == "__main__":
    main()
