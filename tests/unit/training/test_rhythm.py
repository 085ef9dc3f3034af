"""The rhythm is learnt from normal peaks, and the same live, in a file and after training."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present
from rhythms import intervals_of, pulses

from stream_detector.assembly import open_bundle
from stream_detector.bundle import BundleParts, Facts, read_bundle, write_bundle
from stream_detector.cli.sources import read_file
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.datasets import Dataset
from stream_detector.errors import BundleIntegrityError, DatasetError
from stream_detector.evaluation.offline import run_offline
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training.rhythm import normal_intervals
from stream_detector.training.train import evaluate_on, train

if TYPE_CHECKING:
    from stream_detector.core.sample_detector import SampleDetector

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

BEATS = Path(__file__).parents[3] / "models" / "mitdb-beats.toml"
CHECKS = ["check=[{kind='shape',combine='mean'},{kind='rhythm'}]", "peaks.pause_ms=2000"]
START_MS, N_SAMPLES = 1_767_225_600_000, 9_000


def dataset_of(
    since_ms: list[float], before_ms: list[float], strange: list[int], keys: list[str]
) -> Dataset:
    n_windows = len(since_ms)
    windows = np.zeros((n_windows, 70, 2), np.float32)
    labels = np.isin(np.arange(n_windows), strange).astype(np.int8)
    return Dataset(
        "mine",
        "",
        windows,
        labels,
        windows[:0],
        None,
        train_keys=tuple(keys),
        train_timestamps_ms=START_MS + 800 * np.arange(n_windows, dtype=np.int64),
        train_intervals=intervals_of(since_ms, before_ms),
    )


def recipe_of() -> Recipe:
    return load_recipe(BEATS, CHECKS)


def rows_of(dataset: Dataset) -> NDArray[np.intp]:
    return np.flatnonzero(present(dataset.train_labels) == 0)


def test_what_follows_a_strange_window_or_a_pause_says_nothing() -> None:
    since = [800.0, 700, 400, 1_200, 810, 790, 1_999, 2_000, 805, *[800.0] * 20]
    before = [0.0, 800, 700, 400, 1_200, 810, 0, 0, 0, *[800.0] * 20]
    dataset = dataset_of(since, before, [2], ["a"] * len(since))
    found = present(normal_intervals(recipe_of(), dataset, rows_of(dataset)))
    # Without the third window; what follows it is replaced, and of the next one what was before.
    assert found.since_ms[:8].tolist() == [800, 700, 800, 810, 790, 1_999, 800, 805]
    assert found.before_ms[:8].tolist() == [0, 800, 0, 0, 810, 0, 0, 0]
    assert not found.is_pause.any()


def test_windows_of_another_key_are_no_neighbours() -> None:
    keys = ["a", "b"] * 12
    dataset = dataset_of([800.0, 900.0] * 12, [800.0, 900.0] * 12, [2], keys)
    found = present(normal_intervals(recipe_of(), dataset, rows_of(dataset)))
    assert found.since_ms[:4].tolist() == [800, 900, 900, 900]  # the median of the others


@pytest.mark.parametrize(("n_windows", "is_enough"), [(20, True), (19, False)])
def test_too_few_intervals_are_refused(n_windows: int, is_enough: bool) -> None:
    since = [2_000.0, *[800.0] * n_windows]
    dataset = dataset_of(since, [0.0] * len(since), [], ["a"] * len(since))
    if is_enough:
        assert normal_intervals(recipe_of(), dataset, rows_of(dataset)) is not None
        return
    with pytest.raises(DatasetError, match=r"expected at least 20 intervals .* received 19"):
        normal_intervals(recipe_of(), dataset, rows_of(dataset))


def test_without_the_check_no_interval_is_asked_for() -> None:
    dataset = dataset_of([800.0] * 30, [0.0] * 30, [], ["a"] * 30)
    recipe = load_recipe(BEATS, ["check=[{kind='shape'}]", "peaks.pause_ms="])
    assert normal_intervals(recipe, dataset, rows_of(dataset)) is None


def signal(places: list[int], seed: int) -> FloatArray:
    """Return pulses of two features, shape (N_SAMPLES, 2)."""
    one, other = (pulses(places, N_SAMPLES, seed + at) for at in range(2))
    return np.stack([one, 0.7 * other + 3], axis=1)


def places_of(seed: int, stop: int = N_SAMPLES - 40) -> list[int]:
    rng = np.random.default_rng(seed)
    places = 40 + np.cumsum(rng.integers(74, 87, N_SAMPLES // 70))
    return [int(each) for each in places if each < stop]


def write(path: Path, values: FloatArray) -> Path:
    rows = [
        f"a,{START_MS + 10 * at},{one!r},{other!r}"
        for at, (one, other) in enumerate(values.astype(np.float64).tolist())
    ]
    path.write_text("\n".join(["key,timestamp_ms,II,V1", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rhythm")
    path = write(folder / "normal.csv", signal(places_of(0), 0))
    changes = [
        *("data.name=csv", "data.series=", f"data.path={path}", "data.test_share=0.2"),
        *("window.steps=20", "window.sample_interval_ms=10"),
        *("network.kind=pca", "network.components=4", "training.trim=false"),
        *("threshold.folds=2", "threshold.false_alarms_per_day=2000"),
    ]
    recipe = load_recipe(BEATS, [*CHECKS, *changes, "peaks.keep_band_hz="])
    train(recipe, folder / "bundle")
    return folder


def test_limits_are_those_of_the_training_data(trained: Path) -> None:
    limits = present(present(read_bundle(trained / "bundle").checks).rhythm)
    assert limits.pause_ms == 2_000
    assert limits.median_ms == pytest.approx(800, abs=20)
    assert 600 < limits.low_ms < 740
    assert 860 < limits.high_ms < 1_000
    assert 1.15 < limits.change_max < 1.4


def test_live_and_file_give_the_same_scores_and_a_lead_off_is_found(trained: Path) -> None:
    values = signal(places_of(1, 3_000) + [each + 5_000 for each in places_of(2, 3_900)], 7)
    values[3_050:5_000] = values[3_050]
    served = open_bundle(trained / "bundle")
    detector = cast("SampleDetector", served.detector)
    found = read_file(write(trained / "later.csv", values), served.bundle)
    offline = detector.score(found.windows, found.intervals)
    exact = (START_MS + 10 * np.arange(N_SAMPLES)).astype(np.float64)
    samples = Samples(("a",), np.zeros(N_SAMPLES, np.intp), exact, values.astype(np.float64))
    live = run_offline(detector, samples)
    assert live.scores.tolist() == offline.tolist()
    named = {each.check for each in live.alerts}
    assert "rhythm" in named
    opened = [each.sentence for each in live.alerts if each.check == "rhythm"]
    assert any(each.startswith("no peak for at least 2 s; normally one ") for each in opened)
    without = run_offline(replace(detector, rhythm=None), samples)
    assert (without.scores <= live.scores).all()
    assert (live.scores > 1).sum() > (without.scores > 1).sum()


def test_metrics_of_the_test_part_know_the_rhythm(trained: Path) -> None:
    served = open_bundle(trained / "bundle")
    scorer = served.bundle.scorer(served.reconstruct)
    assert isinstance(scorer, CheckScorer)
    n_windows = 6
    windows = np.zeros((n_windows, 20, 2), np.float32)
    dataset = replace(
        dataset_of([800.0], [0.0], [], ["a"]),
        test=windows,
        test_labels=np.array([0, 0, 0, 1, 1, 1], np.int8),
        test_intervals=intervals_of([800.0] * 3 + [200.0] * 3),
    )
    _, scores = evaluate_on(dataset, served.bundle.manifest.recipe, scorer)
    assert (scores[3:] > scores[:3]).all()


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_bundle_whose_recipe_says_something_else_is_refused(
    trained: Path, tmp_path: Path, is_wanted: bool
) -> None:
    bundle = read_bundle(trained / "bundle")
    said = bundle.manifest.model_dump(exclude={"format_version", "version", "libraries", "files"})
    checks = present(bundle.checks)
    if is_wanted:
        checks = replace(checks, rhythm=None)
    else:
        said["recipe"]["check"] = said["recipe"]["check"][:1]
        said["recipe"]["peaks"]["pause_ms"] = None
    keras, onnx = (path.read_bytes() for path in (bundle.network_keras, bundle.network_onnx))
    parts = BundleParts(keras, onnx, bundle.scaler, bundle.key_scales, checks)
    expected = "expected limits" if is_wanted else "expected no limits"
    with pytest.raises(BundleIntegrityError, match=expected):
        write_bundle(tmp_path / "b", Facts.model_validate(said), parts)
