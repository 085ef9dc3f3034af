"""One measured process of the throughput benchmark; prints one JSON object.

`detect` is the shipped path, `bare` polls with the same client and settings and
only counts, `naive` is what one writes first: poll, `json.loads`, Keras `predict`.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stream_detector.clients import connect
from stream_detector.settings import DetectSettings, load_settings


class Rate:
    """Counts records from the end of the first batch on."""

    def __init__(self, n_wanted: int) -> None:
        self.n_wanted = n_wanted
        self.n_records = 0
        self._first: tuple[float, int] | None = None
        self._last = (0.0, 0)

    def add(self, n_records: int) -> bool:
        """Count a finished batch and return whether that was the last one wanted."""
        self.n_records += n_records
        self._last = (time.perf_counter(), self.n_records)
        if self._first is None:
            self._first = self._last
        return self.n_records >= self.n_wanted

    def result(self, **more: Any) -> dict[str, Any]:
        """Return the rate."""
        assert self._first is not None
        seconds = self._last[0] - self._first[0]
        n_timed = self._last[1] - self._first[1]
        return {"records_per_s": n_timed / seconds, "n_records": self.n_records, **more}


def detect(options: argparse.Namespace, settings: DetectSettings) -> dict[str, Any]:
    """Run the service as the command does."""
    from stream_detector.assembly import connect_to_detect, open_bundle
    from stream_detector.ports import SystemClock
    from stream_detector.service import Service
    from stream_detector.telemetry import Metrics

    served = open_bundle(options.bundle, "onnx", settings.model_rows_max)
    service = Service(
        connect_to_detect(settings, served.bundle.reference.name),
        served.detector,
        settings,
        Metrics(),
        SystemClock(),
    )
    rate = Rate(options.n_records)
    n_windows = 0

    def on_step(batch: Any, step: Any) -> None:
        nonlocal n_windows
        n_windows += len(step.scores)
        if rate.add(len(batch)):
            service.stop()

    service.add_observer(on_step)
    totals = service.run()
    return rate.result(n_alerts=totals.n_alerts, n_batches=totals.n_batches, n_windows=n_windows)


def bare(options: argparse.Namespace, settings: DetectSettings) -> dict[str, Any]:
    """Poll with the library's own consumer, made with our settings, and only count."""
    client: Any = connect(settings, topics=[settings.input_topic], group=settings.group)
    consumer = client._require_consumer()
    rate = Rate(options.n_records)
    n_max, timeout_ms = settings.poll_records_max, settings.poll_timeout_ms
    poll: Callable[[], int]
    if settings.client == "kafka-python":

        def poll() -> int:
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=n_max)
            return sum(map(len, polled.values()))
    else:

        def poll() -> int:
            return len(consumer.consume(n_max, timeout_ms / 1000))

    count_until_done(poll, rate)
    client.close()
    return rate.result()


def naive(options: argparse.Namespace, settings: DetectSettings) -> dict[str, Any]:
    """Decode each record by itself and call Keras `predict` on each poll."""
    import keras
    from kafka import KafkaConsumer

    network = keras.saving.load_model(options.bundle / "network.keras")
    consumer = KafkaConsumer(
        settings.input_topic,
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.group,
        auto_offset_reset="earliest",
    )
    rate = Rate(options.n_records)
    is_json = settings.content_type == "json"

    def poll() -> int:
        polled = consumer.poll(timeout_ms=200)
        records = [record for each in polled.values() for record in each]
        if not records:
            return 0
        rows = [
            json.loads(r.value)["values"] if is_json else np.frombuffer(r.value, "<f4")
            for r in records
        ]
        windows = np.array(rows, dtype=np.float32)[..., None]
        errors = np.abs(windows - network.predict(windows, verbose=0)).mean(axis=(1, 2))
        assert np.isfinite(errors).all()
        return len(records)

    count_until_done(poll, rate)
    consumer.close()
    return rate.result()


def count_until_done(poll: Callable[[], int], rate: Rate) -> None:
    """Poll until all wanted records were seen, and give up after a minute without any."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        n_records = poll()
        if n_records:
            deadline_s = time.monotonic() + 60
            if rate.add(n_records):
                return
    message = f"only {rate.n_records} of {rate.n_wanted} records came"
    raise SystemExit(message)


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["detect", "bare", "naive"])
    parser.add_argument("--client", default="kafka-python")
    parser.add_argument("--delivery", default="at_least_once")
    parser.add_argument("--poll-records-max", type=int)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--n-records", type=int, required=True)
    for name in ("servers", "topic", "content-type", "group", "alerts-topic", "dead-letter-topic"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    settings = load_settings(
        DetectSettings,
        None,
        bootstrap_servers=options.servers,
        client=options.client,
        input_topic=options.topic,
        alerts_topic=options.alerts_topic,
        dead_letter_topic=options.dead_letter_topic,
        group=options.group,
        content_type=options.content_type,
        delivery=options.delivery,
        poll_records_max=options.poll_records_max,
    )
    run = {"detect": detect, "bare": bare, "naive": naive}[options.kind]
    print(json.dumps(run(options, settings)))


if __name__ == "__main__":
    main()
