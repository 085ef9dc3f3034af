"""Gathers what a report shows."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream_detector.cli.output import progress_bar
from stream_detector.errors import BundleMismatchError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_detector.assembly import Served
    from stream_detector.bundle import Bundle
    from stream_detector.core.evaluation import Evaluation
    from stream_detector.core.records import FloatArray
    from stream_detector.datasets.base import Dataset

_WINDOWS_AT_ONCE = 2048


def report_on(
    out: Path,
    served: "Served",
    data: "Dataset",
    errors: "NDArray[np.float64]",
    evaluation: "Evaluation",
) -> None:
    """Write a report on a data set's test part.

    Parameters
    ----------
    out
        The HTML file.
    served
        What judged.
    data
        Its test part has labels and at least one window.
    errors, evaluation
        Its errors, and the figures.

    Raises
    ------
    ConfigError
        If Matplotlib or Keras is not installed, or the file cannot be written.
    """
    try:
        from stream_detector.report import Findings, write_report
    except ImportError as error:
        message = (
            f"--report: {error}; it needs the train extra: pip install 'stream-detector[train]'"
        )
        raise ConfigError(message) from None

    if data.test_labels is None:
        message = "a report needs labels"
        raise ValueError(message)
    with progress_bar() as progress:
        progress.add_task(f"drawing {out.name}", total=None)
        findings = Findings(
            bundle=served.bundle,
            where=f"{data.name} {data.split}".strip(),
            windows=data.test,
            labels=data.test_labels,
            errors=errors,
            evaluation=evaluation,
            reconstruct=served.reconstruct,
            keys=data.test_keys,
            start_ms=data.test_timestamps_ms,
            latent=_latent(served.bundle, data.test),
            history=served.bundle.manifest.history,
        )
        write_report(out, findings)


def _latent(bundle: "Bundle", windows: "FloatArray") -> "FloatArray | None":
    """Return the latent codes of scored windows, None where the network has no halves."""
    from stream_detector.engines.keras import load_parts

    manifest = bundle.manifest
    try:
        parts = load_parts(bundle.network_keras, manifest.n_steps, manifest.n_features)
    except BundleMismatchError:  # which the report says
        return None
    starts = range(0, len(windows), _WINDOWS_AT_ONCE)
    return np.concatenate(
        [
            parts.encode(bundle.scaler.transform(windows[start : start + _WINDOWS_AT_ONCE]))
            for start in starts
        ]
    )
