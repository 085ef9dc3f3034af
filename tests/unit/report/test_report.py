"""The report: its content, that it is self-contained, and that data cannot inject markup."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from halving_bundle import make_bundle  # tests/support
from html_page import Page

from stream_detector.bundle import LeftOut, LeftOutKey, read_bundle
from stream_detector.core.evaluation import evaluate
from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.scorer import score_windows
from stream_detector.datasets import Dataset
from stream_detector.engines.onnx import load_onnx
from stream_detector.errors import ConfigError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.report import Findings, html, page, write_report
from stream_detector.report.charts import error_histogram
from stream_detector.report.drawing import needs_log
from stream_detector.report.findings import principal_components
from stream_detector.report.images import image_rows, n_in_a_row
from stream_detector.report.page import report_page
from stream_detector.report.signals import small_windows, time_unit

MODELS = Path(__file__).parents[3] / "models"
HOSTILE = '"><script>alert(1)</script>&'
BIDI = "a\u202eb\udcff"
SIZE_MAX = 2_000_000

Find = Callable[..., Findings]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return a maker of findings of a bundle that halves each value: an error is half a size."""

    def make(recipe: Recipe, windows: FloatArray, labels: list[int], **more: Any) -> Findings:
        path = tmp_path_factory.mktemp("bundle") / "bundle"
        make_bundle(path, recipe, features=more.pop("features", None))
        bundle = read_bundle(path)
        reconstruct = load_onnx(bundle.network_onnx, *windows.shape[1:])
        errors = score_windows(bundle.scorer(reconstruct), windows)
        classes = np.array(labels, dtype=np.int8)
        return Findings(
            bundle=bundle,
            where=more.pop("where", "pumps"),
            windows=windows,
            labels=classes,
            errors=errors,
            evaluation=evaluate(errors, classes, bundle.manifest.threshold.value),
            reconstruct=reconstruct,
            **more,
        )

    return make


def beat_recipe(*changes: str) -> Recipe:
    given = ["data.name=csv", "data.path=beats.csv", *changes]
    return load_recipe(MODELS / "synthetic-ecg-dense.toml", given)


def image_recipe(steps: int, features: int, channels: int) -> Recipe:
    """Return a recipe of images of so many rows, whose pixels have so many channels."""
    changes = [f"window.steps={steps}", f"window.features={features}"]
    changes += [f"window.channels={channels}", "data.name=csv", "data.path=images.csv"]
    return load_recipe(MODELS / "fashion-basic.toml", changes)


def windows_of(*sizes: float, n_steps: int = 140, n_features: int = 1) -> FloatArray:
    """Return windows whose values are all of one size: the error is half of it."""
    signs = np.where(np.arange(n_steps * n_features) % 2, 1, -1).reshape(n_steps, n_features)
    return (np.array(sizes)[:, np.newaxis, np.newaxis] * signs).astype(np.float32)


@pytest.fixture(scope="module")
def signals(find: Find) -> Findings:
    """Six windows: one miss (3), one false alarm (2)."""
    found = find(
        beat_recipe(),
        windows_of(0.2, 0.4, 3.0, 0.6, 2.0, 4.0),
        [0, 0, 0, 1, 1, 1],
        keys=tuple(f"pump-{number}" for number in range(6)),
        start_ms=1_767_225_600_000 + 1_000 * np.arange(6),
        latent=np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32),
        history={"loss": (3.0, 0.5, 0.1), "validation_loss": (2.0, 0.6, 0.2)},
    )
    of_all = LeftOutKey(key="", n_windows=6, n_left_out=1, left_out=(5,), kept=(0, 2))
    left_out = LeftOut(n_windows=6, n_left_out=1, n_keys=1, by_key=(of_all,))
    manifest = found.bundle.manifest.model_copy(update={"left_out": left_out})
    trained_on = Dataset("x", "", found.windows, None, found.windows[:0], None)
    return replace(found, bundle=replace(found.bundle, manifest=manifest), trained_on=trained_on)


@pytest.fixture(scope="module")
def images(find: Find) -> Findings:
    recipe = image_recipe(4, 9, 3)
    windows = np.random.default_rng(0).uniform(0, 255, size=(12, 4, 9)).astype(np.float32)
    latent = np.zeros((12, 2), np.float32)
    windows *= np.linspace(0.1, 1, 12, dtype=np.float32)[:, np.newaxis, np.newaxis]
    return find(recipe, windows, [0, 1] * 6, latent=latent)


@pytest.fixture(scope="module")
def signals_text(signals: Findings) -> str:
    return report_page(signals)


@pytest.fixture(scope="module")
def images_text(images: Findings) -> str:
    return report_page(images)


@pytest.fixture(params=["signals", "images"])
def text(request: pytest.FixtureRequest) -> str:
    """Return a report, of either kind."""
    found: str = request.getfixturevalue(f"{request.param}_text")
    return found


def test_a_report_of_signals_has_every_figure(signals_text: str) -> None:
    page = Page(signals_text)
    assert page.figures == [
        *("windows", "overlaid", "left-out", "training", "errors", "errors", "latent", "misses"),
        "false-alarms",
    ]
    assert "normal (2)" in page.sections["overlaid"]
    assert "missed (1)" in page.sections["overlaid"]
    assert "false alarms (1)" in page.sections["overlaid"]
    assert "time from" not in page.sections["overlaid"]
    assert "1 of 6 training windows" in page.sections["left-out"]
    assert "kept (2 of 5)" in page.sections["left-out"]
    assert "The windows left out, over those that were kept." in page.sections["left-out"]
    assert list(page.sections) == ["figures", *dict.fromkeys(page.figures)]
    windows = page.sections["windows"]
    assert "normal, #1, score 0.40" in windows
    assert "anomalous, #4, score 2.00" in windows
    assert all(name in windows for name in ("signal", "reconstruction", "error", "time (ms)"))
    assert "validation_loss" in page.sections["training"]
    assert "on held-out windows" in page.sections["training"]
    errors = page.sections["errors"]
    assert all(name in errors for name in ("normal (3)", "anomalous (3)", "threshold 0.5"))
    assert "first principal component of the latent code" in page.sections["latent"]
    assert "Projected on" in page.sections["latent"]
    assert "accuracy" in page.sections["figures"]
    assert "0.6667" in page.sections["figures"]


def test_the_worst_are_shown_with_key_and_start(signals_text: str) -> None:
    page = Page(signals_text)
    assert "#3, score 0.60" in page.sections["misses"]
    assert "pump-3" in page.sections["misses"]
    assert "2026-01-01T00:00:03.000+00:00" in page.sections["misses"]
    assert "#2, score 3.00" in page.sections["false-alarms"]
    assert "pump-2" in page.sections["false-alarms"]


def test_of_a_false_alarm_it_says_what_is_unusual(signals_text: str, images: Findings) -> None:
    page = Page(signals_text)
    assert "feature_0: observed -3 where -1.5 was expected" in page.sections["false-alarms"]
    assert "was expected" not in page.sections["misses"]
    (of_image,) = images.sentences(np.array([11]))
    assert re.fullmatch(
        r"rows \d to \d, columns? \d( to \d)? differ|the whole image differs", of_image
    )


def test_a_report_of_images_has_every_figure(images_text: str) -> None:
    page = Page(images_text)
    assert page.figures[:2] == ["normal-images", "anomalous-images"]
    assert page.figures.count("errors") == 2
    assert {"latent", "misses"} <= set(page.figures)
    for name in ("original", "reconstruction", "difference"):
        assert name in page.sections["normal-images"]
    assert page.tags.count("image") > 2 * 3 * 6
    assert "latent_1" in page.sections["latent"]
    assert "Projected on" not in page.sections["latent"]


def test_it_stands_alone(text: str) -> None:
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "foreignobject"} & set(page.tags)
    references = [
        value for name, value in page.attributes if name in ("src", "href", "xlink:href", "data")
    ]
    assert references
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in references)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for _, value in page.attributes if "://" in value]
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", text))
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert len(text) < SIZE_MAX


def test_ids_inside_figures_are_unique(text: str) -> None:
    page = Page(text)
    names = [value for name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    wanted = {value[1:] for name, value in page.attributes if name == "xlink:href"} | {
        target[1:] for target in re.findall(r"url\(([^)]*)", text)
    }
    assert {name for name in wanted if not name.startswith("ata:")} <= set(names)


def test_text_from_data_is_escaped(signals: Findings) -> None:
    keys = (HOSTILE,) * 6
    published = {"published": {"source": HOSTILE, "auroc": 0.5}}
    manifest = signals.bundle.manifest
    recipe = manifest.recipe.model_validate(manifest.recipe.model_dump() | published)
    bundle = replace(signals.bundle, manifest=manifest.model_copy(update={"recipe": recipe}))
    page = Page(report_page(replace(signals, keys=keys, where=HOSTILE, bundle=bundle)))
    assert "script" not in page.tags
    assert page.sections["misses"].count(HOSTILE) == 1
    assert HOSTILE in page.sections["figures"]


def test_text_from_data_cannot_reverse_what_is_read(signals: Findings, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(out, replace(signals, keys=(BIDI, "k" * 9_999) * 3, where=BIDI))
    text = out.read_text(encoding="utf-8")
    assert text.count(r"a\u202eb\udcff") > 2
    assert "\u202e" not in text
    assert "k" * 1_025 not in text


@pytest.mark.parametrize("kind", ["signals", "images"])
def test_the_same_findings_give_the_same_bytes(kind: str, request: pytest.FixtureRequest) -> None:
    findings, first = (request.getfixturevalue(name) for name in (kind, f"{kind}_text"))
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 20, "axes.facecolor": "red"}):
        assert report_page(findings) == first
        assert mpl.rcParams["font.size"] == 20


@pytest.mark.parametrize(("label", "other"), [(0, "anomalous"), (1, "normal")])
def test_a_class_without_windows_is_noted(find: Find, label: int, other: str) -> None:
    page = Page(report_page(find(beat_recipe(), windows_of(0.2, 4.0), [label] * 2)))
    words = f"contain no {other} windows"
    assert words in page.sections["errors"]
    assert words in page.sections["misses" if label == 0 else "false-alarms"]
    assert f"{other} (" not in page.sections["errors"]


def test_a_class_without_images_is_noted(images: Findings) -> None:
    page = Page(report_page(replace(images, labels=np.zeros(12, np.int8))))
    assert "no anomalous images in the data" in page.sections["anomalous-images"].lower()


def test_missing_history_and_encoder_are_noted(find: Find) -> None:
    page = Page(report_page(find(beat_recipe(), windows_of(0.2, 4.0), [0, 1])))
    assert "has no training history" in page.sections["training"]
    assert "no encoder of its own" in page.sections["latent"]
    assert "No anomalous window was missed." in page.sections["misses"]
    assert "No normal window was a false alarm." in page.sections["false-alarms"]


def test_a_code_of_one_number_is_drawn_against_the_error(signals: Findings) -> None:
    assert signals.latent is not None
    page = Page(report_page(replace(signals, latent=signals.latent[:, :1])))
    assert "latent_0" in page.sections["latent"]
    assert "error (" in page.sections["latent"]


def test_of_many_features_those_with_the_largest_errors_are_shown(find: Find) -> None:
    windows = windows_of(0.2, 4.0, n_steps=5, n_features=4)
    windows[:, :, 2] *= 3
    windows[:, :, 0] *= 2
    recipe = beat_recipe("window.steps=5", "window.features=4")
    page = Page(report_page(find(recipe, windows, [1, 0])))
    text = page.sections["windows"]
    assert text.index("feature_2") < text.index("feature_0") < text.index("feature_1")
    assert "feature_3" not in text
    assert "The 3 of 4 features with the largest errors are shown" in text
    assert "score 0.80, feature_2" not in text
    assert ", feature_2" in page.sections["false-alarms"]


@pytest.mark.parametrize(("n_features", "is_said"), [(3, False), (4, True)])
def test_that_features_are_left_out_is_said(find: Find, n_features: int, is_said: bool) -> None:
    windows = windows_of(0.2, 4.0, n_steps=5, n_features=n_features)
    recipe = beat_recipe("window.steps=5", f"window.features={n_features}")
    figure = next(page._typical(find(recipe, windows, [0, 1])))
    assert ("features with the largest errors are shown" in figure) == is_said


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("temperature", "temperature"),
        ("$x_1$ in \\frac", "$x_1$ in \\frac"),
        (HOSTILE, HOSTILE),
        ("a\x1b[31m\u202e\n", "a\\x1b[31m\\u202e\\n"),
        ("温度", "温度"),
        ("x" * 41, "x" * 20 + "... (41 characters)"),
    ],
)
def test_features_have_their_names_whatever_these_hold(
    find: Find, name: str, shown: str, n_features: int
) -> None:
    windows = windows_of(0.2, 4.0, n_steps=5, n_features=n_features)
    recipe = beat_recipe("window.steps=5", f"window.features={n_features}")
    found = find(recipe, windows, [1, 0], features=Features(("flow", name)[-n_features:]))
    text = report_page(found)
    page = Page(text)
    assert shown in page.sections["windows"]
    assert "<script" not in text.lower()
    if n_features > 1:
        assert "flow" in page.sections["windows"]


def test_of_windows_that_overlap_only_the_worst_is_shown(find: Find) -> None:
    recipe = load_recipe(
        MODELS / "nab-dense.toml",
        [
            *("data.name=csv", "data.path=samples.csv", "window.steps=4", "window.features=1"),
            *("window.stride=1", "window.sample_interval_ms=10", "window.gap_ms_max=40"),
        ],
    )
    findings = find(
        recipe,
        windows_of(2.0, 3.0, 2.5, 2.2, 2.4, 2.3, n_steps=4),
        [0] * 6,
        keys=("a", "a", "a", "a", "b", "a"),
        start_ms=np.array([0, 10, 20, 50, 20, 40]),  # the last begins with the end of the second
    )
    assert findings.worst_false_alarms(6).tolist() == [1, 4, 3]
    assert findings.worst_false_alarms(2).tolist() == [1, 4]


def test_a_window_is_scored_as_anomalous_above_the_threshold(find: Find) -> None:
    findings = find(beat_recipe(), windows_of(1.0, 1.0, 1.001, 1.001), [1, 0, 1, 0])
    assert findings.is_anomalous.tolist() == [False, False, True, True]
    assert findings.worst_misses(9).tolist() == [0]
    assert findings.worst_false_alarms(9).tolist() == [3]


def test_examples_go_from_the_least_error_to_the_largest(find: Find) -> None:
    findings = find(beat_recipe(), windows_of(5, 1, 4, 2, 3), [0] * 5)
    assert findings.examples(0, 3).tolist() == [1, 4, 0]
    assert findings.examples(0, 9).tolist() == [1, 3, 4, 2, 0]
    assert findings.examples(1, 3).tolist() == []
    assert findings.typical(0).tolist() == [4]
    assert findings.typical(1).tolist() == []


@pytest.mark.parametrize("sizes", [(1.0, 1.0), (0.0, 0.0), (1e-6, 1.0, 1.1, 1e6)])
def test_any_errors_can_be_drawn(find: Find, sizes: tuple[float, ...]) -> None:
    labels = [0, 1] * (len(sizes) // 2)
    page = Page(report_page(find(beat_recipe(), windows_of(*sizes), labels)))
    assert page.figures.count("errors") == 2


@pytest.mark.parametrize(
    ("values", "is_log"),
    [([1.0, 1.0, 10.0], False), ([1.0, 1.0, 10.1], True), ([0.0, 1.0, 1.0, 99.0], False)],
)
def test_a_log_scale_shows_what_is_usual_beside_values_ten_times_as_large(
    values: list[float], is_log: bool
) -> None:
    assert needs_log(np.array(values)) == is_log
    assert not needs_log(np.array(values), usual=2.0)


@pytest.mark.parametrize(("n_normal", "scale"), [(20, "linear"), (21, "log")])
def test_a_class_of_few_windows_is_seen_beside_one_of_many(
    find: Find, n_normal: int, scale: str
) -> None:
    sizes, labels = [0.2] * n_normal + [4.0], [0] * n_normal + [1]
    figure = error_histogram(find(beat_recipe(), windows_of(*sizes), labels))
    assert figure.axes[0].get_yscale() == scale


@pytest.mark.parametrize(
    ("interval_ms", "unit"), [(999, ("time (ms)", 999)), (1_000, ("time (s)", 1))]
)
def test_windows_of_five_seconds_are_shown_in_seconds(
    find: Find, interval_ms: int, unit: tuple[str, float]
) -> None:
    recipe = beat_recipe("window.steps=5", f"window.sample_interval_ms={interval_ms}")
    findings = find(recipe, windows_of(0.2, 4.0, n_steps=5), [0, 1])
    assert time_unit(findings.bundle) == unit


def test_the_lowest_of_small_windows_have_the_axis_of_time(find: Find) -> None:
    findings = find(beat_recipe(), windows_of(*[3.0] * 4), [0] * 4)
    figure = small_windows(findings, np.arange(4))
    named = [bool(axes.get_xlabel()) for axes in figure.axes]
    assert named == [False, True, True, True, False, False]
    assert figure.axes[0].get_title() == "#0, score 3.00"


@pytest.mark.parametrize(("side", "n_images"), [(64, 8), (65, 5)])
def test_of_large_images_fewer_are_in_a_row(find: Find, side: int, n_images: int) -> None:
    findings = find(image_recipe(side, 9, 3), np.zeros((2, side, 9), np.float32), [0, 1])
    assert n_in_a_row(findings) == n_images


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 9)), (3, (4, 3, 3))])
def test_differences_of_images_have_one_number_a_pixel(
    find: Find, channels: int, shape: tuple[int, ...]
) -> None:
    findings = find(image_recipe(4, 9, channels), np.ones((2, 4, 9), np.float32), [0, 1])
    panels = image_rows(findings, np.array([0])).axes
    drawn = [np.asarray(axes.images[0].get_array()).shape for axes in panels if axes.images]
    assert drawn == [shape, shape, shape[:2]]


@pytest.mark.parametrize(("n_characters", "is_long"), [(29, False), (30, True)])
def test_long_texts_in_tables_are_marked(n_characters: int, is_long: bool) -> None:
    text = html.table(("key",), [("k" * n_characters,)])
    assert ('<td class="long">' in text) == is_long


def test_long_windows_and_large_images_stay_small(find: Find) -> None:
    noise = np.random.default_rng(0)
    windows = noise.normal(size=(20, 5_000, 4)).astype(np.float32) * 2
    recipe = beat_recipe("window.steps=5000", "window.features=4")
    assert len(report_page(find(recipe, windows, [0, 1] * 10))) < SIZE_MAX
    recipe = image_recipe(128, 384, 3)
    windows = noise.integers(0, 256, size=(40, 128, 384)).astype(np.float32)
    assert len(report_page(find(recipe, windows, [0, 1] * 20))) < SIZE_MAX


def test_components_have_the_largest_variance_and_a_fixed_sign() -> None:
    latent = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    latent[:, 3] *= 10
    latent[:, 1] *= -4
    places, shares = principal_components(latent)
    assert np.corrcoef(places[:, 0], latent[:, 3])[0, 1] > 0.99
    assert np.corrcoef(places[:, 1], latent[:, 1])[0, 1] > 0.95
    assert 1 > shares[0] > shares[1] > 0
    assert np.array_equal(principal_components(np.zeros((3, 4), np.float32))[0], np.zeros((3, 2)))


def test_a_path_that_cannot_be_written_to_is_an_error(signals: Findings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--report: .*absent/report\.html cannot be written"):
        write_report(tmp_path / "absent" / "report.html", signals)
