"""The processes of the latency benchmark: `detect`, `echo` with the bare client, `produce`."""

import argparse
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from common import anomalous_beats

from stream_detector.cli.detect_process import run_detect
from stream_detector.clients import connect
from stream_detector.ports import SystemClock
from stream_detector.replay import ReplayOptions, replay
from stream_detector.settings import DetectSettings, load_settings

POLL_S = 0.2
POLL_RECORDS_MAX = 10_000


def detect(options: argparse.Namespace, settings: DetectSettings) -> None:
    """Run the shipped command's own function."""
    run_detect(options.bundle, settings)


def produce(options: argparse.Namespace, settings: DetectSettings) -> None:
    """Send anomalous beats as JSON at a steady rate."""
    beats = anomalous_beats()
    windows = np.concatenate(list(itertools.repeat(beats, -(-options.n_records // len(beats)))))[
        : options.n_records
    ]
    client = connect(settings.model_copy(update={"client": "confluent"}))
    keys = [f"series-{number % 64}" for number in range(len(windows))]
    replay(
        windows,
        client,
        settings.input_topic,
        options=ReplayOptions(rate=options.rate, content_type="json", keys=keys),
        clock=SystemClock(),
    )
    client.close()


def echo(options: argparse.Namespace, settings: DetectSettings) -> None:
    """Consume, produce, flush, commit with the library itself; the consumer has our settings."""
    client: Any = connect(settings, topics=[settings.input_topic], group=settings.group)
    consumer = client._require_consumer()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    servers = settings.bootstrap_servers
    if settings.client == "kafka-python":
        import kafka

        producer: Any = kafka.KafkaProducer(
            bootstrap_servers=servers, acks="all", enable_idempotence=True
        )
        _echo_kafka_python(consumer, producer, options.output_topic)
    else:
        import confluent_kafka

        producer = confluent_kafka.Producer(
            {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True}
        )
        _echo_confluent(consumer, producer, options.output_topic)


def _echo_kafka_python(consumer: Any, producer: Any, topic: str) -> None:
    """Echo with kafka-python until ended."""
    while True:
        polled = consumer.poll(timeout_ms=int(POLL_S * 1000), max_records=POLL_RECORDS_MAX)
        for records in polled.values():
            for record in records:
                producer.send(topic, record.value, record.key, timestamp_ms=record.timestamp)
        if polled:
            producer.flush()
            consumer.commit()


def _echo_confluent(consumer: Any, producer: Any, topic: str) -> None:
    """Echo with confluent-kafka until ended."""
    while True:
        messages = consumer.consume(1, POLL_S)
        if messages:
            messages += consumer.consume(POLL_RECORDS_MAX, 0)
        for message in messages:
            producer.produce(
                topic, message.value(), message.key(), timestamp=message.timestamp()[1]
            )
        if messages:
            producer.flush()
            consumer.commit(asynchronous=False)


def main() -> None:
    """Run one process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["detect", "echo", "produce"])
    parser.add_argument("--client", required=True)
    parser.add_argument("--delivery", default="at_least_once")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--n-records", type=int, required=True)
    for name in ("servers", "input-topic", "output-topic", "dead-letter-topic"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    settings = load_settings(
        DetectSettings,
        None,
        bootstrap_servers=options.servers,
        client=options.client,
        input_topic=options.input_topic,
        alerts_topic=options.output_topic,
        dead_letter_topic=options.dead_letter_topic,
        group=options.input_topic,
        delivery=options.delivery,
    )
    {"detect": detect, "echo": echo, "produce": produce}[options.kind](options, settings)


if __name__ == "__main__":
    main()
