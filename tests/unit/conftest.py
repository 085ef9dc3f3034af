"""Small makers that the unit tests share."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from detectors import make_window_detector

from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import (
    Headers,
    RecordBatch,
    SeriesColumns,
)
from stream_detector.datasets.fetch import MIRROR_VARIABLE
from stream_detector.telemetry import logger


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test did to the project's loggers and to those of libraries."""
    names = ("kafka", "opentelemetry", "py.warnings", "stream_detector.datasets.files")
    loggers = (logger, *map(logging.getLogger, names))
    before = [(each.handlers, each.propagate, each.level) for each in loggers]
    yield
    logging.captureWarnings(capture=False)
    for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., RecordBatch]:
    """Return a maker of batches that read like partition 3 of `telemetry`, from offset 100."""

    def make(
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None] | None = None,
        key: bytes | None = b"pump-7",
        timestamp_ms: int = 1_000,
    ) -> RecordBatch:
        numbers = np.arange(len(values))
        series = SeriesColumns([key] * len(values), np.full(len(values), 3), timestamp_ms + numbers)
        return RecordBatch.from_columns("telemetry", values, series, 100 + numbers, headers)

    return make


@pytest.fixture(scope="session")
def make_detector() -> Callable[..., WindowDetector]:
    """Return a maker of detectors for windows of 4 samples; anomalous above an error of 1."""

    def make(**changes: object) -> WindowDetector:
        return make_window_detector(**changes)

    return make


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The local mirror of the data sets: the environment's, else the one beside the repository."""
    sibling = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get(MIRROR_VARIABLE, sibling))
    if not folder.is_dir():
        reason = f"needs the data sets in {folder}; set {MIRROR_VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def mirror(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data sets are read from their local mirror."""
    monkeypatch.setenv(MIRROR_VARIABLE, str(data_folder))
    return data_folder
