"""Quix Streams with ONNX Runtime called on each record; prints one JSON object.

Runs in an environment of its own (benchmarks/peers/requirements.txt): its dependencies and ours
exclude each other. The consumer gets the same tuned fetch settings as our confluent client.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
from quixstreams import Application

FETCH = {
    "fetch.queue.backoff.ms": 1,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 262_144,
    "fetch.message.max.bytes": 4_000_000,
}


def main() -> None:
    """Score every record of a topic and publish the anomalous ones."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--n-records", type=int, required=True)
    for name in ("servers", "topic", "content-type", "group", "alerts-topic", "dead-letter-topic"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()

    manifest = json.loads((options.bundle / "manifest.json").read_text())
    threshold = manifest["threshold"]["value"]
    scaler = np.load(options.bundle / "scaler.npz", allow_pickle=False)
    offset, scale = scaler["offset"], scaler["scale"]
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(options.bundle / "network.onnx"), session_options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    is_json = options.content_type == "json"
    marks: list[float] = []
    first = min(20_000, options.n_records // 10)
    seen = 0

    def score(value: bytes) -> float:
        nonlocal seen
        seen += 1
        if seen in (first, options.n_records):
            marks.append(time.perf_counter())
        raw: Any = orjson.loads(value)["values"] if is_json else np.frombuffer(value, "<f4")
        window = (np.asarray(raw, np.float32).reshape(1, -1, 1) - offset) * scale
        return float(np.abs(window - session.run(None, {name: window})[0]).mean())

    app = Application(
        broker_address=options.servers,
        consumer_group=options.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="ERROR",
        consumer_extra_config=FETCH,
    )
    stream = app.dataframe(app.topic(options.topic, value_deserializer="bytes"))
    alerts = app.topic(options.alerts_topic, value_serializer="json")
    stream = stream.apply(score)
    stream = stream[stream.apply(lambda error: error > threshold)]
    stream.to_topic(alerts)
    app.run(count=options.n_records, timeout=60)
    rate = (options.n_records - first) / (marks[1] - marks[0])
    print(json.dumps({"records_per_s": rate, "n_records": seen}))


if __name__ == "__main__":
    main()
