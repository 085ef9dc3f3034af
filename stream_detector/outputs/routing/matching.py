"""Which alerts a route or a silence is about. Pure."""

from fnmatch import fnmatchcase
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from stream_detector.core.alerting.alert import Alert, AlertReason
from stream_detector.recipes.alerting import USUAL_SEVERITIES
from stream_detector.text import printable

VALUES_MAX = 1_000
"""Most values of one key of a matcher."""

TEXT_CHARACTERS_MAX = 1_024


def _as_list(value: object) -> object:
    """Return one text as a list of it."""
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
Texts = Annotated[
    list[Text] | None, BeforeValidator(_as_list), Field(min_length=1, max_length=VALUES_MAX)
]
Reasons = Annotated[
    list[AlertReason] | None, BeforeValidator(_as_list), Field(min_length=1, max_length=VALUES_MAX)
]


class AlertFacts(NamedTuple):
    """What of an alert is matched, and when it was.

    Parameters
    ----------
    key, severity, reason, event_time_ms
        As in `Alert`.
    feature
        The feature whose error is largest, or that is missing; None where none is named.
    """

    key: str
    severity: str
    feature: str | None
    reason: str
    event_time_ms: int


class Match(BaseModel):
    """Conditions on an alert; it has to meet all that are given, and of each one value.

    Examples
    --------
    >>> Match(key=["pump-*"]).describe()
    'key=pump-*'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: Texts = Field(
        default=None, description="Series keys; `*` stands for any characters, `?` for one"
    )
    severity: Texts = Field(default=None, description="Severities, by name")
    feature: Texts = Field(
        default=None,
        description="Features, with `*` and `?` as in key: the one whose error is largest, or the "
        "one that is missing",
    )
    reason: Reasons = Field(default=None, description="Reasons of the event")

    def takes(self, alert: Alert | AlertFacts) -> bool:
        """Return whether an alert meets the conditions."""
        facts = alert if isinstance(alert, AlertFacts) else facts_of(alert)
        return (
            _fits(facts.key, self.key)
            and (self.severity is None or facts.severity in self.severity)
            and (self.feature is None or _fits(facts.feature, self.feature))
            and (self.reason is None or facts.reason in self.reason)
        )

    def describe(self) -> str:
        """Return the conditions on one line; `all` where there are none."""
        given = self.model_dump(exclude_none=True)
        return " ".join(f"{name}={','.join(texts)}" for name, texts in given.items()) or "all"


def note_severities(match: Match) -> str | None:
    """Return what to know of severities that most recipes do not have; None where there are none.

    Any name may be right, since a recipe chooses its own; one that is wrong matches no alert ever.

    Examples
    --------
    >>> note_severities(Match(severity=["warning", "critcal"]))
    'no alert has the severity critcal, unless its recipe names it in alerting.severity; others \
have warning, critical'
    """
    unusual = [each for each in match.severity or [] if each not in USUAL_SEVERITIES]
    if not unusual:
        return None
    names = ", ".join(printable(each) for each in unusual)
    return (
        f"no alert has the severity {names}, unless its recipe names it in alerting.severity; "
        f"others have {', '.join(USUAL_SEVERITIES)}"
    )


def facts_of(alert: Alert) -> AlertFacts:
    """Return what of an alert is matched."""
    return AlertFacts(
        alert.key, alert.severity, feature_of(alert), alert.reason, alert.event_time_ms
    )


def feature_of(alert: Alert) -> str | None:
    """Return the feature whose error is largest, or that is missing; None where none is named."""
    if alert.feature is not None or alert.explanation is None:
        return alert.feature
    return next((each.name for each in alert.explanation.features), None)


def _fits(text: str | None, patterns: list[str] | None) -> bool:
    """Return whether a text fits one of some patterns, of which None takes all."""
    if patterns is None:
        return True
    return text is not None and any(fnmatchcase(text, each) for each in patterns)
