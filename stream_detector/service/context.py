"""What the parts of a running service share."""

from dataclasses import dataclass, field

from stream_detector.core.detector import Detector
from stream_detector.ports import Client, Clock, NoSchemas, SchemaSource
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every part of a service works with; it does not change while the service runs.

    Parameters
    ----------
    client
        Reads the input topic, writes alerts and dead letters, commits offsets.
    detector
        Scores batches and raises alerts.
    settings
        Topics, sizes and time limits.
    metrics
        Where the service counts and times what it does.
    clock
        Source of the time.
    schemas
        Where the schemas of records come from, and those of alerts go to.
    """

    client: Client
    detector: Detector
    settings: DetectSettings
    metrics: Metrics
    clock: Clock
    schemas: SchemaSource = field(default_factory=NoSchemas)

    @property
    def where_to_look(self) -> str:
        """Where a person finds out why records of the topic are not judged, in one clause."""
        return (
            f"see stream-detector doctor BUNDLE --topic {self.settings.input_topic}, and "
            "docs/how-to/troubleshooting.md"
        )
