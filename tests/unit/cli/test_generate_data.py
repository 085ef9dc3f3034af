"""The command generate-data."""

import sys
from pathlib import Path

import numpy as np
import pytest

from stream_detector import cli
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.pumps import FEATURES, simulate


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["stream-detector", "generate-data", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_the_file_reads_back_as_the_fleet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "pumps.csv"
    options = ("--hours", 0.8, "--pumps", 5, "--seed", 7)
    assert not run(monkeypatch, "pumps", *options, "--out", file)
    fleet = simulate(7, n_pumps=5, train_hours=0.5, test_hours=0.3)
    n_faults = len(fleet.faults)
    assert (
        f"{len(fleet.samples):,} samples of 5 pumps, {n_faults} faults" in capsys.readouterr().err
    )
    table = read_samples(file)
    assert table.feature_names == FEATURES
    assert [(fault.kind, fault.features) for fault in table.faults] == [
        (fault.kind, (fault.feature,)) for fault in fleet.faults
    ]
    for number, key in enumerate(fleet.samples.keys):
        rows = table.samples.series == table.samples.keys.index(key)
        expected = fleet.samples.series == number
        for name in ("values", "labels", "times_ms"):
            read, written = getattr(table.samples, name), getattr(fleet.samples, name)
            np.testing.assert_array_equal(read[rows].astype(written.dtype), written[expected])


def test_a_healthy_fleet_has_no_faults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run(monkeypatch, "pumps", "--hours", 0.5, "--pumps", 1, "--healthy")
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert (
        header == "key,timestamp_ms,temperature,pressure,vibration,label,label_kind,label_feature"
    )
    assert rows
    assert all(row.endswith(",0,,") for row in rows)
    assert " 0 faults" in err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("boilers",), "pumps"),
        (("pumps", "--hours", 0), "hours"),
        (("pumps", "--pumps", 0), "pumps"),
    ],
)
def test_bad_arguments_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    what: str,
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert what in capsys.readouterr().err
