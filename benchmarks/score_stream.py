"""What it costs to publish every score: records a second of `detect` without, as JSON, as float32.

On a real Kafka, whole windows of 140 float32 values, every one of which gives a score. Rounds are
interleaved; a rate is counted from the end of the first batch to the end of the last.

    python benchmarks/score_stream.py --records 60000 --rounds 3
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import fill, make_topics, running_broker, spread, tell
from halving_bundle import make_bundle

from stream_detector.assembly import make_service, open_bundle
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

CLIENTS, FORMS = ("kafka-python", "confluent"), ("none", "json", "float32")


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    values = np.random.default_rng(0).normal(0, 0.3, (500, 140)).astype("<f4")
    rates: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, running_broker() as servers:
        bundle = Path(folder) / "bundle"
        make_bundle(bundle)
        make_topics(servers, "telemetry", "alerts", "dead-letters", "scores")
        fill(servers, "telemetry", [each.tobytes() for each in values], options.records)
        for number in range(options.rounds):
            for client in CLIENTS:
                for form in FORMS:
                    group = f"{client}-{form}-{number}"
                    found = rate(servers, bundle, client, form, group)
                    rates.setdefault((client, form), []).append(found)
    print("| client | scores | records/s, median (min - max) |\n| --- | --- | --- |")
    for (client, form), each in rates.items():
        print(f"| {client} | {form} | {tell(spread(each))} |")


def rate(servers: str, bundle: Path, client: str, form: str, group: str) -> float:
    """Return the records a second of one run over the whole topic."""
    scores = {} if form == "none" else {"scores_topic": "scores", "scores_format": form}
    settings = load_settings(
        DetectSettings,
        bootstrap_servers=servers,
        client=client,
        content_type="float32",
        group=group,
        stop_when_idle_s=1.0,
        **scores,
    )
    service = make_service(open_bundle(bundle), settings, Metrics())
    ends: list[tuple[float, int]] = []
    service.add_observer(lambda batch, _: ends.append((time.perf_counter(), len(batch))))
    service.run()
    return sum(n for _, n in ends[1:]) / (ends[-1][0] - ends[0][0])


if __name__ == "__main__":
    main()
