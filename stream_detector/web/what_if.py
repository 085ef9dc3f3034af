"""Which alerts other settings would have given, over the last hours of the input topic.

The records are read once and judged once with the bundle's own settings. For other settings the
same detector runs over the same records again, and takes the scores from the first run: only the
threshold and the rules of alerts differ, so the network need not run again.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.tracking import OPEN_WITHIN_MAX, AlertRules
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.records import FloatArray, RecordBatch
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.scorer import CountFeatures, Finding, Scorer, WindowScores
from stream_detector.web.alert_board import shown_alert
from stream_detector.web.history import RECORDS_MAX, History, Stretch
from stream_detector.web.key_view import KeyView

KEPT_S = 300.0
"""How long records that were read are used again."""

FACTOR_MIN, FACTOR_MAX = 0.1, 10.0
"""Least and largest threshold, in units of the bundle's."""

SHOWN_MAX = 200
"""Most alerts that are listed, those that change first."""


class Settings(NamedTuple):
    """Settings that can be tried.

    Parameters
    ----------
    factor
        The threshold in units of the bundle's.
    open_after, open_within
        An alert opens once so many of the last so many windows are anomalous.
    close_after_ms
        It closes so long after its last anomalous window.
    """

    factor: float
    open_after: int
    open_within: int
    close_after_ms: int


@dataclass(slots=True)
class _Scored:
    """A scorer that keeps its scores, or gives those that were kept, with another threshold."""

    scorer: Scorer
    factor: float
    kept: list[NDArray[np.float64]]
    is_recalled: bool
    n_calls: int = 0

    @property
    def threshold(self) -> float:
        """Return the threshold."""
        return self.scorer.threshold * self.factor

    @property
    def score_kind(self) -> str:
        """Return what a score is."""
        return self.scorer.score_kind

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values can be scored."""
        return self.scorer.in_range(values)

    def score(self, windows: FloatArray) -> WindowScores:
        """Return the scores of windows; each call has the same windows in both runs."""
        if not self.is_recalled:
            found = self.scorer.score(windows)
            self.kept.append(found.scores)
            return found
        scores = self.kept[self.n_calls]
        self.n_calls += 1
        own = windows.copy()  # of the windows of a call, few are explained, and later

        def explain(index: int, context: WindowContext) -> Finding:
            return self.scorer.score(own[index : index + 1]).explain(0, context)

        def restrict(rows: NDArray[np.intp], count: CountFeatures) -> WindowScores:
            again = self.scorer.score(own[rows])
            assert again.restrict is not None  # noqa: S101  (it was there with the bundle's own)
            return again.restrict(np.arange(len(rows)), count)

        return WindowScores(scores, explain, restrict)


@dataclass(slots=True)
class _Past:
    """Records of the last hours, and what the bundle's own settings give."""

    hours: float
    read_at_s: float
    batches: Sequence[RecordBatch]
    kept: list[NDArray[np.float64]]
    own: list[dict[str, Any]]


@dataclass(slots=True)
class WhatIf:
    """Tries settings on the past.

    Parameters
    ----------
    view
        The bundle, and how records are read.
    history
        Reads the input topic once more.
    """

    view: KeyView
    history: History
    _past: _Past | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def own(self) -> Settings:
        """Return the settings of the detector."""
        rules = self._rules
        return Settings(1.0, rules.open_after, rules.open_within, rules.close_after_ms)

    @property
    def _rules(self) -> AlertRules:
        """Return the rules of alerts; of whole windows, which have none, those of the recipe."""
        detector = self.view.served.detector
        if isinstance(detector, SampleDetector):
            return detector.alerting
        return self.view.served.bundle.manifest.recipe.alerting.rules

    def nearest(self, wanted: Settings) -> Settings:
        """Return settings that can be had."""
        rules = self._rules
        within = min(max(wanted.open_within, 1), OPEN_WITHIN_MAX)
        return Settings(
            min(max(wanted.factor, FACTOR_MIN), FACTOR_MAX),
            min(max(wanted.open_after, 1), within),
            within,
            min(max(wanted.close_after_ms, 1), rules.open_ms_max),
        )

    def try_out(self, wanted: Settings, hours: float, newest_ms: float) -> dict[str, Any]:
        """Return which alerts stay, come and go, as values that JSON has.

        Parameters
        ----------
        wanted
            What is tried.
        hours
            How much of the past.
        newest_ms
            Where it ends, in event time.

        Raises
        ------
        BrokerError
            If no broker answers.
        """
        settings = self.nearest(wanted)
        with self._lock:
            past = self._past
            if past is None or past.hours != hours or time.monotonic() - past.read_at_s > KEPT_S:
                past = self._past = self._read(hours, newest_ms)
            tried = self._run(past.batches, settings, past.kept, is_recalled=True)
        listed = _compared(past.own, tried)
        return {
            **settings._asdict(),
            "own": self.own._asdict(),
            "threshold": self.view.served.detector.scorer.threshold * settings.factor,
            "score_kind": self.view.served.detector.scorer.score_kind,
            "has_rules": isinstance(self.view.served.detector, SampleDetector),
            "hours": hours,
            "n_records": sum(map(len, past.batches)),
            "is_cut": sum(map(len, past.batches)) >= RECORDS_MAX,
            "n_windows": sum(map(len, past.kept)),
            "n_own": len(past.own),
            "n_tried": len(tried),
            "n_come": sum(each["change"] == "comes" for each in listed),
            "n_go": sum(each["change"] == "goes" for each in listed),
            "alerts": listed[:SHOWN_MAX],
            "toml": _toml(settings),
        }

    def _read(self, hours: float, newest_ms: float) -> _Past:
        """Read records, and judge them with the settings of the bundle."""
        stretch = Stretch(newest_ms - hours * 3_600_000 - self.view.lead_ms, newest_ms)
        attach = self.view.schemas.attach
        batches = [attach(each) for each in self.history.read(stretch, None)]
        kept: list[NDArray[np.float64]] = []
        own = self._run(batches, self.own, kept, is_recalled=False)
        return _Past(hours, time.monotonic(), batches, kept, own)

    def _run(
        self,
        batches: Sequence[RecordBatch],
        settings: Settings,
        kept: list[NDArray[np.float64]],
        *,
        is_recalled: bool,
    ) -> list[dict[str, Any]]:
        """Return the worst event of each alert of records, and when it closed.

        Alerts that continue each other are one.
        """
        detector = self.view.served.detector
        scorer = _Scored(detector.scorer, settings.factor, kept, is_recalled)
        changed = _changed(detector, scorer, settings)
        state, alerts = changed.initial_state(), dict[str, dict[str, Any]]()
        first_ids: dict[str, str] = {}
        for batch in batches:
            step = changed.step(state, batch, self.view.content_type)
            state = step.state
            for raised in step.alerts:
                alert, shown = raised.alert, shown_alert(raised.alert)
                first = first_ids.get(alert.continues_alert_id or "", alert.alert_id)
                first = first_ids.setdefault(alert.alert_id, first)
                known = alerts.get(first, shown)
                is_over = alert.event == "close" or not detector.keeps_state
                alerts[first] = {
                    **max(shown, known, key=lambda each: each["score"] or 0.0),
                    "opened_ms": known["opened_ms"],
                    "closed_ms": alert.event_time_ms if is_over else None,
                }
        return sorted(alerts.values(), key=lambda each: int(each["opened_ms"]))


def _changed(detector: Detector, scorer: Scorer, settings: Settings) -> Detector:
    """Return a detector with another scorer and other rules."""
    if isinstance(detector, SampleDetector):
        rules = replace(
            detector.alerting,
            open_after=settings.open_after,
            open_within=settings.open_within,
            close_after_ms=settings.close_after_ms,
        )
        return replace(detector, scorer=scorer, alerting=rules)
    if isinstance(detector, WindowDetector):
        return replace(detector, scorer=scorer)
    message = f"expected a detector of samples or windows, received {detector!r}"
    raise TypeError(message)


def _compared(
    own: Sequence[dict[str, Any]], tried: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return all alerts with how they change: first those that come or go, by their time.

    An alert stays where one of its key is open at the same time with the other settings.
    """
    of_own, of_tried = _by_key(own), _by_key(tried)
    marked = [
        *({**each, "change": _change(each, of_own, "comes")} for each in tried),
        *({**each, "change": "goes"} for each in own if _change(each, of_tried, "goes") == "goes"),
    ]
    return sorted(marked, key=lambda each: (each["change"] == "stays", each["opened_ms"]))


def _by_key(alerts: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the alerts of each key."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in alerts:
        found.setdefault(each["key"], []).append(each)
    return found


def _change(
    alert: dict[str, Any], others: Mapping[str, Sequence[dict[str, Any]]], word: str
) -> str:
    """Return "stays" where another alert of the key overlaps this one, else the word."""
    start, end = _extent(alert)
    for each in others.get(alert["key"], ()):
        first, last = _extent(each)
        if first <= end and last >= start:
            return "stays"
    return word


def _extent(alert: dict[str, Any]) -> tuple[float, float]:
    """Return from when to when an alert was open."""
    closed_ms = alert["closed_ms"]
    return float(alert["opened_ms"]), float("inf") if closed_ms is None else float(closed_ms)


def _toml(settings: Settings) -> str:
    """Return the rules as a recipe has them."""
    return (
        "[alerting]\n"
        f"open_after = {settings.open_after}\n"
        f"open_within = {settings.open_within}\n"
        f"close_after_ms = {settings.close_after_ms}\n"
    )
