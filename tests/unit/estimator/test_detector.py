"""`AutoencoderDetector` from fit to a saved bundle: the same as the command line, bit for bit."""

import copy
import csv
import io
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from stream_detector import AutoencoderDetector, cli, load_recipe, read_bundle, score, train  # noqa: E402
from stream_detector.errors import ConfigError  # noqa: E402

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

FAST = ("network.kind=pca", "network.components=4")
N_ROWS = 1_200
FAULT = slice(800, 820)


def make_frame(*, with_fault: bool = False) -> Any:
    """Return a pump with a sample every ten seconds, its times in the index."""
    rng, steps = np.random.default_rng(0), np.arange(N_ROWS)
    times = pd.date_range("2026-03-01", periods=N_ROWS, freq="10s", tz="UTC")
    flow = 5 + np.sin(steps / 7) + rng.normal(0, 0.1, N_ROWS)
    heat = 40 + np.cos(steps / 11) + rng.normal(0, 0.2, N_ROWS)
    if with_fault:
        flow[FAULT] += 8
    return pd.DataFrame({"flow": flow, "heat": heat}, index=times)


@pytest.fixture(autouse=True)
def no_figures() -> Iterator[None]:
    """Draw without a screen, and leave no figure open."""
    mpl = pytest.importorskip("matplotlib")
    mpl.use("agg")
    yield
    mpl.pyplot.close("all")


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return AutoencoderDetector(overrides=FAST).fit(make_frame())


@pytest.fixture(scope="module")
def faulty() -> Any:
    return make_frame(with_fault=True)


def test_scores_have_the_index_of_the_table(fitted: AutoencoderDetector, faulty: Any) -> None:
    scores = fitted.decision_function(faulty)
    n_steps = fitted.recipe_.window.steps
    assert scores.index.equals(faulty.index)
    assert (scores.name, scores.dtype) == ("anomaly_score", np.float64)
    assert scores.isna().to_numpy().nonzero()[0].tolist() == [*range(n_steps - 1)]
    anomalous = np.flatnonzero(scores > 1)
    assert anomalous[0] == FAULT.start
    assert FAULT.stop - 1 in anomalous
    assert (np.diff(anomalous) == 1).all()
    assert fitted.predict(faulty).tolist() == (scores > 1).astype(int).tolist()


def test_an_explanation_is_that_of_the_alert(fitted: AutoencoderDetector, faulty: Any) -> None:
    opened = [alert for alert in fitted.alerts(faulty) if alert.event == "open"]
    assert opened
    for alert in opened:
        at = pd.Timestamp(alert.window_end_ms, unit="ms", tz="UTC")
        assert fitted.explain(faulty, at=at) == alert.explanation
    first = (fitted.decision_function(faulty) > 1).idxmax()
    assert fitted.explain(faulty, at=first) == opened[0].explanation
    worst = fitted.decision_function(faulty).idxmax()
    assert fitted.explain(faulty) == fitted.explain(faulty, at=worst)
    with pytest.raises(ValueError, match="received one without a score"):
        fitted.explain(faulty, at=faulty.index[0])
    with pytest.raises(KeyError):
        fitted.explain(faulty, at=pd.Timestamp("2030-01-01", tz="UTC"))


def test_gaps_and_missing_values_are_in_the_explanation(fitted: AutoencoderDetector) -> None:
    frame = make_frame(with_fault=True).drop(index=make_frame().index[600:700])
    frame.iloc[FAULT.start - 100 - 3, 0] = np.nan
    (opened, *_) = [alert for alert in fitted.alerts(frame) if alert.explanation is not None]
    assert opened.explanation is not None
    assert opened.explanation.n_gaps == 1
    assert opened.explanation.imputed_share > 0
    at = pd.Timestamp(opened.window_end_ms, unit="ms", tz="UTC")
    assert fitted.explain(frame, at=at) == opened.explanation


def test_a_saved_bundle_is_what_the_command_line_runs(
    fitted: AutoencoderDetector,
    faulty: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bundles" / "pump"
    assert fitted.save(str(path)).manifest.name == "pump"
    assert read_bundle(str(path)).manifest.recipe.name == "pump"
    expected = fitted.decision_function(faulty)
    for again in (AutoencoderDetector.load(path).decision_function(faulty), score(path, faulty)):
        pd.testing.assert_series_equal(again, expected, check_exact=True)
    faulty.to_csv(tmp_path / "pump.csv", index_label="time", date_format="%Y-%m-%dT%H:%M:%S%z")
    monkeypatch.setattr(sys, "argv", ["x", "score", str(path), str(tmp_path / "pump.csv")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    by_end = {int(row["window_end_ms"]): float(row["anomaly_score"]) for row in rows}
    ends_ms = faulty.index.as_unit("ms").asi8.tolist()
    assert set(by_end) <= set(ends_ms)
    received = [by_end.get(each) for each in ends_ms]
    assert [expected.iloc[at] for at, each in enumerate(received) if each is not None] == [
        each for each in received if each is not None
    ]
    with pytest.raises(ConfigError, match="pump, which the bundle of other would replace"):
        replace_name(fitted, tmp_path / "other").save(path)


def replace_name(detector: AutoencoderDetector, path: Path) -> AutoencoderDetector:
    """Return the same detector as it was fitted, under the name of a folder."""
    other = AutoencoderDetector(overrides=(*FAST, "name=other")).fit(make_frame())
    assert other.save(path).manifest.name == "other"
    assert other.recipe_.window == detector.recipe_.window
    return other


def test_the_recipe_and_the_bundle_are_those_of_init_and_train(
    fitted: AutoencoderDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_frame().to_csv("pump.csv", index_label="time", date_format="%Y-%m-%dT%H:%M:%S%z")
    monkeypatch.setattr(sys, "argv", ["x", "init", "pump.csv", "--yes", "--recipe-only"])
    with pytest.raises(SystemExit):
        cli.main()
    recipe = load_recipe("pump.toml", FAST)
    for table in ("window", "alerting", "threshold", "training", "scaling", "scorer", "check"):
        assert getattr(recipe, table) == getattr(fitted.recipe_, table), table
    bundle = train(recipe, tmp_path / "bundles" / "pump")
    own = fitted._open().bundle
    assert bundle.manifest.threshold == own.manifest.threshold
    assert bundle.manifest.data.fingerprint == own.manifest.data.fingerprint
    pd.testing.assert_series_equal(
        score(bundle.path, make_frame(with_fault=True).rename_axis("time")),
        fitted.decision_function(make_frame(with_fault=True)),
        check_exact=True,
        check_names=False,
    )


def test_rows_of_one_value_each_have_the_score_of_their_sample(
    fitted: AutoencoderDetector, faulty: Any
) -> None:
    columns = {"feature_name": "tag", "feature_value": "value"}

    def melted(frame: Any) -> Any:
        table = frame.rename_axis("at").reset_index().assign(device="p1")
        long = table.melt(["at", "device"], ["flow", "heat"], "tag", "value")
        return long.sort_values(["at", "tag"], kind="stable", ignore_index=True)

    detector = AutoencoderDetector(columns=columns, overrides=FAST).fit(melted(make_frame()))
    assert detector.recipe_.data.feature_name == "tag"
    assert detector.recipe_.data.features == ("flow", "heat")
    assert detector.recipe_.window == fitted.recipe_.window
    long = melted(faulty)
    note = pd.DataFrame({"at": [faulty.index[810]], "device": "p1", "tag": "note", "value": 1.0})
    long = pd.concat([long, note], ignore_index=True)
    expected = fitted.decision_function(faulty)
    found = detector.decision_function(long)
    assert found.index.equals(long.index)
    np.testing.assert_array_equal(found, expected[long["at"]])
    assert detector.explain(long, at=2 * 810 + 1) == fitted.explain(faulty, at=faulty.index[810])
    assert len(detector.alerts(long)) == len(fitted.alerts(faulty)) > 0
    with pytest.raises(ValueError, match="feature_name and feature_value together, received one"):
        AutoencoderDetector(columns={"feature_name": "tag"}).fit(long)
    with pytest.raises(ConfigError, match=r"columns\['feature_name'\].* received 'name'"):
        AutoencoderDetector(columns=columns | {"feature_name": "name"}).fit(long)


def test_copies_score_the_same(fitted: AutoencoderDetector, faulty: Any) -> None:
    expected = fitted.decision_function(faulty)
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):  # noqa: S301
        pd.testing.assert_series_equal(other.decision_function(faulty), expected, check_exact=True)
    fresh = pytest.importorskip("sklearn.base").clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(ValueError, match="not fitted yet: call fit or load first"):
        fresh.predict(faulty)


def test_a_key_of_one_machine_does_not_look_at_another(fitted: AutoencoderDetector) -> None:
    del fitted
    frame = make_frame(with_fault=True).rename_axis("ts").reset_index()
    quiet = make_frame().rename_axis("ts").reset_index()
    both = pd.concat([frame.assign(machine="m1"), quiet.assign(machine="m2")], ignore_index=True)
    both["fault"] = 0
    both.loc[FAULT.start : FAULT.stop - 1, "fault"] = 1
    both = both.sample(frac=1.0, random_state=0)
    detector = AutoencoderDetector(columns={"key": "machine", "label": "fault"}, overrides=FAST)
    detector.fit(both)
    data = detector.recipe_.data
    assert (data.name, data.key, data.time, data.label) == ("memory", "machine", "ts", "fault")
    assert data.features == ("flow", "heat")
    is_anomalous = detector.predict(both.drop(columns="fault"))
    assert is_anomalous.index.equals(both.index)
    found = both.loc[is_anomalous == 1]
    assert set(found["machine"]) == {"m1"}
    assert FAULT.start <= found.index.min() <= FAULT.start + 2
    lacking = both.copy()
    lacking.loc[0, "ts"] = pd.NaT
    lacking.loc[1, "machine"] = None
    scores = detector.decision_function(lacking)
    assert scores.loc[[0, 1]].isna().all()
    worst = detector.decision_function(both).idxmax()
    assert detector.explain(both, at=worst) == detector.explain(both)
    axes = detector.plot(both, key="m2")
    assert axes[0].figure.get_suptitle() == "m2"


def test_arrays_of_samples(fitted: AutoencoderDetector) -> None:
    frame = make_frame(with_fault=True)
    by_time = fitted.decision_function(frame)
    by_number = fitted.decision_function(frame.to_numpy())
    assert isinstance(by_number, np.ndarray)
    np.testing.assert_array_equal(by_number, by_time.to_numpy())
    assert fitted.explain(frame.to_numpy(), at=805).sentence
    detector = AutoencoderDetector(window=20, overrides=FAST).fit(make_frame().to_numpy())
    assert (detector.recipe_.window.record, detector.recipe_.window.steps) == ("samples", 20)
    assert detector.recipe_.window.sample_interval_ms == 1_000
    assert detector.n_features_in_ == 2
    assert not hasattr(detector, "feature_names_in_")
    anomalous = np.flatnonzero(detector.predict(frame.to_numpy()))
    assert anomalous[0] == FAULT.start
    with pytest.raises(
        ValueError, match="X has 1 features, but AutoencoderDetector is expecting 2"
    ):
        detector.predict(frame[["flow"]].to_numpy())


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_arrays_of_windows(n_dimensions: int) -> None:
    rng = np.random.default_rng(0)
    windows = np.sin(np.arange(32) / 5) + rng.normal(0, 0.1, (200, 32))
    if n_dimensions == 3:
        windows = np.stack([windows, 2 * windows], axis=2)
    detector = AutoencoderDetector(overrides=FAST).fit(windows)
    window = detector.recipe_.window
    assert (window.record, window.steps, window.features) == ("window", 32, n_dimensions - 1)
    windows[7] = -windows[7]
    scores = detector.decision_function(windows)
    assert scores.shape == (200,)
    assert int(scores.argmax()) == 7
    assert scores[7] > 1
    assert detector.predict(windows)[7] == 1
    (alert,) = [alert for alert in detector.alerts(windows) if alert.source.offset == 7]
    assert alert.anomaly_score == scores[7]
    assert detector.explain(windows, at=7) == detector.explain(windows) == alert.explanation
    axes = detector.plot(windows)
    assert len(axes) == n_dimensions
    with pytest.raises(IndexError):
        detector.explain(windows, at=200)


def test_a_pipeline_ends_with_it(faulty: Any) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    scaling = pytest.importorskip("sklearn.preprocessing")
    steps = pipeline.make_pipeline(
        scaling.StandardScaler(), AutoencoderDetector(window=20, overrides=FAST)
    )
    predicted = steps.fit(make_frame()).predict(faulty)
    assert np.flatnonzero(predicted)[0] == FAULT.start


def test_a_picture_has_signal_reconstruction_score_and_alerts(
    fitted: AutoencoderDetector, faulty: Any
) -> None:
    axes = fitted.plot(faulty)
    assert [each.get_ylabel() for each in axes] == ["flow", "heat", "anomaly score"]
    signal, reconstruction = axes[0].get_lines()
    np.testing.assert_array_equal(signal.get_ydata(), faulty["flow"].to_numpy())
    is_normal = np.arange(N_ROWS) < FAULT.start - fitted.recipe_.window.steps
    off = np.abs(reconstruction.get_ydata() - signal.get_ydata())[is_normal]
    assert np.nanmean(off) < 0.3
    score_line, threshold = axes[-1].get_lines()
    np.testing.assert_array_equal(score_line.get_ydata(), fitted.decision_function(faulty))
    assert set(threshold.get_ydata()) == {1.0}
    (shaded,) = axes[-1].patches
    opened = next(alert for alert in fitted.alerts(faulty) if alert.event == "open")
    start = np.datetime64(opened.opened_ms, "ms")
    assert shaded.get_x() == axes[-1].convert_xunits(start)
    with pytest.raises(ValueError, match="expected one of 1 keys"):
        fitted.plot(faulty, key="m3")


CHECKS_THAT_FAIL = {
    "check_n_features_in_after_fitting": "15 rows are too few windows to calibrate on",
    "check_fit2d_1sample": "one row is too little: a DatasetError, which is no ValueError",
    "check_fit2d_1feature": "10 rows are too few windows to calibrate on",
    "check_estimators_nan_inf": "NaN in a window is a DatasetError, which is no ValueError",
}
"""Checks of scikit-learn that do not apply to rows that are whole windows, and why. Rows that are
samples are a time series: neither may their order change (check_methods_sample_order_invariance)
nor can some of them be scored alone (check_methods_subset_invariance), and most checks have fewer
rows than make 20 windows; NaN is a missing value there."""


@pytest.mark.filterwarnings("ignore:Estimator AutoencoderDetector does not inherit:UserWarning")
def test_scikit_learn_checks_it() -> None:
    pytest.importorskip("sklearn", minversion="1.6")  # older ones cannot be told what fails
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    plain = (
        *("network.kind=pca", "network.components=1", "scorer.kind=reconstruction"),
        *("threshold.calibrate_on=train", "threshold.method=quantile", "threshold.quantile=0.99"),
        "training.patience=",
    )
    detector = AutoencoderDetector(record="window", overrides=plain)
    found = checks.check_estimator(
        detector, expected_failed_checks=CHECKS_THAT_FAIL, on_fail=None, on_skip=None
    )
    failed = {each["check_name"]: repr(each["exception"]) for each in found}
    states = {each["check_name"]: each["status"] for each in found}
    bad = {name: failed[name] for name, state in states.items() if state == "failed"}
    assert not bad
    failing = {name for name, state in states.items() if state == "xfail"}
    assert failing == set(CHECKS_THAT_FAIL)
    assert len(found) > 30
