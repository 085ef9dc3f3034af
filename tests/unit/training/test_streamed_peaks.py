"""Windows round peaks of samples that are not held in memory are those of all samples at once."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present
from rhythms import pulses

from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.datasets import Dataset, cutting
from stream_detector.errors import DatasetError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import load_windows, train
from stream_detector.training.rhythm import normal_intervals

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

BEATS = Path(__file__).parents[3] / "models" / "mitdb-beats.toml"
START_MS, N_SAMPLES = 1_767_225_600_000, 18_000
MORE = 10_000
RHYTHM = ("check=[{kind='shape',combine='mean'},{kind='rhythm'}]", "peaks.pause_ms=2000")
WITHOUT_BAND = "peaks.keep_band_hz="
PER_KEY = ("scaling.per_key=true", "scaling.warm_up_samples=0")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write beats of two keys with a gap, pauses, missing values and labels."""
    tables = []
    for number, key in enumerate(("b", "a")):
        rng = np.random.default_rng(number)
        places = 40 + np.cumsum(rng.integers(74, 87, N_SAMPLES // 70))
        is_there = (places < N_SAMPLES - 40) & ~((places > 5_000) & (places < 5_400))
        beats = places[is_there].tolist()
        leads = [pulses(beats, N_SAMPLES, at) for at in (number, number + 9)]
        signal = np.stack(leads, axis=1).astype(np.float64) * (1 + 3 * number) + [0, 3]
        signal[rng.random(signal.shape) < 0.002] = np.nan
        times = START_MS + 10 * np.arange(N_SAMPLES) + 60_000 * (np.arange(N_SAMPLES) > 3_000)
        labels = np.zeros(N_SAMPLES, np.int8)
        labels[np.arange(N_SAMPLES) % 1_500 < 90] = 1
        tables.append(
            pyarrow.table(
                {
                    "key": [key] * N_SAMPLES,
                    "timestamp_ms": times,
                    "II": signal[:, 0],
                    "V1": signal[:, 1],
                    "label": labels,
                }
            )
        )
    path = tmp_path_factory.mktemp("beats") / "beats.parquet"
    parquet.write_table(pyarrow.concat_tables(tables), path, row_group_size=1_000)
    return path


def recipe_of(path: Path, n_windows: int | None, *overrides: str) -> Recipe:
    return load_recipe(
        BEATS,
        [
            *("data.name=parquet", "data.series=", f"data.path={path}", "data.test_share=0.2"),
            *("window.steps=20", "window.sample_interval_ms=10", "training.trim=false"),
            f"data.n_windows_in_memory={n_windows or ''}",
            *("network.components=4", "threshold.folds=2", "threshold.false_alarms_per_day=2000"),
            *overrides,
        ],
    )  # fmt: skip


def both(path: Path, n_windows: int, *overrides: str) -> tuple[Dataset, Dataset]:
    return (
        load_windows(recipe_of(path, n_windows, *overrides)),
        load_windows(recipe_of(path, None, *overrides)),
    )


def columns_of(intervals: PeakIntervals | None) -> list[NDArray[np.generic]]:
    if intervals is None:
        return []
    return [intervals.since_ms, intervals.before_ms, intervals.is_pause]


SETS = pytest.mark.parametrize(
    "options", [(), RHYTHM, (*RHYTHM, WITHOUT_BAND), (*RHYTHM, *PER_KEY)]
)


@SETS
@pytest.mark.parametrize("n_bytes", [1 << 26, 1])
def test_where_all_windows_are_held_nothing_differs(
    path: Path, options: tuple[str, ...], n_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_WINDOWS_BYTES", n_bytes)
    found, expected = both(path, MORE, *options)
    assert len(expected.train) > 150
    assert len(expected.test) > 30
    assert 10 < (present(expected.train_labels) == 1).sum() < 60
    assert (expected.test_intervals is None) == (options == ())
    others = {"key_scales", "train_intervals", "test_intervals"}
    for each in {each.name for each in fields(Dataset)} - others:
        np.testing.assert_array_equal(getattr(found, each), getattr(expected, each))
    for name in ("train_intervals", "test_intervals"):
        columns = [columns_of(getattr(each, name)) for each in (found, expected)]
        for one, other in zip(*columns, strict=True):
            np.testing.assert_array_equal(one, other)
    if PER_KEY[0] in options:
        scales = [present(each.key_scales) for each in (found, expected)]
        assert scales[0].keys == scales[1].keys
        np.testing.assert_array_equal(scales[0].offset, scales[1].offset)
        np.testing.assert_array_equal(scales[0].scale, scales[1].scale)


@SETS
def test_what_is_read_are_the_windows_of_all_samples(path: Path, options: tuple[str, ...]) -> None:
    found, expected = both(path, 120, *options)
    stream = present(found.stream)
    read = np.concatenate([windows for _, windows in stream.parts()])
    np.testing.assert_array_equal(read, expected.normal_train)
    assert found.fingerprint == expected.fingerprint
    assert len(found.train) + len(found.test) == 120
    np.testing.assert_array_equal(found.train, expected.train[stream.rows])
    if expected.train_intervals is not None:
        of_rows = expected.train_intervals.of(stream.rows)
        for one, other in zip(columns_of(found.train_intervals), columns_of(of_rows), strict=True):
            np.testing.assert_array_equal(one, other)
            assert len(one) == len(found.train)


def test_no_window_to_train_on_stands_for_a_pause(path: Path) -> None:
    for dataset in both(path, MORE, *RHYTHM, "data.test_share=0.7"):
        assert present(dataset.test_intervals).is_pause.any()
        assert not present(dataset.train_intervals).is_pause.any()


def test_what_a_window_follows_need_not_be_in_memory(path: Path) -> None:
    found, expected = both(path, 120, *RHYTHM)
    recipe = recipe_of(path, 120, *RHYTHM)
    stream, normal = present(found.stream), np.flatnonzero(present(found.train_labels) == 0)
    intervals = present(normal_intervals(recipe, found, normal))
    every = np.flatnonzero(present(expected.train_labels) == 0)
    of_all = present(normal_intervals(recipe, expected, every))
    places = np.searchsorted(every, stream.rows[normal])
    np.testing.assert_array_equal(intervals.before_ms == 0, of_all.before_ms[places] == 0)
    known = intervals.before_ms > 0  # elsewhere the median stands, here of fewer
    np.testing.assert_array_equal(intervals.since_ms[known], of_all.since_ms[places][known])
    alone = present(normal_intervals(recipe, replace(found, stream=None), normal))
    assert (alone.before_ms != intervals.before_ms).any()


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_bundle_is_the_same_where_all_windows_are_held(path: Path, tmp_path: Path) -> None:
    bundles = [
        train(recipe_of(path, n_windows, *RHYTHM, *PER_KEY), tmp_path / str(n_windows))
        for n_windows in (None, MORE, 150)
    ]
    names = {each.name for each in bundles[0].path.iterdir()} - {"manifest.json"}
    for name in names:
        files = [bundle.path / name for bundle in bundles[:2]]
        assert files[0].read_bytes() == files[1].read_bytes()
    manifests = [bundle.manifest for bundle in bundles]
    assert manifests[0].threshold == manifests[1].threshold
    assert manifests[2].data.fingerprint == manifests[0].data.fingerprint


def test_no_peak_is_refused(path: Path) -> None:
    with pytest.raises(DatasetError, match="expected at least one window round a peak of 20 samp"):
        load_windows(recipe_of(path, MORE, "peaks.context_ms=200000"))
