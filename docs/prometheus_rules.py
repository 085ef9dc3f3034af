"""Rules for Prometheus, made from the metrics of `detect`: what an operator should learn of."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import yaml
from metric_table import expression

HEADER = "# Written by docs/generate.py from docs/prometheus_rules.py.\n"


class Rule(NamedTuple):
    """One alerting rule.

    Parameters
    ----------
    name
        Behind `StreamDetector`.
    severity
        `critical` where nothing is detected, `warning` where something is wrong.
    wait
        How long the expression must hold, as Prometheus writes it.
    text
        PromQL, with metrics as `expression` takes them.
    meaning
        What is wrong, one sentence.
    remedy
        What to do, one sentence.
    """

    name: str
    severity: Literal["critical", "warning"]
    wait: str
    text: str
    meaning: str
    remedy: str


RULES = (
    Rule(
        "Stuck",
        "critical",
        "1m",
        "time() - %turned > 300",
        "The loop has not turned for 5 minutes.",
        "Kill the process: let a liveness probe ask /livez.",
    ),
    Rule(
        "KafkaSilent",
        "critical",
        "1m",
        "time() - %answered > 60",
        "Kafka has not answered the detector for a minute.",
        "Look at the brokers, and at the detector's log line retrying.",
    ),
    Rule(
        "Held",
        "critical",
        "2m",
        "sum by (job) (%held) > 0",
        "A batch has waited for two minutes, and nothing behind it is judged.",
        "The log line retrying says what is refused or does not answer.",
    ),
    Rule(
        "NotAssigned",
        "critical",
        "5m",
        "sum by (job) (%partitions) == 0",
        "The group has assigned no partition, so nothing is read.",
        "Look for another member of the group, and at the log lines assigned and revoked.",
    ),
    Rule(
        "AllRejected",
        "critical",
        "0s",
        "max by (job) (%rejected_in_a_row) >= 100",
        "Every record is rejected: the bundle or the format does not fit the topic.",
        "Run stream-detector doctor; the log line all-rejected has an example.",
    ),
    Rule(
        "Behind",
        "warning",
        "10m",
        "sum by (job) (%lag) > 100000 and deriv(sum by (job) (%lag)[10m:1m]) > 0",
        "More than 100,000 records wait, and they become more.",
        "Add workers up to the number of partitions, or use the client confluent.",
    ),
    Rule(
        "AlertsLate",
        "warning",
        "10m",
        "histogram_quantile(0.99, sum by (job, le) (rate(%{latency}_bucket[10m]))) > 10",
        "One alert in a hundred comes more than 10 s after its record.",
        "Compare it with the lag; without lag, look at the clocks of the producers.",
    ),
    Rule(
        "Restoring",
        "warning",
        "15m",
        "sum by (job) (%restoring) > 0",
        "The state of partitions has been restored for 15 minutes.",
        "Wait; if it happens at each restart, lower key_ttl_ms or flood_window_ms.",
    ),
    Rule(
        "StateLost",
        "warning",
        "0s",
        # A counter that is new has no increase, however high it is.
        'sum by (job, outcome) (increase(%restores{outcome!~"replayed|new"}[10m]) > 0'
        ' or (%restores{outcome!~"replayed|new"}'
        ' unless %restores{outcome!~"replayed|new"} offset 10m)) > 0',
        "Partitions started with empty state, so their keys warm up again.",
        "The log line state-reset has the reason.",
    ),
    Rule(
        "Retrying",
        "warning",
        "5m",
        "sum by (job, error) (rate(%retries[5m])) > 0.05",
        "Kafka has refused or not answered more than 3 calls a minute.",
        "Look at the brokers, and at the reason of the log line retrying.",
    ),
    Rule(
        "DeadLetters",
        "warning",
        "10m",
        'sum by (job) (rate(%records{outcome=~"dead_letter|late"}[10m]))'
        " / sum by (job) (rate(%records[10m])) > 0.01",
        "More than one record in a hundred is a dead letter.",
        "Look at the reasons: stream-detector dead-letters list.",
    ),
    Rule(
        "Unscored",
        "warning",
        "10m",
        'sum by (job, reason) (%unscored_keys{reason!="warm_up"}) > 0',
        "Keys send samples, and no window of theirs is scored.",
        "The log line unscored names them and says what to do.",
    ),
    Rule(
        "KeysSilent",
        "warning",
        "10m",
        "sum by (job) (%silent_keys) / sum by (job) (%keys) > 0.1",
        "More than one key in ten is silent.",
        "Look at what brings the records: so many keys at once have one cause.",
    ),
    Rule(
        "ManyAnomalous",
        "warning",
        "30m",
        'sum by (job) (rate(%windows{outcome="anomalous"}[30m]))'
        ' / sum by (job) (rate(%windows{outcome=~"normal|anomalous"}[30m])) > 0.2',
        "More than one window in five is anomalous.",
        "If it is so for all keys, the signal has changed: look at it, and train again.",
    ),
    Rule(
        "TwoBundles",
        "warning",
        "15m",
        "count by (job) (count by (job, name, version) (%bundle_info)) > 1",
        "Processes of one job score with different bundles.",
        "End the roll-out, or give each bundle a job and a group of its own.",
    ),
)
"""In the order of their weight."""


def rules_file() -> str:
    """Return the rules as Prometheus reads them."""
    rules = [_rule(each) for each in RULES]
    groups = {"groups": [{"name": "stream-detector", "rules": rules}]}
    return HEADER + yaml.safe_dump(groups, sort_keys=False, width=120)


def rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each rule: name, expression, duration, severity, meaning and remedy."""
    for each in RULES:
        text = expression(each.text).replace("|", "\\|")
        said = f"{each.meaning} {each.remedy}"
        yield f"`StreamDetector{each.name}`", f"`{text}`", each.wait, each.severity, said


def _rule(rule: Rule) -> dict[str, Any]:
    """Return a rule as it stands in the file."""
    return {
        "alert": f"StreamDetector{rule.name}",
        "expr": expression(rule.text),
        "for": rule.wait,
        "labels": {"severity": rule.severity},
        "annotations": {"summary": rule.meaning, "description": rule.remedy},
    }
