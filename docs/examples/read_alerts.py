"""Read alerts with kafka-python and pydantic alone: one line an event, then what is still open."""

import argparse
import sys

from kafka import KafkaConsumer, errors
from pydantic import AliasPath, BaseModel, Field, ValidationError

N_REMEMBERED = 10_000  # alerts; the longest untouched are forgotten first


class Feature(BaseModel):
    """A feature and its part of the error."""

    name: str
    share: float


class Alert(BaseModel):
    """What this reader wants of an alert; pydantic ignores the other fields."""

    alert_id: str
    event: str
    event_number: int
    key: str
    event_time_ms: int
    anomaly_score: float | None  # null where data is missing
    severity: str
    reason: str
    feature: str | None = None
    features: list[Feature] = Field([], validation_alias=AliasPath("explanation", "features"))

    def __str__(self) -> str:
        worst = (f"{each.name} ({each.share:.0%})" for each in self.features)
        what = f"{self.event_time_ms} {self.event} {self.reason} {self.severity} key {self.key}"
        about = f"score {self.anomaly_score or 0:.2f} {next(worst, 'image')}"
        if self.anomaly_score is None:
            about = f"no data of {self.feature or 'the key'}"
        line = f"{what} {about}"
        return (line if line.isprintable() else ascii(line)[1:-1]) + "\n"  # keys are foreign


class Reader:
    """Drops repeats (events of a key come in order, at least once); knows what is open."""

    def __init__(self) -> None:
        self.open: dict[str, Alert] = {}  # by id; dicts keep the order of what was put in
        self._numbers: dict[str, int] = {}

    def take(self, value: bytes) -> str:
        """Return a line for a record, and nothing for a repeat."""
        try:
            alert = Alert.model_validate_json(value)
        except ValidationError as error:
            return f"skipped: {error.errors()[0]['msg']}\n"
        seen = self._numbers.pop(alert.alert_id, 0)
        self._numbers[alert.alert_id] = max(seen, alert.event_number)
        if alert.event_number <= seen:
            return ""
        self.open.pop(alert.alert_id, None)
        if alert.event != "close":
            self.open[alert.alert_id] = alert
        for table in (self.open, self._numbers):
            while len(table) > N_REMEMBERED:
                del table[next(iter(table))]
        return str(alert)


def main() -> None:
    """Read from the beginning until Ctrl-C, or until no alert has come for a while."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092", dest="servers")
    parser.add_argument("--topic", default="alerts")
    parser.add_argument("--stop-when-idle", type=float, default=float("inf"), metavar="SECONDS")
    args = parser.parse_args()
    options = {"auto_offset_reset": "earliest", "allow_auto_create_topics": False}
    options |= {"bootstrap_servers": args.servers, "bootstrap_timeout_ms": 10_000}
    reader = Reader()
    try:
        consumer = KafkaConsumer(consumer_timeout_ms=1_000 * args.stop_when_idle, **options)
        if not consumer.partitions_for_topic(args.topic):
            sys.exit(f"error: {args.servers} has no topic {args.topic}")
        consumer.subscribe([args.topic])
        for record in consumer:
            sys.stdout.write(reader.take(record.value or b""))
        consumer.close()
    except KeyboardInterrupt:
        pass
    except errors.KafkaError as error:
        sys.exit(f"error: {args.servers}: {error}")
    sys.stdout.writelines([f"open: {len(reader.open)}\n", *map(str, reader.open.values())])


if __name__ == "__main__":
    main()
