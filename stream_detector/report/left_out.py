"""The section of both pages on training windows that were left out: counts, and what they are like.

A bundle keeps which windows they were and not the windows. These are drawn where the data that it
was trained on are at hand.
"""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from stream_detector.bundle import Bundle, LeftOut, LeftOutKey
from stream_detector.datasets import Dataset
from stream_detector.evaluation.tables import left_out_table
from stream_detector.report import html
from stream_detector.report.drawing import CLOUD_DPI, COLOURS
from stream_detector.report.overlays import GREY, Group, in_signal_unit, overlay


def left_out_section(bundle: Bundle, trained_on: Dataset | None) -> Iterator[str]:
    """Yield the section, or nothing where training left out no windows by itself.

    Parameters
    ----------
    bundle
        The bundle.
    trained_on
        The windows that it was trained on; None where they are not at hand.
    """
    found = bundle.manifest.left_out
    if found is not None:
        parts = _parts(bundle, found, trained_on)
        yield html.section("left-out", "Windows left out of training", parts)


def _parts(bundle: Bundle, found: LeftOut, trained_on: Dataset | None) -> Iterator[str]:
    """Yield what was left out, as text, table and figures."""
    option = "training.trim" if bundle.manifest.recipe.training.trim else "scorer.trim"
    share = found.n_left_out / found.n_windows
    if not found.n_left_out:
        yield html.note("No training window looked unlike the others, so all were trained on.")
        return
    yield html.note(
        f"{found.n_left_out:,} of {found.n_windows:,} training windows ({share:.1%}) are unlike "
        "the others, and were left out. No label was used. If they are normal, the detector will "
        f"call such windows anomalous: set {option} = false then, or train on data with more of "
        "them."
    )
    table = left_out_table(found)
    yield html.table(table.columns, table.rows)
    shown = [each for each in found.by_key if each.left_out]
    if trained_on is None:
        yield html.note(
            "They are not drawn, since the data that the bundle was trained on are not here, or "
            "have changed."
        )
        return
    for number, each in enumerate(shown):
        of_key = f"Key {each.key}: its" if each.key else "The"
        caption = f"{of_key} windows left out, over those that were kept."
        yield html.figure(
            _drawn(bundle, each, trained_on), f"left-out-{number}", caption, CLOUD_DPI
        )


def _drawn(bundle: Bundle, of_key: LeftOutKey, trained_on: Dataset) -> Figure:
    """Return a figure of the windows of a key that were kept and left out."""
    n_kept = of_key.n_windows - of_key.n_left_out
    kinds = (
        ("kept", of_key.kept, GREY, n_kept),
        ("left out", of_key.left_out, COLOURS[1], of_key.n_left_out),
    )
    groups = []
    for name, rows, colour, n_all in kinds:
        keys = None if trained_on.train_keys is None else [of_key.key] * len(rows)
        windows = trained_on.train[np.array(rows, dtype=np.intp)]
        groups.append(Group(name, in_signal_unit(bundle, windows, keys), colour, n_all))
    return overlay(bundle, groups)
