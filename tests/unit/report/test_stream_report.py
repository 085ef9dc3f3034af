"""The report on samples: lanes, thresholds, strange spans; with and without labels."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle  # tests/support
from html_page import Page
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from stream_detector.assembly import open_bundle
from stream_detector.core.features import Features
from stream_detector.core.intervals import Interval
from stream_detector.core.records import Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.stream_evaluation import LabelledEvent, labelled_events
from stream_detector.errors import ConfigError
from stream_detector.evaluation.figures import grace_ms, measure, measure_points, window_figures
from stream_detector.evaluation.offline import point_scores, run_offline
from stream_detector.evaluation.strangest import find_strangest
from stream_detector.evaluation.sweep import Level, sweep_thresholds
from stream_detector.recipes import load_recipe
from stream_detector.report import StreamFindings, lanes, write_stream_report
from stream_detector.report.html import write_page
from stream_detector.report.stream_charts import false_alarm_chart, is_drawable, score_histogram
from stream_detector.report.stream_page import N_KEYS_DRAWN, stream_page

MODELS = Path(__file__).parents[3] / "models"
NOW_MS = 1_767_225_600_000.0
HOSTILE = '"><script>alert(1)</script>&$x^2$'
N = 300


def samples_of(n: int = N, keys: tuple[str, ...] = ("a", "b"), n_features: int = 2) -> Samples:
    """Return noise; key 0 has a fault at 50 to 70, and a peak without a label at 200."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.2, (len(keys), n, n_features)).astype(np.float32)
    labels = np.zeros((len(keys), n), np.int8)
    values[0, 50:70, 0] += 8.0
    values[0, 200:204, 1] += 6.0
    labels[0, 50:70] = labels[-1, 100:103] = 1
    return Samples(
        keys,
        np.repeat(np.arange(len(keys)), n),
        np.tile(NOW_MS + 1_000.0 * np.arange(n), len(keys)),
        values.reshape(-1, n_features),
        labels.ravel(),
    )


def find(tmp_path: Path, samples: Samples, names: tuple[str, ...]) -> StreamFindings:
    overrides = ["data.name=csv", "data.path=x.csv", "window.steps=4", "window.stride=2"]
    overrides += ["window.sample_interval_ms=1000", "window.gap_ms_max="]
    overrides += [f"window.features={len(names)}", "alerting.open_after=1"]
    overrides += ["alerting.open_within=1", "alerting.close_after_ms=5000"]
    recipe = load_recipe(MODELS / "mitdb-dense.toml", overrides)
    make_bundle(tmp_path / "bundle", recipe, features=Features(names))
    served = open_bundle(tmp_path / "bundle")
    detector = served.detector
    assert isinstance(detector, SampleDetector)
    run = run_offline(detector, samples)
    known = [LabelledEvent(samples.keys[0], NOW_MS, NOW_MS + 1e6, "stuck", (names[0],))]
    events = labelled_events(samples, known)
    scores = point_scores(run, samples, 1_000.0)
    grace = grace_ms(detector.windows)
    figures = replace(
        measure(run, samples, events, detector.windows),
        points=measure_points(scores, samples, run.threshold),
        windows=window_figures(run, samples, "anomaly", 1_000.0),
        strangest=find_strangest(detector, samples, run),
    )
    levels = sweep_thresholds(run, samples, events, 5_000.0, grace)
    return StreamFindings(
        served.bundle, "pumps.csv", samples, run, scores, figures, levels,
        {"loss": (3.0, 1.0)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> StreamFindings:
    return find(tmp_path_factory.mktemp("report"), samples_of(), ("flow", "heat"))


@pytest.fixture(scope="module")
def text(findings: StreamFindings) -> str:
    return stream_page(findings)


def test_a_report_has_lanes_thresholds_and_strange_spans(text: str) -> None:
    page = Page(text)
    assert page.figures == [
        "keys",
        "thresholds",
        "features",
        "features",
        "strangest",
        "scores",
        "training",
    ]
    assert "1 of 2" in page.sections["figures"]
    assert all(key in page.sections["keys"] for key in ("false alarm", "fault", "alert", "a", "b"))
    assert "minutes since the first sample" in page.sections["keys"]
    assert "with the most to see" not in page.sections["keys"]
    assert "held-out" not in page.sections["training"]
    features = page.sections["features"]
    assert all(text in features for text in ("flow", "heat", "anomaly score", "Key a", "Key b"))
    assert "share of faults found" in page.sections["thresholds"]
    assert "heat" in page.sections["false-alarms"]
    assert "#0, flow, score" in page.sections["strangest"]
    assert "what is unusual" in page.sections["strangest"]
    assert "2026-01-01T00:0" in page.sections["strangest"]
    assert any("VUS-PR" in text for text in page.sections.values())
    assert any("Windows against their labels" in text for text in page.sections.values())


def test_a_report_works_without_labels(tmp_path: Path) -> None:
    bare = replace(samples_of(), labels=None)
    text = stream_page(find(tmp_path, bare, ("flow", "heat")))
    page = Page(text)
    assert page.figures == ["keys", "thresholds", "features", "strangest", "scores", "training"]
    assert "days in all, without labels" in text
    assert "have no labels" in page.sections["figures"]
    assert "Alerts in the order of time" in page.sections["false-alarms"]
    assert "fault" not in page.sections["keys"]
    assert "alerts a day and key" in page.sections["thresholds"]
    assert "share of faults found" not in page.sections["thresholds"]


def test_the_page_stands_alone_and_is_the_same_each_time(
    findings: StreamFindings, text: str, tmp_path: Path
) -> None:
    write_stream_report(tmp_path / "report.html", findings)
    assert (tmp_path / "report.html").read_text("utf-8") == text
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "foreignobject"} & set(page.tags)
    names = [value for name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    targets = {target[1:] for target in re.findall(r"url\(([^)]*)", text)}
    assert targets <= set(names)
    assert not [value for _, value in page.attributes if "://" in value]


def test_names_from_data_are_escaped_and_no_formulas(tmp_path: Path) -> None:
    samples = samples_of(keys=(HOSTILE, "b" * 200))
    page = Page(stream_page(find(tmp_path, samples, ("$\\frac{a}$", "heat\u202e"))))
    assert "script" not in page.tags
    assert "$\\frac{a}$" in page.sections["features"]
    assert "\u202e" not in "".join(page.sections.values())
    assert HOSTILE in page.sections["features"]
    assert "(200 characters)" in page.sections["keys"]


def test_of_many_keys_and_features_some_are_drawn(tmp_path: Path) -> None:
    keys = tuple(f"pump-{number}" for number in range(40))
    names = tuple(f"f{number}" for number in range(9))
    page = Page(stream_page(find(tmp_path, samples_of(60 + N, keys, 9), names)))
    assert "The 30 of 40 keys with the most to see." in page.sections["keys"]
    assert page.figures.count("features") <= N_KEYS_DRAWN
    assert "f0" in page.sections["features"]
    assert "f8" not in page.sections["features"]


def test_a_long_signal_keeps_its_peaks_and_its_size(tmp_path: Path) -> None:
    samples = samples_of(30_000, ("a",))
    text = stream_page(find(tmp_path, samples, ("flow", "heat")))
    assert len(text) < 1_000_000


def test_many_faults_do_not_make_a_large_page(tmp_path: Path) -> None:
    samples = samples_of(6_000, ("a",))
    labels = np.zeros(6_000, np.int8)
    labels[::5] = 1
    found = find(tmp_path, replace(samples, labels=labels), ("flow", "heat"))
    assert len(stream_page(found)) < 500_000


def test_few_samples_and_missing_values_are_drawn(tmp_path: Path) -> None:
    samples = samples_of(4 + N)
    gone = np.arange(len(samples)) % (4 + N) >= 4
    few = Samples(
        samples.keys,
        samples.series[~gone],
        samples.times_ms[~gone],
        samples.values[~gone],
        np.zeros(8, np.int8),
    )
    page = Page(stream_page(find(tmp_path, few, ("flow", "heat"))))
    assert "seconds since the first sample" in page.sections["keys"]
    values = samples.values.copy()
    values[:, 1] = np.nan
    silent = replace(samples, values=values, labels=None)
    alone = find(tmp_path / "more", replace(silent, values=samples.values), ("flow", "heat"))
    assert "heat" in Page(stream_page(replace(alone, samples=silent))).sections["features"]


@pytest.mark.parametrize(
    ("unit", "unit_ms"), [("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)]
)
def test_time_is_shown_in_a_unit_of_which_there_are_two(unit: str, unit_ms: int) -> None:
    assert lanes._time(0.0, 2 * unit_ms).unit == unit
    assert lanes._time(0.0, 2 * unit_ms - 1).unit != unit


def test_a_strange_span_is_drawn_with_as_much_before_and_after(findings: StreamFindings) -> None:
    (axes, *others) = lanes.strange_spans(findings, findings.figures.strangest[:1]).axes
    times_s = np.asarray(axes.lines[0].get_xdata())
    assert (times_s[0], times_s[-1]) == (-3.0, 6.0)
    assert not any(each.lines for each in others)


@pytest.mark.parametrize("n_samples", [1_200, 1_201])
def test_a_long_signal_is_drawn_by_the_least_and_largest_of_parts(n_samples: int) -> None:
    axes = Figure().subplots()
    values = -np.arange(float(n_samples))
    lanes._envelope(axes, -values, values)
    drawn = np.asarray(axes.lines[0].get_ydata())
    assert len(drawn) == 1_200
    assert np.array_equal(drawn, values[:1_200]) == (n_samples == 1_200)


@pytest.mark.parametrize(("largest", "scale"), [(10.0, "linear"), (10.1, "log")])
def test_scores_of_zero_do_not_hide_how_large_others_are(
    findings: StreamFindings, largest: float, scale: str
) -> None:
    causal = np.ones(len(findings.samples))
    causal[:100], causal[100] = 0.0, largest
    scores = findings.scores._replace(causal=findings.run.threshold * causal)
    figure = lanes.feature_lanes(replace(findings, scores=scores), "a")
    assert figure.axes[-1].get_yscale() == scale


def test_windows_without_an_error_do_not_stretch_the_scores(findings: StreamFindings) -> None:
    scores = findings.run.threshold * np.array([0.0, 0.0, 2.0])
    figure = score_histogram(replace(findings, run=replace(findings.run, scores=scores)))
    (bars, _) = figure.axes[0].patches
    assert isinstance(bars, StepPatch)
    _, edges, _ = bars.get_data()
    assert edges[0] == 0.5


@pytest.mark.parametrize(("rate", "bottom"), [(0.0, 0.01), (0.008, 0.004), (5.0, 0.01)])
def test_no_alarm_at_all_is_drawn_below_the_least_rate(
    findings: StreamFindings, rate: float, bottom: float
) -> None:
    levels = [Level(1.0, 1, Interval(rate, rate, rate), 0), Level(2.0, 0, Interval(0, 0, 0), 0)]
    (line, *_) = false_alarm_chart(replace(findings, levels=levels)).axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [max(rate, bottom), bottom]


def test_one_threshold_alone_is_no_chart(findings: StreamFindings) -> None:
    assert is_drawable(replace(findings, levels=findings.levels[:2]))
    assert not is_drawable(replace(findings, levels=findings.levels[:1]))


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--report: .* cannot be written"):
        write_page(tmp_path / "absent" / "report.html", "page")
