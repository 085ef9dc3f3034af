"""Spans of a file that a recipe leaves out of the training."""

from pathlib import Path

from present import present

from stream_detector.recipes import DataSection
from stream_detector.training.data import load_training_samples


def test_spans_that_are_left_out_are_not_trained_on(tmp_path: Path) -> None:
    rows = [f"{key},{1_000 * step},{step % 7}" for step in range(200) for key in "ab"]
    path = tmp_path / "pumps.csv"
    path.write_text("\n".join(["key,timestamp_ms,flow", *rows]))
    values = {
        "name": "csv",
        "path": str(path),
        "features": ["flow"],
        "leave_out": [["b", 50_000, 60_000.5], ["absent", 0, 1e9]],
    }
    section = DataSection.model_validate(values)
    data = load_training_samples(section)
    marked = present(data.train.labels) == 1
    assert data.train.times_ms[marked].tolist() == [1_000.0 * step for step in range(50, 61)]
    assert set(data.train.series[marked].tolist()) == {data.train.keys.index("b")}
    without = section.model_copy(update={"leave_out": None})
    assert load_training_samples(without).train.labels is None


def test_labels_of_the_file_stay(tmp_path: Path) -> None:
    rows = [f"{1_000 * step},{step % 7},{int(step == 3)}" for step in range(100)]
    path = tmp_path / "pump.csv"
    path.write_text("\n".join(["timestamp_ms,flow,label", *rows]))
    spans = [["pump", 10_000, 11_000], ["pump", 99_000, 99_000]]
    values = {"name": "csv", "path": str(path), "test_share": 0.2, "leave_out": spans}
    data = load_training_samples(DataSection.model_validate(values))
    marked = present(data.train.labels) == 1
    assert data.train.times_ms[marked].tolist() == [3_000, 10_000, 11_000]
    assert data.test.times_ms[present(data.test.labels) == 1].tolist() == [99_000]
