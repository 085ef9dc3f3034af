"""Records a second through the shipped `detect` path, against a bare poll loop and other systems.

Every contender runs in a process of its own, in turn, several rounds, against the same filled
topic of a real Kafka. A rate is counted from the end of a process' first poll to the end of its
last, so start-up and group join are left out for all alike.

    python benchmarks/throughput.py --quix .venv-peers/bin/python [--json FILE]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
from common import (
    RARELY,
    ROOT,
    delete_topics,
    fill,
    make_topics,
    normal_beats,
    run_worker,
    running_broker,
    spread,
    tell,
    train_bundle,
)

WORKERS = ROOT / "benchmarks" / "workers.py"
QUIX = ROOT / "benchmarks" / "peers" / "quix_streams.py"
NAIVE_RECORDS_MAX = 30_000


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000, help="float32 records")
    parser.add_argument("--json-records", type=int, default=300_000, help="JSON records")
    parser.add_argument("--quix", help="python of an environment that has quixstreams")
    parser.add_argument("--skip-naive", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = train_bundle(folder, *RARELY)
        with running_broker() as servers:
            figures = {
                content_type: measure(servers, bundle, content_type, n_records, options)
                for content_type, n_records in (
                    ("float32", options.records),
                    ("json", options.json_records),
                )
            }
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def encode(content_type: str) -> list[bytes]:
    """Return the normal beats as record values."""
    beats = normal_beats()
    if content_type == "float32":
        return [beat.tobytes() for beat in beats]
    dump = orjson.dumps
    return [
        dump({"values": [round(value, 6) for value in beat.ravel().tolist()]}) for beat in beats
    ]


def measure(
    servers: str, bundle: Path, content_type: str, n_records: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Fill a topic and run every contender in turn, round after round."""
    topic = f"bench-{content_type}"
    make_topics(servers, topic)
    fill(servers, topic, encode(content_type), n_records)
    common = ["--servers", servers, "--topic", topic, "--content-type", content_type]
    common += ["--bundle", str(bundle)]
    worker = [sys.executable, str(WORKERS)]
    contenders: dict[str, tuple[list[str], int]] = {}
    for client in ("kafka-python", "confluent"):
        for kind in ("bare", "detect"):
            contenders[f"{kind} {client}"] = ([*worker, kind, "--client", client], n_records)
    if options.quix:
        contenders["quix-streams"] = ([options.quix, str(QUIX)], n_records)
    if not options.skip_naive:
        contenders["naive kafka-python"] = ([*worker, "naive"], min(n_records, NAIVE_RECORDS_MAX))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for number in range(options.rounds):
        for name, (command, n_asked) in contenders.items():
            outputs = [f"{topic}-{name.replace(' ', '-')}-{number}-{kind}" for kind in "ad"]
            make_topics(servers, *outputs)
            group = f"{name.replace(' ', '-')}-{content_type}-{number}"
            result = run_worker(
                [
                    *command,
                    *common,
                    "--n-records",
                    str(n_asked),
                    "--group",
                    group,
                    "--alerts-topic",
                    outputs[0],
                    "--dead-letter-topic",
                    outputs[1],
                ]
            )
            delete_topics(servers, *outputs)
            runs[name].append(result)
            print(f"{content_type} round {number + 1} {name}: {result}", file=sys.stderr)
    delete_topics(servers, topic)
    return summarise(runs)


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return rates, and ratios of runs of the same round."""
    rates = {name: [run["records_per_s"] for run in each] for name, each in runs.items()}
    ratios = {}
    for client in ("kafka-python", "confluent"):
        detect = f"detect {client}"
        for base in (f"bare {client}", "quix-streams", "naive kafka-python"):
            if base in rates:
                pairs = zip(rates[detect], rates[base], strict=True)
                ratios[f"{detect} / {base}"] = spread([ours / theirs for ours, theirs in pairs])
    return {
        "records_per_s": {name: spread(values) for name, values in rates.items()},
        "ratios": ratios,
        "alert_share": runs["detect kafka-python"][0]["n_alerts"]
        / runs["detect kafka-python"][0]["n_records"],
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures as two Markdown tables a format."""
    for content_type, found in figures.items():
        print(f"\n{content_type}, {found['alert_share']:.2%} of the records alert\n")
        print("| contender | records/s, median (min - max) |\n|---|---|")
        for name, values in found["records_per_s"].items():
            print(f"| {name} | {tell(values)} |")
        print("\n| ratio within a round | median (min - max) |\n|---|---|")
        for name, values in found["ratios"].items():
            print(f"| {name} | {tell(values, 2)} |")


if __name__ == "__main__":
    main()
