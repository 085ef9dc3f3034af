"""Samples of Parquet that are not held in memory: their windows are those of all at once."""

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.datasets import Dataset, cutting
from stream_detector.datasets.files import long_form, ordering
from stream_detector.errors import DatasetError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import load_windows, train
from stream_detector.training.data import load_trained_on
from stream_detector.training.splits import assign_folds, split_normal

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

MODELS = Path(__file__).parents[3] / "models"
LONG = "_long.parquet"
START, N_TIMES, N_STEPS = 1_767_225_600_000, 700, 8
MORE = 10_000
"""More windows than there are."""

FORMS = ("by time", "by key", "shuffled", "folder", "long", "long by feature", "long shuffled")


@pytest.fixture(params=FORMS)
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write samples of three keys with labels, gaps and missing values; read few at a time."""
    monkeypatch.setattr("stream_detector.datasets.files.parquet._ROWS_A_PART", 97)
    monkeypatch.setattr(long_form, "_ROWS_AT_ONCE", 64)
    monkeypatch.setattr(ordering, "_ROWS_A_RUN", 300)
    monkeypatch.setattr(ordering, "_BYTES_IN_MEMORY", 1_000)
    monkeypatch.setattr(cutting, "_WINDOWS_BYTES", 1)
    return write(tmp_path / "samples", request.param)


def write(path: Path, form: str, level: float = 0.0, level_of_c: float | None = None) -> Path:
    rng = np.random.default_rng(3)
    times = np.repeat(START + 1_000 * np.arange(N_TIMES), 3)
    times[times > START + 400_000] += 90_000
    keys = np.tile(["b", "a", "c"], N_TIMES)
    flow = np.sin(np.arange(3 * N_TIMES) / 9) + rng.normal(0, 0.1, 3 * N_TIMES) + level
    flow[keys == "c"] += 0.0 if level_of_c is None else level_of_c - level
    flow[rng.random(len(flow)) < 0.02] = np.nan
    label = np.zeros(len(flow), np.int8)
    label[600:640] = 1
    heat = rng.normal(size=len(flow))
    table = {"key": keys, "timestamp_ms": times, "flow": flow, "heat": heat, "label": label}
    if form.startswith("long"):
        return write_long(path.with_name(path.name + LONG), form, table)
    orders = {"by key": np.argsort(keys, kind="stable"), "shuffled": rng.permutation(len(keys))}
    order = orders.get(form, np.arange(len(keys)))
    written = pyarrow.table({name: column[order] for name, column in table.items()})
    if form == "folder":
        parquet.write_to_dataset(written, path, partition_cols=["key"])
        return path
    parquet.write_table(written, path.with_suffix(".parquet"), row_group_size=250)
    return path.with_suffix(".parquet")


def write_long(path: Path, form: str, samples: dict[str, Any]) -> Path:
    """Write a row for each value, of which some are missing, and some are there twice."""
    rng = np.random.default_rng(4)
    rows = np.tile(np.arange(2 * 3 * N_TIMES), 2)
    rows = rows[rng.random(len(rows)) < np.where(np.arange(len(rows)) < len(rows) // 2, 0.97, 0.1)]
    sample, feature = np.divmod(rows, 2)
    values = np.where(feature, samples["heat"][sample], samples["flow"][sample])
    table = {
        "key": samples["key"][sample],
        "timestamp_ms": samples["timestamp_ms"][sample],
        "feature": np.array(["flow", "heat"])[feature],
        "value": values + np.arange(len(rows)) / len(rows),  # no two are the same
        "label": samples["label"][sample] * (feature == 1),
    }
    order = np.arange(len(rows))
    if form == "long by feature":
        order = np.argsort(feature, kind="stable")
    if form == "long shuffled":
        order = rng.permutation(len(rows))
    written = pyarrow.table({name: column[order] for name, column in table.items()})
    parquet.write_table(written, path, row_group_size=250)
    return path


def recipe_of(
    path: Path, n_windows: int | None, *overrides: str, recipe: str = "mitdb-dense"
) -> Recipe:
    is_long = path.name.endswith(LONG)
    return load_recipe(
        MODELS / f"{recipe}.toml",
        [
            *(["data.feature_name=feature", "data.feature_value=value"] if is_long else []),
            "data.name=parquet", "data.series=", f"data.path={path}", f"window.steps={N_STEPS}",
            "window.stride=2", "window.features=2", "window.sample_interval_ms=1000",
            "window.gap_ms_max=5000", "window.missing=interpolate", "window.missing_share_max=0.3",
            f"data.n_windows_in_memory={n_windows or ''}", "network.units=[4]",
            "training.epochs=2", "training.batch_size=16", *overrides,
        ],
    )  # fmt: skip


def both(path: Path, n_windows: int, *overrides: str) -> tuple[Dataset, Dataset]:
    return (
        load_windows(recipe_of(path, n_windows, *overrides)),
        load_windows(recipe_of(path, None, *overrides)),
    )


PER_KEY = "scaling.per_key=true"


def parts_of(scales: KeyScales | None) -> tuple[Any, ...] | None:
    if scales is None:
        return None
    return scales.keys, scales.offset.tolist(), scales.scale.tolist()


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["data.test_share=0"],
        ["data.test_share=0.4"],
        [f"data.test_share={1 / 3}"],  # which begins just behind a sample
        [PER_KEY, "data.test_share=0"],
    ],
)
def test_where_all_windows_are_held_nothing_differs(path: Path, options: list[str]) -> None:
    found, expected = both(path, MORE, *options)
    assert len(expected.train) > 500
    assert (len(expected.test) > 0) == ("data.test_share=0" not in options)
    assert (expected.key_scales is not None) == (PER_KEY in options)
    assert parts_of(found.key_scales) == parts_of(expected.key_scales)
    for each in {each.name for each in fields(Dataset)} - {"key_scales"}:
        np.testing.assert_array_equal(getattr(found, each), getattr(expected, each))
    assert found.fingerprint == expected.fingerprint


@pytest.mark.parametrize("options", [[], [PER_KEY]])
def test_what_is_read_are_the_windows_of_all_samples_in_their_order(
    path: Path, options: list[str]
) -> None:
    span = f"data.leave_out=[['a', {START}, {START + 60_000}]]"
    found, expected = both(path, 150, span, *options)
    assert parts_of(found.key_scales) == parts_of(expected.key_scales)
    stream = present(found.stream)
    read = np.concatenate([windows for _, windows in stream.parts()])
    np.testing.assert_array_equal(read, expected.normal_train)
    every = np.concatenate([windows for _, windows in stream.every.parts()])
    np.testing.assert_array_equal(every, expected.train)
    assert len(stream) == len(read) < len(every)
    assert found.fingerprint == expected.fingerprint
    assert len(found.train) + len(found.test) == 150
    np.testing.assert_array_equal(found.train, expected.train[stream.rows])
    for name in ("labels", "timestamps_ms"):
        own, all_of = (getattr(each, f"train_{name}") for each in (found, expected))
        np.testing.assert_array_equal(own, all_of[stream.rows])
    keys = present(expected.train_keys)
    assert found.train_keys == tuple(keys[row] for row in stream.rows.tolist())


def test_the_last_window_more_is_not_held(tmp_path: Path) -> None:
    path = write(tmp_path / "samples", "by time")
    expected = load_windows(recipe_of(path, None))
    n_windows = len(expected.train) + len(expected.test)
    assert load_windows(recipe_of(path, n_windows)).stream is None
    assert load_windows(recipe_of(path, n_windows - 1)).stream is not None


PER_DAY = ("threshold.method=false_alarms_per_day", "threshold.calibrate_on=cross-fit")
WITHOUT_SHARE = ("threshold.calibration_share=", "threshold.k=", "threshold.false_alarms_per_day=9")


def test_false_alarms_a_day_are_counted_in_blocks_of_windows_that_follow_each_other(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "samples", "by time")
    found, expected = both(path, 150, *PER_DAY, *WITHOUT_SHARE)
    block_ms = 16 * (N_STEPS - 1) * 1_000
    held, every = (
        Counter(
            (part, key, start // block_ms)
            for part, keys, starts in (
                ("train", each.train_keys, each.train_timestamps_ms),
                ("test", each.test_keys, each.test_timestamps_ms),
            )
            for key, start in zip(present(keys), present(starts).tolist(), strict=True)
        )
        for each in (found, expected)
    )
    assert sum(held.values()) == 150
    assert [held[block] < every[block] for block in held].count(True) <= 1  # the last one
    assert len(held) > 3
    of_seed = load_windows(recipe_of(path, 150, *PER_DAY, *WITHOUT_SHARE, "training.seed=1"))
    assert of_seed.train_timestamps_ms is not found.train_timestamps_ms
    assert of_seed.train.tolist() != found.train.tolist()


def test_values_that_float32_does_not_hold_get_an_origin(tmp_path: Path) -> None:
    far, near = (
        load_windows(recipe_of(write(tmp_path / f"{level:.0e}", "folder", level), 150))
        for level in (1e9, 0.0)
    )
    origin_of = far.origin
    origin, none = origin_of
    assert abs(origin - 1e9) < 2
    assert none == 0
    np.testing.assert_allclose(far.train[..., 0], near.train[..., 0] - (origin - 1e9), atol=1e-6)
    np.testing.assert_array_equal(far.train[..., 1], near.train[..., 1])
    plain = Features(("flow", "heat"))  # of a bundle of other data, which had no origin
    path = tmp_path / "1e+09"
    assert load_windows(recipe_of(path, 150), plain).origin == ()
    assert load_windows(recipe_of(path, 150), replace(plain, origin=origin_of)).origin == origin_of
    stream = present(far.stream)
    read = np.concatenate([windows for _, windows in stream.every.parts()])
    np.testing.assert_array_equal(read[stream.rows], far.train)


def samples_of(dataset: Dataset, recipe: Recipe, rows: Any) -> set[tuple[str, int]]:
    """Return key and second of all samples of some training windows."""
    keys, starts = present(dataset.train_keys), present(dataset.train_timestamps_ms)
    span = range(0, round(recipe.rules.span_ms) + 1, 1_000)
    return {(keys[row], int(starts[row]) + later) for row in rows for later in span}


def test_no_sample_is_fitted_to_and_calibrated_on(tmp_path: Path) -> None:
    path = write(tmp_path / "samples", "by time")
    crossed = ["threshold.calibrate_on=cross-fit", "threshold.folds=3"]
    crossed.append("threshold.calibration_share=")
    for options in ([], crossed):
        recipe = recipe_of(path, 300, *options)
        held, every = both(path, 300, *options)
        if options:
            shares = [(each.score_rows, each.stream) for each in assign_folds(recipe, held)]
        else:
            split = split_normal(recipe, held)
            shares = [(split.calibrate_rows, split.stream)]
        assert shares
        for rows, stream in shares:
            out = samples_of(held, recipe, rows.tolist())
            fitted = np.flatnonzero(present(stream).is_used)
            assert len(rows) > 20
            assert len(fitted) > 200
            assert out.isdisjoint(samples_of(every, recipe, fitted.tolist()))


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("recipe", ["mitdb-dense", "telemetry"])
def test_a_bundle_of_samples_that_are_streamed(tmp_path: Path, recipe: str) -> None:
    path = write(tmp_path / "samples", "shuffled")
    options = [] if recipe == "mitdb-dense" else ["data.test_share=0.2"]
    bundles = [
        train(recipe_of(path, n_windows, *options, recipe=recipe), tmp_path / str(n_windows))
        for n_windows in (None, MORE, 300)
    ]
    at_once, held, streamed = (bundle.manifest for bundle in bundles)
    without = {"version", "recipe"}
    assert at_once.model_dump(exclude=without) == held.model_dump(exclude=without)
    names = {each.name for each in bundles[0].path.iterdir()} - {"manifest.json"}
    assert "network.onnx" in names
    for name in names:
        files = [bundle.path / name for bundle in bundles[:2]]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert streamed.data.fingerprint == at_once.data.fingerprint
    assert streamed.data.n_windows == at_once.data.n_windows
    assert streamed.threshold.n_windows < at_once.threshold.n_windows
    assert present(load_trained_on(bundles[2])).stream is not None


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    apart = write(tmp_path / "apart", "by time", 1e9, level_of_c=1e3)
    with pytest.raises(DatasetError, match=r"feature flow .* smaller than what float32 can hold"):
        load_windows(recipe_of(apart, 300))
    with pytest.raises(DatasetError, match=r"expected 3 features .*received 2: flow, heat"):
        load_windows(recipe_of(apart, 300, "window.features=3"))
    path = write(tmp_path / "near", "by time", level=1e3)
    load_windows(recipe_of(path, 300))
    with pytest.raises(DatasetError, match="expected at least one window of 900 samples"):
        load_windows(recipe_of(path, 300, "window.steps=900"))
    long = write(tmp_path / "samples", "long")
    with pytest.raises(DatasetError, match=r"expected 3 features .*received 2: flow, heat"):
        load_windows(recipe_of(long, 300, "window.features=3"))
    with pytest.raises(DatasetError, match="features rpm in the column feature, received flow, h"):
        load_windows(recipe_of(long, 300, "data.features=['flow', 'rpm']"))
    without = parquet.read_table(long).drop_columns(["timestamp_ms"])
    parquet.write_table(without, long)
    with pytest.raises(DatasetError, match="expected a column of times, by which the features"):
        load_windows(recipe_of(long, 300))


def test_named_features_of_a_row_each_come_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "samples", "long shuffled")
    chosen = "data.features=['heat', 'flow']"
    found, expected = both(path, 150, chosen)
    assert found.feature_names == ("heat", "flow")
    assert found.fingerprint == expected.fingerprint
    one = ("data.features=['heat']", "window.features=1")
    found, expected = both(path, 150, *one)
    assert found.fingerprint == expected.fingerprint
