"""A dashboard for Grafana, made from the metrics of `detect`, with each of them in some panel."""

import json
from typing import Any, NamedTuple

from metric_table import expression

COLUMNS = 24
"""Width of a dashboard, in Grafana's unit."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF = 'job=~"$job"'
_RATE = "$__rate_interval"


class Panel(NamedTuple):
    """One panel.

    Parameters
    ----------
    title
        What it shows.
    queries
        Legend of each query, and its PromQL: metrics as `expression` takes them, `OF` for the
        chosen jobs, `RATE` for the interval of rates.
    unit
        Grafana's name of the unit.
    kind
        Grafana's name of the panel.
    width
        Of `COLUMNS`.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


def _quantiles(
    name: str, shares: tuple[float, ...] = (0.5, 0.99), more: str = ""
) -> dict[str, str]:
    """Return queries of the quantiles of a histogram; `more` are matchers beside the job."""
    rates = f"sum by (le) (rate(%{{{name}}}_bucket{{OF{more}}}[RATE]))"
    return {f"p{round(100 * share)}": f"histogram_quantile({share}, {rates})" for share in shares}


def _rates(name: str, label: str) -> dict[str, str]:
    """Return one query of the rates of a counter by a label."""
    return {f"{{{{{label}}}}}": f"sum by ({label}) (rate(%{{{name}}}{{OF}}[RATE]))"}


ROWS: dict[str, tuple[Panel, ...]] = {
    "Health": (
        Panel("Processes", {"": "sum(%{processes}{OF})"}, kind="stat", width=3),
        Panel("Partitions", {"": "sum(%{partitions}{OF})"}, kind="stat", width=3),
        Panel("Restoring", {"": "sum(%{restoring}{OF})"}, kind="stat", width=3),
        Panel("Last turn", {"": "time() - min(%{turned}{OF})"}, "s", "stat", 3),
        Panel("Last answer of Kafka", {"": "time() - min(%{answered}{OF})"}, "s", "stat", 3),
        Panel("Held batches", {"": "sum(%{held}{OF})"}, kind="stat", width=3),
        Panel("Retries", {"": "sum(rate(%{retries}{OF}[RATE]))"}, "ops", "stat", 3),
    ),
    "Alerts": (
        Panel("Open alerts", {"open": "sum(%{open_alerts}{OF})"}),
        Panel(
            "Alert events",
            {"{{event}} {{severity}}": "sum by (event, severity) (rate(%{alerts}{OF}[RATE]))"}
            | {"suppressed": "sum(rate(%{suppressed}{OF}[RATE]))"},
            "ops",
        ),
        Panel("Record to alert", _quantiles("latency"), "s"),
        Panel(
            "Score / threshold of normal windows",
            _quantiles("anomaly_score", (0.5, 0.9, 0.99), ', outcome="normal"'),
        ),
        Panel(
            "Anomalous windows",
            {
                "share": 'sum(rate(%{windows}{OF, outcome="anomalous"}[RATE]))'
                ' / sum(rate(%{windows}{OF, outcome=~"normal|anomalous"}[RATE]))'
            },
            "percentunit",
        ),
        Panel(
            "Bundle",
            {
                "{{name}} {{version}}": "sum by (name, version) (%{bundle_info}{OF})",
                "threshold": "max(%{threshold}{OF})",
            },
        ),
    ),
    "Throughput": (
        Panel("Records by outcome", _rates("records", "outcome"), "ops"),
        Panel("Lag", {"{{topic}} {{partition}}": "sum by (topic, partition) (%{lag}{OF})"}),
        Panel("Records in a poll", _quantiles("batch")),
        Panel("Windows by outcome", _rates("windows", "outcome"), "ops"),
        Panel("Samples by outcome", _rates("samples", "outcome"), "ops"),
        Panel("One call of the network", _quantiles("inference"), "s"),
    ),
    "Input": (
        Panel("Dead letters by error", _rates("rejected", "error"), "ops"),
        Panel("Rejected in a row", {"records": "max(%{rejected_in_a_row}{OF})"}),
        Panel(
            "Keys",
            {"with state": "sum(%{keys}{OF})", "silent": "sum(%{silent_keys}{OF})"}
            | {"unscored: {{reason}}": "sum by (reason) (%{unscored_keys}{OF})"},
        ),
        Panel(
            "Missing and changed",
            {
                "missing values": "sum(rate(%{missing_values}{OF}[RATE]))",
                "gaps": "sum(rate(%{gaps}{OF}[RATE]))",
                "clocks set": "sum(rate(%{clock_sets}{OF}[RATE]))",
                "keys expired": "sum(rate(%{idle_keys}{OF}[RATE]))",
                "unknown keys": "sum(rate(%{unknown_keys}{OF}[RATE]))",
            },
            "ops",
        ),
        Panel(
            "Restores",
            {"{{outcome}}": "sum by (outcome) (increase(%{restores}{OF}[RATE]))"},
        ),
        Panel("Time of a restore", _quantiles("restore_seconds"), "s"),
    ),
}
"""Panels by the row that they stand in."""


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(_placed({"type": "row", "title": title, "panels": []}, len(panels), (0, y)))
        x, y, height = 0, y + 1, 0
        for panel in row:
            height = 4 if panel.kind == "stat" else 8
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            size = (panel.width, height)
            panels.append(_placed(_panel(panel), len(panels), (x, y), size))
            x += panel.width
        y += height
    return {
        "title": "Stream detector",
        "uid": "stream-detector",
        "description": "Written by docs/generate.py from docs/grafana_dashboard.py",
        "tags": ["stream-detector", "kafka"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_SOURCES, _jobs()]},
        "panels": panels,
    }


def dashboard_file() -> str:
    """Return the dashboard as JSON."""
    return json.dumps(dashboard(), indent=2) + "\n"


_SOURCES = {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus"}


def _jobs() -> dict[str, Any]:
    """Return the choice of jobs."""
    return {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": expression("label_values(%processes, job)"), "refId": "job"},
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed(
    panel: dict[str, Any], number: int, at: tuple[int, int], size: tuple[int, int] = (COLUMNS, 1)
) -> dict[str, Any]:
    """Return a panel with its place."""
    place = {"x": at[0], "y": at[1], "w": size[0], "h": size[1]}
    return {"id": number + 1, **panel, "gridPos": place}


def _panel(panel: Panel) -> dict[str, Any]:
    """Return a panel without its place."""
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _SOURCE,
            "expr": query(text),
            "legendFormat": legend,
        }
        for number, (legend, text) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
    }


def query(text: str) -> str:
    """Return the PromQL of a panel as Grafana takes it."""
    return expression(text).replace("OF", _OF).replace("RATE", _RATE)
