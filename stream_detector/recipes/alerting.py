"""The table `[alerting]` of a recipe."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from stream_detector.core.alerting.tracking import OPEN_WITHIN_MAX, AlertRules
from stream_detector.recipes.section import PositiveFloat, Section

ALERT_MS_MAX = 7 * 24 * 3_600_000
"""A week. Bounds how many records a restore replays to rebuild an open alert."""

SEVERITIES_MAX = 16
SEVERITY_CHARACTERS_MAX = 64
"""Names of severities are labels of metrics."""

AlertSpan = Annotated[int, Field(ge=1, le=ALERT_MS_MAX)]


def _printable(name: str) -> str:
    """Refuse a name that a terminal or a log line would not show as it is."""
    if not name.isprintable():
        kind, message = "not_printable", "Input should be printable text"
        raise PydanticCustomError(kind, message)
    return name


SeverityName = Annotated[
    str, Field(min_length=1, max_length=SEVERITY_CHARACTERS_MAX), AfterValidator(_printable)
]


class AlertingSection(Section):
    """How severe an alert is, and when it opens, is updated and closes.

    All keys but `severity` and `incident_within_ms` are for `record = "samples"` only: a record
    that is a whole window opens an alert of its own.
    """

    severity: dict[SeverityName, PositiveFloat] = Field(
        default={"warning": 1.0, "critical": 2.0},
        min_length=1,
        max_length=SEVERITIES_MAX,
        description="Names of the severities, each with the anomaly score it starts at; the lowest "
        "starts at 1.0",
    )
    open_after: Annotated[int, Field(ge=1, le=OPEN_WITHIN_MAX)] = Field(
        default=1,
        description="An alert opens once this many of the last open_within windows are anomalous",
    )
    open_within: Annotated[int, Field(ge=1, le=OPEN_WITHIN_MAX)] = Field(
        default=1, description="Number of a key's latest windows among which open_after counts"
    )
    update_interval_ms: AlertSpan = Field(
        default=60_000, description="Longest time between two updates of an open alert"
    )
    close_after_ms: AlertSpan = Field(
        default=10_000,
        description="An alert closes this long after the end of its last anomalous window",
    )
    cooldown_ms: Annotated[int, Field(ge=0, le=ALERT_MS_MAX)] = Field(
        default=0, description="Shortest time between a key's alert closing and its next opening"
    )
    open_ms_max: AlertSpan = Field(
        default=600_000,
        description="An alert that has been open for this long closes, and a new one that refers "
        "to it opens",
    )
    flood_alerts_max: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=10,
        description="Most alerts that a key opens within flood_window_ms; one summary alert opens "
        "in place of the next",
    )
    flood_window_ms: AlertSpan = Field(
        default=600_000,
        description="Time within which flood_alerts_max counts alerts, and an explanation counts "
        "gaps",
    )

    incident_within_ms: Annotated[int, Field(ge=0, le=ALERT_MS_MAX)] = Field(
        default=60_000,
        description="Alerts of a partition that open within this time of an incident's first one "
        "bear its incident_id; 0 gives no incidents",
    )
    no_data_after_ms: AlertSpan | None = Field(
        default=None,
        description="Time without a record of a key, or without a value of a feature, after which "
        "an alert opens: no_data or feature_missing; below window.key_ttl_ms, no such alerts if "
        "not given",
    )

    @property
    def levels(self) -> tuple[tuple[str, float], ...]:
        """Return the severities and the anomaly scores they start at, ascending."""
        return tuple(sorted(self.severity.items(), key=lambda item: item[1]))

    @property
    def rules(self) -> AlertRules:
        """Return the rules by which alerts open, are updated and close."""
        return AlertRules(
            open_after=self.open_after,
            open_within=self.open_within,
            update_interval_ms=self.update_interval_ms,
            close_after_ms=self.close_after_ms,
            cooldown_ms=self.cooldown_ms,
            open_ms_max=self.open_ms_max,
            flood_alerts_max=self.flood_alerts_max,
            flood_window_ms=self.flood_window_ms,
            severities=self.levels,
            incident_within_ms=self.incident_within_ms or None,
        )
