"""Windows over each other: which are drawn in which colour, where, and how many."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle  # tests/support
from html_page import Page
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from pulses import PULSES, STRANGE, pulse_recipe, pulses, serve_pulses

from stream_detector.assembly import Served
from stream_detector.bundle import Bundle, LeftOut, LeftOutKey, read_bundle
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.stream_evaluation import labelled_events
from stream_detector.datasets import Dataset
from stream_detector.evaluation.figures import measure
from stream_detector.evaluation.offline import point_scores, run_offline
from stream_detector.report import StreamFindings, stream_page
from stream_detector.report.drawing import COLOURS, INK, house_style
from stream_detector.report.left_out import left_out_section
from stream_detector.report.overlays import (
    GREY,
    N_COLOURED_MAX,
    N_FEATURES_SHOWN,
    N_GREY_MAX,
    Group,
    caption,
    in_signal_unit,
    judged_groups,
    overlay,
    with_origin,
)
from stream_detector.report.stream_page import N_KEYS_DRAWN

N_FOUND = 34
"""Pulses with a window: those after the context of the first frame, and before the last frame."""


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    """Draw as pages do."""
    with house_style():
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve_pulses(tmp_path_factory.mktemp("pulses") / "bundle")


def find(served: Served, samples: Samples) -> StreamFindings:
    detector = served.detector
    assert isinstance(detector, SampleDetector)
    run = run_offline(detector, samples)
    events = labelled_events(samples, ())
    figures = measure(run, samples, events, detector.windows)
    return StreamFindings(
        served.bundle, "pulses.csv", samples, run, point_scores(run, samples, 10.0), figures
    )


def changed(bundle: Bundle, left_out: LeftOut | None, **data: str) -> Bundle:
    manifest = bundle.manifest
    changes = {"left_out": left_out, "data": manifest.data.model_copy(update=data)}
    return replace(bundle, manifest=manifest.model_copy(update=changes))


def group(n_windows: int, colour: str = GREY, size: float = 1.0, n_features: int = 2) -> Group:
    """Return windows that rise from -size to size."""
    values = np.linspace(-size, size, 40)[np.newaxis, :, np.newaxis]
    return Group("some", np.tile(values, (n_windows, 1, n_features)), colour)


def drawn_in(axes: Axes) -> list[int]:
    """Return how many windows of each group a panel has."""
    lines = [each for each in axes.collections if isinstance(each, LineCollection)]
    return [len(each.get_segments()) for each in lines]


def test_windows_are_told_apart_by_verdict_and_label() -> None:
    windows = np.arange(4.0).reshape(4, 1, 1)
    is_anomalous = np.array([False, True, False, True])
    labels = np.array([0, 0, 1, 1], np.int8)
    found = judged_groups(windows, is_anomalous, labels)
    assert [(each.name, each.windows.ravel().tolist(), each.colour) for each in found] == [
        ("normal", [0.0], GREY),
        ("anomalous", [3.0], COLOURS[1]),
        ("missed", [2.0], COLOURS[0]),
        ("false alarms", [1.0], INK),
    ]
    bare = judged_groups(windows, is_anomalous, None)
    assert [(each.name, each.windows.ravel().tolist()) for each in bare] == [
        ("normal", [0.0, 2.0]),
        ("anomalous", [1.0, 3.0]),
    ]


def test_a_panel_for_each_feature_with_time_from_the_peak(served: Served) -> None:
    figure = overlay(served.bundle, [group(3), group(1, COLOURS[1])])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["flow", "heat"]
    first, second = (axes.get_position() for axes in figure.axes)
    assert first.y0 == second.y0
    assert figure.axes[0].get_xlim() == (-200.0, 190.0)
    assert figure.axes[0].get_xlabel() == "time from the peak (ms)"
    assert drawn_in(figure.axes[1]) == [3, 1]
    texts = [each.get_text() for each in figure.legends[0].get_texts()]
    assert texts == ["some (3)", "some (1)"]


def test_several_groups_have_panels_of_their_own_over_the_first(served: Served) -> None:
    groups = [group(3), group(2, COLOURS[1])._replace(name="found"), group(1, INK), group(0)]
    figure = overlay(served.bundle, groups)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["flow, found", "flow, some", "heat, found", "heat, some"]
    assert list(map(drawn_in, figure.axes)) == [[3, 2], [3, 1]] * 2


def test_a_first_group_alone_is_drawn_once(served: Served) -> None:
    figure = overlay(served.bundle, [group(3), group(0, COLOURS[1])])
    assert list(map(drawn_in, figure.axes)) == [[3], [3]]


@pytest.mark.parametrize(
    ("colour", "n_max"), [(GREY, N_GREY_MAX), (COLOURS[1], N_COLOURED_MAX), (INK, N_COLOURED_MAX)]
)
def test_of_many_windows_some_are_drawn(served: Served, colour: str, n_max: int) -> None:
    for more, text in ((0, f"some ({n_max})"), (1, f"some ({n_max} of {n_max + 1})")):
        figure = overlay(served.bundle, [group(n_max + more, colour)])
        assert drawn_in(figure.axes[0]) == [n_max]
        assert figure.legends[0].get_texts()[0].get_text() == text


@pytest.mark.parametrize(("colour", "n_drawn"), [(COLOURS[1], 50), (INK, 2), (GREY, 50)])
def test_of_long_windows_fewer_are_drawn(tmp_path: Path, colour: str, n_drawn: int) -> None:
    make_bundle(tmp_path / "bundle", pulse_recipe("window.steps=2000"))
    drawn = group(70, colour)
    long = drawn._replace(windows=np.repeat(drawn.windows, 50, axis=1))
    assert drawn_in(overlay(read_bundle(tmp_path / "bundle"), [long]).axes[0]) == [n_drawn]


def test_some_of_more_windows_are_counted(served: Served) -> None:
    figure = overlay(served.bundle, [group(5)._replace(n_all=1_234)])
    assert figure.legends[0].get_texts()[0].get_text() == "some (5 of 1,234)"


@pytest.mark.parametrize(("size", "reached"), [(0.5, 1.0), (2.0, 2.0), (3.0, 3.0), (3.5, 3.0)])
def test_the_axis_shows_what_is_usual_and_not_all_that_is_far_off(
    served: Served, size: float, reached: float
) -> None:
    figure = overlay(served.bundle, [group(2, size=1.0), group(2, COLOURS[1], size=size)])
    low, high = figure.axes[0].get_ylim()
    assert high == pytest.approx(reached * 1.08)
    assert low == -high


def test_a_constant_signal_is_drawn(served: Served) -> None:
    low, high = overlay(served.bundle, [group(2, size=0.0)]).axes[0].get_ylim()
    assert low < 0 < high


def bundle_of(folder: Path, n_features: int) -> Bundle:
    changes = (f"window.features={n_features}", f"peaks.features={[*range(n_features)]}")
    features = Features(tuple(f"f{number}" for number in range(n_features)))
    return serve_pulses(folder / "bundle", features, *changes).bundle


@pytest.mark.parametrize("n_more", [0, 1])
def test_of_many_features_the_first_are_drawn(tmp_path: Path, n_more: int) -> None:
    n_features = N_FEATURES_SHOWN + n_more
    bundle = bundle_of(tmp_path, n_features)
    figure = overlay(bundle, [group(2, n_features=n_features)])
    shown = [axes.get_title(loc="left") for axes in figure.axes]
    assert shown == list(bundle.features.names[:N_FEATURES_SHOWN])
    assert ("features are shown" in caption(bundle, has_labels=True)) == n_more


def test_the_lowest_panels_have_the_axis_of_time(tmp_path: Path) -> None:
    figure = overlay(bundle_of(tmp_path, 3), [group(2, n_features=3)])
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False, True, True, False]


def test_windows_are_shown_in_the_unit_of_the_signal(tmp_path: Path) -> None:
    scales = KeyScales([b"a"], np.array([[1, 0]], np.float32), np.array([[0.5, 1]], np.float32))
    plain = serve_pulses(tmp_path / "plain", Features(("flow", "heat"), (100.0, 0.0))).bundle
    scaled = replace(plain, key_scales=scales)
    windows = np.ones((1, 40, 2), np.float32)
    shown = in_signal_unit(scaled, windows, ["a"])
    assert shown[0, 0].tolist() == [103.0, 1.0]  # 1 / 0.5 + 1, and the origin
    assert with_origin(plain, windows.astype(np.float64))[0, 0].tolist() == [101.0, 1.0]


def test_a_band_around_zero_has_no_origin(tmp_path: Path) -> None:
    features = Features(("flow", "heat"), (100.0, 0.0))
    change = "peaks.keep_band_hz=[1, 20]"
    bundle = serve_pulses(tmp_path / "bundle", features, change).bundle
    windows = np.ones((1, 40, 2))
    assert with_origin(bundle, windows)[0, 0].tolist() == [1.0, 1.0]


def test_windows_of_a_key_are_those_of_the_run_with_their_scores(served: Served) -> None:
    samples = pulses(("a", "b"))
    shifted = samples.values.copy()
    shifted[samples.series == 1] *= 0.5
    found = find(served, replace(samples, values=shifted))
    run = found.run
    for number, key in enumerate(samples.keys):
        own = found.windows_of(key)
        is_own = samples.series[run.rows] == number
        assert len(own.windows) == is_own.sum() == N_FOUND
        assert own.anomaly_scores.tolist() == (run.scores[is_own] / run.threshold).tolist()
        expected = np.abs(own.windows).mean(axis=(1, 2)) / 2 / run.threshold
        np.testing.assert_allclose(own.anomaly_scores, expected, rtol=1e-5)
        assert own.labels is not None
        assert own.labels.sum() == len(STRANGE)


def test_windows_without_a_score_are_left_out(served: Served) -> None:
    found = find(served, pulses())
    run = replace(
        found.run,
        rows=found.run.rows[1:],
        start_ms=found.run.start_ms[1:],
        scores=found.run.scores[1:],
    )
    own = replace(found, run=run).windows_of("a")
    assert len(own.windows) == N_FOUND - 1
    assert own.anomaly_scores.tolist() == (run.scores / run.threshold).tolist()


@pytest.mark.parametrize("has_labels", [True, False])
def test_a_report_shows_windows_round_peaks(served: Served, has_labels: bool) -> None:
    page = Page(stream_page.stream_page(find(served, pulses(has_labels=has_labels))))
    text = page.sections["overlaid"]
    assert page.figures.count("overlaid") == 1
    assert "Key a: windows over each other" in text
    assert f"normal ({N_FOUND - 2})" in text
    assert "anomalous (2)" in text
    assert ("missed are those" in text) == has_labels
    assert "left-out" not in page.sections


def test_of_many_keys_some_are_drawn_over_each_other(served: Served) -> None:
    keys = tuple(f"pump-{number}" for number in range(N_KEYS_DRAWN + 1))
    page = Page(stream_page.stream_page(find(served, pulses(keys))))
    assert page.figures.count("overlaid") == N_KEYS_DRAWN


def test_a_window_at_the_threshold_is_drawn_as_normal(served: Served) -> None:
    found = find(served, pulses(has_labels=False))
    scores = np.full_like(found.run.scores, found.run.threshold)
    (figure,) = stream_page._overlaid(replace(found, run=replace(found.run, scores=scores)))
    assert f"normal ({N_FOUND})" in figure


def test_a_key_without_windows_is_said(served: Served) -> None:
    samples = pulses(("a", "b"))
    kept = (samples.series == 0) | (np.arange(len(samples)) < 100 * (PULSES + 1))
    short = Samples(
        samples.keys, samples.series[kept], samples.times_ms[kept], samples.values[kept]
    )
    page = Page(stream_page.stream_page(find(served, short)))
    assert "Key b has no window with a score." in page.sections["overlaid"]


LEFT_OUT = LeftOut(
    n_windows=10,
    n_left_out=3,
    n_keys=3,
    by_key=(
        LeftOutKey(key="a", n_windows=5, n_left_out=2, left_out=(1, 4), kept=(0, 2, 3)),
        LeftOutKey(key="<b>", n_windows=4, n_left_out=1, left_out=(9,), kept=(6,)),
    ),
)


def trained_on(n_windows: int = 10) -> Dataset:
    windows = np.random.default_rng(0).normal(size=(n_windows, 40, 2)).astype(np.float32)
    keys = (*("a" for _ in range(5)), *("<b>" for _ in range(4)), "c")
    return Dataset("x", "", windows, None, windows[:0], None, keys)


def test_the_windows_left_out_are_shown_by_key(served: Served) -> None:
    page = Page("".join(left_out_section(changed(served.bundle, LEFT_OUT), trained_on())))
    section = page.sections["left-out"]
    assert "3 of 10 training windows (30.0%) are unlike the others" in section
    assert page.figures.count("left-out") == 2
    for shown in ("Key a: its windows left out", "kept (3)", "left out (2)", "kept (1 of 3)"):
        assert shown in section
    assert "Key <b>: its windows left out" in section
    assert "40.00%" in section
    assert "1 more keys" in section
    assert "b" not in page.tags


def test_where_the_windows_left_out_cannot_be_drawn_that_is_said(served: Served) -> None:
    page = Page("".join(left_out_section(changed(served.bundle, LEFT_OUT), None)))
    assert "They are not drawn" in page.sections["left-out"]
    assert page.figures == []
    of_key = LeftOutKey(key="a", n_windows=5, n_left_out=0)
    none = LEFT_OUT.model_copy(update={"n_left_out": 0, "by_key": (of_key,)})
    page = Page("".join(left_out_section(changed(served.bundle, none), None)))
    assert "all were trained on" in page.sections["left-out"]
    assert "not drawn" not in page.sections["left-out"]
    assert list(left_out_section(served.bundle, None)) == []
