"""Combinations of keys in `[alerting]` that do not fit together, or not with `[window]`."""

from collections.abc import Iterator, Mapping
from typing import Any

from stream_detector.recipes.alerting import AlertingSection
from stream_detector.recipes.section import is_number
from stream_detector.recipes.sections import WindowSection


def alerting_problems(alerting: Mapping[str, Any], window: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in the table, each as a clause of a message.

    Parameters
    ----------
    alerting, window
        The tables as they were given.
    """
    yield from _severity_problems(alerting)
    yield from _life_cycle_problems(alerting)
    yield from _no_data_problems(alerting, window)
    yield from _feature_problems(alerting, window)


def _severity_problems(alerting: Mapping[str, Any]) -> Iterator[str]:
    """Yield a severity table that leaves some anomalous scores without a severity."""
    severity = alerting.get("severity", {"warning": 1.0})
    if not isinstance(severity, Mapping) or not severity:
        return
    levels = [level for level in severity.values() if isinstance(level, int | float)]
    if levels and min(levels) != 1.0:
        yield (
            "alerting.severity: expected the lowest level to be 1.0, where anomalous begins, "
            f"received {min(levels)!r}"
        )
    if len(set(levels)) < len(levels):
        yield f"alerting.severity: expected different levels, received {levels!r}"


def _life_cycle_problems(alerting: Mapping[str, Any]) -> Iterator[str]:
    """Yield numbers with which an alert could never open, or never close as recovered."""
    fields = AlertingSection.model_fields
    for smaller, larger in (("open_after", "open_within"), ("close_after_ms", "open_ms_max")):
        low = alerting.get(smaller, fields[smaller].default)
        high = alerting.get(larger, fields[larger].default)
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield f"alerting.{smaller}: expected at most {larger} = {high}, received {low}"


def _no_data_problems(alerting: Mapping[str, Any], window: Mapping[str, Any]) -> Iterator[str]:
    """Yield a time after which every sample, or no key that still has state, would be missed."""
    after = alerting.get("no_data_after_ms")
    if not is_number(after):
        return
    record = window.get("record")
    if record in ("window", "image"):
        yield (
            "alerting.no_data_after_ms: expected only with window.record = 'samples', received "
            f"{after!r} with {record!r}"
        )
        return
    interval = window.get("sample_interval_ms", 0)
    if is_number(interval) and after <= interval:
        yield (
            "alerting.no_data_after_ms: expected more than window.sample_interval_ms = "
            f"{interval!r}, received {after!r}: every sample would be missed"
        )
    ttl = window.get("key_ttl_ms", WindowSection.model_fields["key_ttl_ms"].default)
    if is_number(ttl) and after >= ttl:
        yield (
            f"alerting.no_data_after_ms: expected less than window.key_ttl_ms = {ttl!r}, received "
            f"{after!r}: the key would have expired by then"
        )


def _feature_problems(alerting: Mapping[str, Any], window: Mapping[str, Any]) -> Iterator[str]:
    """Yield business rules of pixels, and valid ranges that hold nothing."""
    features = alerting.get("features", {})
    if not isinstance(features, Mapping):
        return
    if features and window.get("record") == "image":
        yield "alerting.features: expected only where records are no images, received some rules"
    for name, rules in features.items():
        given = rules if isinstance(rules, Mapping) else {}
        low, high = given.get("valid_min"), given.get("valid_max")
        if is_number(low) and is_number(high) and low > high:
            yield (
                f"alerting.features.{name}.valid_min: expected at most valid_max = {high!r}, "
                f"received {low!r}"
            )
