"""Rules for Prometheus and the dashboard for Grafana: taken by promtool, and of real metrics."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import ROOT
from grafana_dashboard import COLUMNS
from metric_table import expression, metric_table
from prometheus_rules import RULES

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES_FILE = PROMETHEUS / "stream-detector.rules.yml"
TESTS_FILE = PROMETHEUS / "stream-detector.tests.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "stream-detector.json"
SUFFIXES = ("", "_bucket", "_sum", "_count")
TARGET_LABELS = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def promtool(*words: object) -> str:
    done = subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))


def metrics_of(text: str) -> set[str]:
    """Return the metrics of an expression, by their names in the code; KeyError for others."""
    known = {each.name + end: key for key, each in metric_table().items() for end in SUFFIXES}
    return {known[name] for name in re.findall(r"stream_detector_\w+", text)}


def labels_of(text: str) -> set[str]:
    """Return the labels that an expression matches or groups by."""
    groups = re.findall(r"\bby \(([^)]*)\)", text)
    matchers = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text)
    return {each.strip() for group in groups for each in group.split(",")} | set(matchers)


@pytest.mark.usefixtures("prometheus_tools")
def test_promtool_takes_the_rules() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", RULES_FILE)


@pytest.mark.usefixtures("prometheus_tools")
def test_promtool_takes_the_configuration_of_the_compose_file() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.usefixtures("prometheus_tools")
def test_each_rule_fires_beyond_its_edge_and_not_at_it() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS_FILE)
    cases = [
        (case["alertname"], bool(case.get("exp_alerts")))
        for each in yaml.safe_load(TESTS_FILE.read_text())["tests"]
        for case in each["alert_rule_test"]
    ]
    names = [f"StreamDetector{rule.name}" for rule in RULES]
    assert set(cases) == {(name, fires) for name in names for fires in (True, False)}


@pytest.mark.usefixtures("prometheus_tools")
def test_promtool_takes_the_queries_of_the_dashboard(
    panels: list[dict[str, Any]], tmp_path: Path
) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(queries(panels))
    ]
    assert len(rules) > 30
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


def test_all_metrics_are_on_the_dashboard_and_no_others(panels: list[dict[str, Any]]) -> None:
    assert set().union(*map(metrics_of, queries(panels))) == set(metric_table())


def test_labels_are_those_of_the_metrics(panels: list[dict[str, Any]]) -> None:
    table = metric_table()
    for text in (*queries(panels), *(expression(rule.text) for rule in RULES)):
        known = {label for key in metrics_of(text) for label in table[key].labels}
        assert labels_of(text) <= known | TARGET_LABELS, text


def test_panels_have_places_of_their_own(panels: list[dict[str, Any]]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


def test_a_metric_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError, match="no_such"):
        expression("max(%no_such)")
