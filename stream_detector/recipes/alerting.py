"""The table `[alerting]` of a recipe."""

import hashlib
from math import inf
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from stream_detector.core.alerting.tracking import OPEN_WITHIN_MAX, AlertRules
from stream_detector.core.features import Features, list_names
from stream_detector.core.scoring.business_rules import BusinessRules, FeatureRule
from stream_detector.errors import ConfigError
from stream_detector.recipes.section import PositiveFloat, Section

Number = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

ALERT_MS_MAX = 7 * 24 * 3_600_000
"""A week. Bounds how many records a restore replays to rebuild an open alert."""

SEVERITIES_MAX = 16
SEVERITY_CHARACTERS_MAX = 64
"""Names of severities are labels of metrics."""

USUAL_SEVERITIES = {"warning": 1.0, "critical": 2.0}
"""Those of a recipe that names none, each with the anomaly score it starts at."""

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


class FeatureRules(Section):
    """Which deviations of a feature are of interest; all of them if nothing is given."""

    direction: Literal["above", "below", "both"] = Field(
        default="both",
        description="On which side of the expected value an observed one must be",
    )
    deviation_min: NotNegative = Field(
        default=0.0,
        description="Least distance of the two, in the unit of the signal",
    )
    relative_deviation_min: NotNegative = Field(
        default=0.0,
        description="Least distance of the two, as a part of the expected value: 0.1 is a tenth",
    )
    valid_min: Number | None = Field(
        default=None,
        description="Values from here to valid_max are valid, and never of interest; without end "
        "if valid_max is not given",
    )
    valid_max: Number | None = Field(
        default=None,
        description="Values from valid_min to here are valid, and never of interest; without "
        "beginning if valid_min is not given",
    )
    ignore: bool = Field(default=False, description="Whether nothing of the feature is of interest")

    @property
    def rule(self) -> FeatureRule:
        """Return the rule."""
        valid = None
        if self.valid_min is not None or self.valid_max is not None:
            low = -inf if self.valid_min is None else self.valid_min
            valid = low, inf if self.valid_max is None else self.valid_max
        return FeatureRule(
            direction=self.direction,
            deviation_min=self.deviation_min,
            relative_deviation_min=self.relative_deviation_min,
            valid=valid,
            is_ignored=self.ignore,
        )


class AlertingSection(Section):
    """How severe an alert is, and when it opens, is updated and closes.

    All keys but `severity`, `incident_within_ms` and `features` are for `record = "samples"` only:
    a record that is a whole window opens an alert of its own.
    """

    severity: dict[SeverityName, PositiveFloat] = Field(
        default=USUAL_SEVERITIES,
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

    features: dict[str, FeatureRules] = Field(
        default={},
        description="Business rules of features, by name: which deviations are of interest",
    )

    def business_rules(self, features: Features) -> BusinessRules | None:
        """Return the rules of a bundle's features, None where there are none.

        Raises
        ------
        ConfigError
            If a rule is of a feature that the bundle does not have.
        """
        unknown = sorted(set(self.features) - set(features.names))
        if unknown:
            message = (
                f"alerting.features: expected the features {list_names(features.names)}, received "
                f"{list_names(unknown)}"
            )
            raise ConfigError(message)
        if not self.features:
            return None
        nothing = FeatureRules()
        rules = [self.features.get(name, nothing).rule for name in features.names]
        return BusinessRules(rules, features)

    @property
    def digest(self) -> str:
        """Return 16 hexadecimal digits that name the table."""
        text = self.model_dump_json(exclude_defaults=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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
