"""Tables of the figures of a run, for the terminal and for reports: names, values, intervals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stream_detector.bundle import LeftOut
from stream_detector.core.evaluation import figure_rows
from stream_detector.core.intervals import Interval
from stream_detector.core.stream_evaluation import AlertFigures, EventFigures, KeyFigures
from stream_detector.core.timestamps import describe_time
from stream_detector.evaluation.figures import StreamFigures

N_KEYS_SHOWN = 30
"""Most series in the table by key; those with most to see come first."""

N_ALERTS_SHOWN = 30
"""Most false alarms that are listed."""

POINT_ADJUSTED_WARNING = (
    "point-adjusted F1 counts a whole fault as predicted once one of its samples is; random scores "
    "reach high values where faults are long, so do not choose between detectors by it"
)


class FigureTable(NamedTuple):
    """A table: the first column is text, the others are numbers or short texts.

    Parameters
    ----------
    title
        What it is about.
    columns
        Headers.
    rows
        Cells; None where there is no figure.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


def tables(figures: StreamFigures) -> Iterator[FigureTable]:
    """Yield the tables of all figures that there are, the most important first; NaN is None."""
    for table in _tables(figures):
        yield table._replace(rows=[tuple(map(_known, row)) for row in table.rows])


def _known(cell: Any) -> Any:
    """Return a cell, None for NaN."""
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _tables(figures: StreamFigures) -> Iterator[FigureTable]:
    """Yield the tables of all figures that there are."""
    is_labelled = figures.events is not None
    yield _alerts_table(figures)
    evaluation = figures.evaluation
    if evaluation.by_kind:
        yield FigureTable(
            "By kind of fault",
            ("kind of fault", "faults", "found", "median delay", "95 %", "feature right"),
            [(kind, *_event_cells(each)) for kind, each in evaluation.by_kind.items()],
        )
    if evaluation.by_check:
        checks = evaluation.by_check.items()
        yield FigureTable(
            "By check",
            ("check", "alerts", *(("false", "false a day", "found first") * is_labelled)),
            [(check, *_check_cells(each, is_labelled)) for check, each in checks],
        )
    if len(evaluation.by_key) > 1:
        yield _key_table(evaluation.by_key, is_labelled)
    if figures.points:
        yield _points_table(figures)
    if figures.floors:
        yield _floors_table(figures)
    if figures.windows is not None:
        rows = [row[:2] for row in figure_rows(figures.windows.as_dict(), {})]
        yield FigureTable("Windows against their labels", ("figure", "measured"), rows)
    if figures.quantiles:
        scores = [(_quantile_name(name), value) for name, value in figures.quantiles.items()]
        yield FigureTable("Anomaly scores of all windows", ("share below", "score"), scores)
    if figures.strangest:
        yield _strangest_table(figures)


def left_out_table(found: LeftOut) -> FigureTable:
    """Return how many training windows were kept and left out, by key and of all."""
    counts = [(each.key, each.n_windows, each.n_left_out) for each in found.by_key if each.key]
    if found.n_keys > len(found.by_key):
        n_windows = found.n_windows - sum(each.n_windows for each in found.by_key)
        n_left_out = found.n_left_out - sum(each.n_left_out for each in found.by_key)
        counts.append((f"{found.n_keys - len(found.by_key):,} more keys", n_windows, n_left_out))
    if len(counts) != 1:
        counts.append(("all", found.n_windows, found.n_left_out))
    rows = [
        (key, n_windows, n_windows - n_out, n_out, _share(n_out / n_windows))
        for key, n_windows, n_out in counts
    ]
    return FigureTable(
        "Training windows", ("key", "windows", "kept", "left out", "share left out"), rows
    )


def duration(milliseconds: float) -> str | None:
    """Return a duration in its own unit, None for NaN.

    Examples
    --------
    >>> duration(12_345.0), duration(900_000.0), duration(math.nan)
    ('12.3 s', '15 min', None)
    """
    if math.isnan(milliseconds):
        return None
    for unit, unit_ms in (("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0)):
        if milliseconds >= 2 * unit_ms:
            return f"{milliseconds / unit_ms:.3g} {unit}"
    return f"{milliseconds / 1_000:.3g} s"


def _alerts_table(figures: StreamFigures) -> FigureTable:
    """Return the table of what a person wants to know first."""
    found, alerts = figures.evaluation.total.events, figures.evaluation.total.alerts
    rows: list[tuple[Any, ...]] = []
    before = found.n_open_before
    if figures.events is not None:
        rows += [
            ("faults found", f"{found.n_found} of {found.n_events}", _interval(found.recall)),
            *([("not found, but an alert was open before", before, None)] if before else []),
            ("delay, median", duration(found.delay_ms), None),
            ("delay, 95 %", duration(found.delay_ms_p95), None),
        ]
        if found.n_feature_known:
            right = f"{found.n_feature_right} of {found.n_feature_known}"
            rows.append(("feature named right", right, None))
        false = alerts.false_per_day
        rows += [
            ("false alarms", alerts.n_false, None),
            ("false alarms a day and key", false.value, _interval(false)),
        ]
    rows += [
        ("alerts", alerts.n_alerts, None),
        ("alerts a day and key", figures.per_day.value, _interval(figures.per_day)),
        ("time on alert", _share(alerts.alert_share), None),
    ]
    if figures.n_silences:
        rows.append(("alerts about keys that sent nothing", figures.n_silences, None))
    title = "Alerts" if figures.events is None else "Faults and alerts"
    return FigureTable(title, ("figure", "measured", "95 % interval"), rows)


def _event_cells(found: EventFigures) -> tuple[Any, ...]:
    """Return the cells about some faults."""
    known = found.n_feature_known
    return (
        found.n_events,
        found.n_found,
        duration(found.delay_ms),
        duration(found.delay_ms_p95),
        f"{found.n_feature_right} of {known}" if known else None,
    )


def _check_cells(alerts: AlertFigures, is_labelled: bool) -> tuple[Any, ...]:
    """Return the cells about the alerts of a check."""
    if not is_labelled:
        return (alerts.n_alerts,)
    return alerts.n_alerts, alerts.n_false, alerts.false_per_day.value, alerts.n_first


def _key_table(by_key: Mapping[str, KeyFigures], is_labelled: bool) -> FigureTable:
    """Return the table of the series with the most faults and alerts."""
    order = sorted(
        by_key, key=lambda key: (-by_key[key].events.n_events, -by_key[key].alerts.n_alerts)
    )
    rows: list[tuple[Any, ...]] = []
    for key in order[:N_KEYS_SHOWN]:
        events, alerts = by_key[key].events, by_key[key].alerts
        share = _share(alerts.alert_share)
        if is_labelled:
            counts = (events.n_events, events.n_found, duration(events.delay_ms))
            rows.append((key, *counts, alerts.n_alerts, alerts.n_false, share))
        else:
            rows.append((key, alerts.n_alerts, share))
    columns: tuple[str, ...] = ("key", "alerts", "time on alert")
    if is_labelled:
        columns = ("key", "faults", "found", "median delay", "alerts", "false", "time on alert")
    more = len(order) - len(rows)
    return FigureTable(f"By key, and {more} more" if more else "By key", columns, rows)


def _points_table(figures: StreamFigures) -> FigureTable:
    """Return the table of the metrics of samples."""
    causal, put_back = figures.points["causal"], figures.points["put_back"]
    names = {
        "vus_pr": "VUS-PR",
        "affiliation_precision": "affiliation precision",
        "affiliation_recall": "affiliation recall",
        "point_adjusted_f1": "point-adjusted F1 (do not compare by it)",
    }
    rows: list[tuple[Any, ...]] = [
        (names[name], one, other)
        for name, one, other in zip(causal._fields, causal, put_back, strict=True)
        if one is not None
    ]
    rows.append(("NAB score, alerts as detections", figures.nab, None))
    return FigureTable("Samples against their labels", ("metric", "causal", "put back"), rows)


def _floors_table(figures: StreamFigures) -> FigureTable:
    """Return the table of the bundle and simple detectors beside it."""
    bundle, total = figures.points, figures.evaluation.total
    own = bundle["causal"].vus_pr, bundle["put_back"].vus_pr, total.events.n_found
    rows = [("this bundle", *own), *((name, *each) for name, each in figures.floors.items())]
    columns = ("detector", "VUS-PR causal", "put back", "faults found")
    n_false = total.alerts.n_false
    return FigureTable(f"Floors, with {n_false} false alarms at most", columns, rows)


def false_alarm_table(figures: StreamFigures) -> FigureTable:
    """Return the first false alarms, or alerts without labels, with what they say."""
    shown = figures.false_alarms[:N_ALERTS_SHOWN]
    has_check = any(each.check for each in shown)
    rows = [
        (
            each.key,
            describe_time(each.opened_ms),
            duration(each.closed_ms - each.opened_ms),
            *([each.check or None] if has_check else []),
            each.feature or None,
            each.sentence or None,
        )
        for each in shown
    ]
    title = "Alerts in the order of time" if figures.events is None else "False alarms"
    more = len(figures.false_alarms) - len(shown)
    columns = (
        *("key", "opened", "length"),
        *(("check",) * has_check),
        *("feature", "what is unusual"),
    )
    return FigureTable(
        f"{title}, the first of {more + len(shown)}" if more else title, columns, rows
    )


def _strangest_table(figures: StreamFigures) -> FigureTable:
    """Return the table of the strangest spans."""
    has_check = any(each.check for each in figures.strangest)
    rows = [
        (
            each.key,
            describe_time(each.start_ms),
            duration(float(each.end_ms - each.start_ms)),
            each.anomaly_score,
            each.feature or None,
            *([each.check or None] if has_check else []),
        )
        for each in figures.strangest
    ]
    columns = ("key", "start", "length", "score", "feature", *(("check",) * has_check))
    return FigureTable("The strangest spans", columns, rows)


def _interval(interval: Interval) -> str | None:
    """Return an interval as text, None where there is none."""
    return None if math.isnan(interval.low) else f"{interval.low:.3g} to {interval.high:.3g}"


def _share(share: float) -> str | None:
    """Return a share in percent, None for NaN."""
    return None if math.isnan(share) else f"{share:.2%}"


def _quantile_name(name: str) -> str:
    """Return what a quantile is called in a table."""
    return "largest" if name == "max" else f"{name.removeprefix('q')} %"
