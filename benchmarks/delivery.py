"""What exactly once costs against at least once, and how long a restore takes.

    python benchmarks/delivery.py [--rounds 5] [--parts throughput latency restore] [--json FILE]

Throughput under backlog by records per commit, the two kinds of delivery in turn on the same filled
topic of a real Kafka; latency at a steady rate; and the time until a restarted process is live
again, by how many records of the past it reads.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import (
    N_PARTITIONS,
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
from keys import QUICKLY, Fleet
from keys import fill as fill_samples
from latency import measure as measure_latency
from rich.progress import track

from stream_detector.recipes import load_recipe
from stream_detector.training import train

CLIENTS = ("kafka-python", "confluent")
DELIVERIES = ("at_least_once", "exactly_once")
POLLS = (2_048, 8_192, 32_768)
PARTS = ("throughput", "latency", "restore")
PASTS = (10_000, 100_000, 500_000)
N_KEYS, CHUNK = 100, 36
HOUR_MS = 3_600_000


def main() -> None:
    """Run all three parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=600_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--polls", type=int, nargs="+", default=POLLS, help="records per poll")
    parser.add_argument(
        "--active-keys", action="store_true", help="restores: every key has an alert"
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running_broker() as servers:
        folder = Path(name)
        parts = {"throughput": throughput, "latency": latency, "restore": restores}
        figures = {name: parts[name](servers, folder, options) for name in options.parts}
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def throughput(servers: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return rates and ratios by client and records per poll."""
    bundle = train_bundle(folder, *RARELY)
    make_topics(servers, "delivery")
    fill(servers, "delivery", [beat.tobytes() for beat in normal_beats()], options.records)
    rates: dict[str, dict[str, list[float]]] = {}
    for number in track(range(options.rounds), description="throughput"):
        for client in options.clients:
            for n_poll in options.polls:
                for delivery in DELIVERIES:
                    outputs = [f"delivery-{number}-{client}-{n_poll}-{delivery}-{k}" for k in "ad"]
                    make_topics(servers, *outputs)
                    command = [sys.executable, str(ROOT / "benchmarks" / "workers.py"), "detect"]
                    command += ["--client", client, "--bundle", str(bundle), "--servers", servers]
                    command += ["--topic", "delivery", "--content-type", "float32"]
                    command += ["--n-records", str(options.records), "--group", outputs[0]]
                    command += ["--alerts-topic", outputs[0], "--dead-letter-topic", outputs[1]]
                    command += ["--delivery", delivery, "--poll-records-max", str(n_poll)]
                    found = run_worker(command)
                    of_poll = rates.setdefault(f"{client}, {n_poll:,} records", {})
                    of_poll.setdefault(delivery, []).append(found["records_per_s"])
                    delete_topics(servers, *outputs)
    delete_topics(servers, "delivery")
    return {
        name: {delivery: spread(each) for delivery, each in found.items()}
        | {"ratio": spread([b / a for a, b in zip(*found.values(), strict=True)])}
        for name, found in rates.items()
    }


def latency(servers: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return p50 and p99 from a record's time to its alert, by client, rate and delivery."""
    bundle = train_bundle(folder / "latency")
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in track(range(min(options.rounds, 3)), description="latency"):
        for rate in options.rates:
            for client in options.clients:
                for delivery in DELIVERIES:
                    found = measure_latency(
                        servers, bundle, ("detect", client, "--delivery", delivery), rate, 6.0
                    )
                    runs.setdefault(f"{client} {rate}/s {delivery}", []).append(found)
    return {
        name: {key: spread([run[f"{key}_ms"] for run in each]) for key in ("p50", "p99")}
        for name, each in runs.items()
    }


def restores(servers: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and records of restores.

    In each partition a key falls silent at the start, and until it expires the whole partition is
    replayed.
    """
    bundle = folder / "samples"
    ttl = f"window.key_ttl_ms={24 * HOUR_MS}"
    changes = (*QUICKLY, ttl, *(("threshold.n_mad=0",) if options.active_keys else ()))
    train(load_recipe(ROOT / "models" / "mitdb-dense.toml", changes), bundle)
    found: dict[str, Any] = {}
    for n_past in track(PASTS, description="restores"):
        topic = f"restore-{n_past}"
        make_topics(servers, topic, f"{topic}-a", f"{topic}-d")
        silent = Fleet(N_PARTITIONS, 2)
        silent.keys = [b"silent-%06d" % number for number in range(N_PARTITIONS)]
        fill_samples(servers, topic, silent, ("float32", CHUNK, N_PARTITIONS))
        fill_samples(servers, topic, Fleet(N_KEYS, 2), ("float32", CHUNK, n_past))
        for client in options.clients:
            run_detect(servers, bundle, client, topic)
            runs = [run_detect(servers, bundle, client, topic) for _ in range(options.rounds)]
            found[f"{client}, {n_past:,} records"] = {
                "seconds": spread([seconds for seconds, _ in runs]),
                "n_records": spread([n_records for _, n_records in runs]),
            }
    return found


def run_detect(servers: str, bundle: Path, client: str, topic: str) -> tuple[float, float]:
    """Run the command until it is idle; return the longest restore, and the records of all."""
    command = [sys.executable, "-m", "stream_detector", "detect", str(bundle)]
    command += ["--bootstrap-servers", servers, "--client", client, "--input-topic", topic]
    command += ["--alerts-topic", f"{topic}-a", "--dead-letter-topic", f"{topic}-d"]
    command += ["--group", f"{topic}-{client}", "--content-type", "float32"]
    done = subprocess.run(
        [*command, "--stop-when-idle", "4s"], check=True, capture_output=True, text=True
    )
    lines = re.findall(r"restored .*n_records=(\d+) seconds=([\d.]+)", done.stderr)
    time.sleep(0.5)
    return max((float(s) for _, s in lines), default=0.0), float(sum(int(n) for n, _ in lines))


def show(figures: dict[str, Any]) -> None:
    """Print the figures as Markdown tables."""
    print("\n| client, records a commit | at least once, records/s | exactly once | ratio |")
    print("|---|---|---|---|")
    for name, found in figures.get("throughput", {}).items():
        rates = " | ".join(tell(found[delivery]) for delivery in DELIVERIES)
        print(f"| {name} | {rates} | {tell(found['ratio'], 2)} |")
    print("\n| client, rate, delivery | p50 ms | p99 ms |\n|---|---|---|")
    for name, found in figures.get("latency", {}).items():
        print(f"| {name} | {tell(found['p50'], 1)} | {tell(found['p99'], 1)} |")
    print("\n| client, records in the topic | seconds to live | records replayed |\n|---|---|---|")
    for name, found in figures.get("restore", {}).items():
        print(f"| {name} | {tell(found['seconds'], 2)} | {tell(found['n_records'])} |")


if __name__ == "__main__":
    main()
