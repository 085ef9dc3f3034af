"""Milliseconds from a record's timestamp to its alert read by a consumer, beside a bare echo loop.

Detector, producer and reader are processes of their own. Every beat sent is an anomalous one of
ECG5000, so nearly every record leads to an alert; the echo loop of the same client copies every
record (consume, produce, flush, commit). Both run in turn, several rounds, on a real Kafka.

    python benchmarks/latency.py [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from common import (
    ROOT,
    delete_topics,
    make_topics,
    running_broker,
    spread,
    tell,
    train_bundle,
)

from stream_detector.clients import connect
from stream_detector.settings import ConnectionSettings, load_settings

WORKERS = ROOT / "benchmarks" / "latency_workers.py"
WARM_UP_S = 3.0
"""Left out at the start of every run: connections, first transactions, group join."""


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each run")
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 5_000])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = train_bundle(folder)
        with running_broker() as servers:
            for number in range(options.rounds):
                for rate in options.rates:
                    for client in ("kafka-python", "confluent"):
                        for kind in ("echo", "detect"):
                            title = f"{kind} {client} {rate}/s"
                            found = measure(servers, bundle, (kind, client), rate, options.seconds)
                            runs.setdefault(title, []).append(found)
                            print(f"round {number + 1} {title}: {found}", file=sys.stderr)
    figures = summarise(runs)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(
    servers: str, bundle: Path, contender: tuple[str, ...], rate: int, seconds: float
) -> dict[str, Any]:
    """Run one contender (what, client, its options), its producer and a reader: the latencies."""
    kind, client, *more = contender
    stamp = f"latency-{kind}-{client}-{rate}-{time.time_ns()}"
    topics = [f"{stamp}-{part}" for part in ("in", "out", "dead")]
    make_topics(servers, *topics)
    worker = [sys.executable, str(WORKERS)]
    common = ["--servers", servers, "--input-topic", topics[0], "--output-topic", topics[1]]
    common += ["--dead-letter-topic", topics[2], "--bundle", str(bundle), "--client", client]
    n_records = int(rate * (seconds + WARM_UP_S))
    pace = ["--rate", str(rate), "--n-records", str(n_records)]
    with subprocess.Popen([*worker, kind, *common, *pace, *more]) as contestant:
        try:
            time.sleep(4.0)  # the group join is not part of a record's latency
            with subprocess.Popen([*worker, "produce", *common, *pace]) as producer:
                found = read(servers, topics[1], is_alert=kind == "detect", producer=producer)
        finally:
            contestant.terminate()
    delete_topics(servers, *topics)
    return {**found, "n_records": n_records}


def read(
    servers: str, topic: str, *, is_alert: bool, producer: "subprocess.Popen[bytes]"
) -> dict[str, Any]:
    """Read the output until the producer has ended and nothing more comes."""
    settings = load_settings(
        ConnectionSettings, None, bootstrap_servers=servers, client="confluent"
    )
    reader = connect(settings, topics=[topic], offset_reset="earliest")
    sent_ms, read_ms = [], []
    quiet_since_s = time.monotonic()
    while producer.poll() is None or time.monotonic() - quiet_since_s < 2.0:
        batch = reader.poll(10_000, 50)
        now_ms = time.time_ns() / 1e6
        if len(batch):
            quiet_since_s = time.monotonic()
        for index, value in enumerate(batch.values):
            assert value is not None
            record_ms = (
                orjson.loads(value)["window_start_ms"]
                if is_alert
                else batch.metadata(index).timestamp_ms
            )
            sent_ms.append(record_ms)
            read_ms.append(now_ms)
    reader.close()
    sent, latencies = np.array(sent_ms), np.array(read_ms) - np.array(sent_ms)
    counted = latencies[sent >= sent.min() + WARM_UP_S * 1000]
    return {
        "p50_ms": float(np.percentile(counted, 50)),
        "p99_ms": float(np.percentile(counted, 99)),
        "n_read": len(sent),
    }


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return percentiles with their spread, and p99 of detect over that of echo, by round."""
    figures: dict[str, Any] = {"latency_ms": {}, "p99 ratios": {}}
    for title, each in runs.items():
        figures["latency_ms"][title] = {
            name: spread([run[f"{name}_ms"] for run in each]) for name in ("p50", "p99")
        } | {"output_share": each[0]["n_read"] / each[0]["n_records"]}
        if title.startswith("detect"):
            echoes = runs[title.replace("detect", "echo")]
            pairs = zip(each, echoes, strict=True)
            figures["p99 ratios"][title] = spread([a["p99_ms"] / b["p99_ms"] for a, b in pairs])
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print the figures as Markdown."""
    print("\n| contender | p50 ms, median (min - max) | p99 ms | records that lead to output |")
    print("|---|---|---|---|")
    for title, found in figures["latency_ms"].items():
        share = f"{found['output_share']:.1%}"
        print(f"| {title} | {tell(found['p50'], 1)} | {tell(found['p99'], 1)} | {share} |")
    print("\n| p99 of detect / p99 of echo within a round | median (min - max) |\n|---|---|")
    for title, found in figures["p99 ratios"].items():
        print(f"| {title} | {tell(found, 2)} |")


if __name__ == "__main__":
    main()
