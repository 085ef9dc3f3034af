"""The metrics of `detect` and `route` as their code has them, and expressions that name them."""

from functools import cache
from string import Template
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from stream_detector.telemetry import Metrics, RouteMetrics


class Metric(NamedTuple):
    """A metric: its published name, its type, its labels and what it means."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


@cache
def metric_table(command: type[Metrics | RouteMetrics] = Metrics) -> dict[str, Metric]:
    """Return all metrics of a command by the name that they have in the code, which is short."""
    found = {}
    for attribute, metric in vars(command()).items():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            # The library gives label names nowhere else.
            labels = tuple(metric._labelnames)  # noqa: SLF001
            found[attribute] = Metric(name, family.type, labels, family.documentation)
    return found


class _Expression(Template):
    delimiter = "%"


def expression(text: str) -> str:
    """Return PromQL with the published names of its metrics, which are written as `%keys`.

    Raises
    ------
    KeyError
        If there is no such metric.

    Examples
    --------
    >>> expression("max(%keys) > 0")
    'max(stream_detector_keys) > 0'
    """
    return _Expression(text).substitute({key: each.name for key, each in metric_table().items()})
