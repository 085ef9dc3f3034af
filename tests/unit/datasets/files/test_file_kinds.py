"""What is read as CSV though it is compressed, and what is refused since it is something else."""

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from stream_detector.datasets.files.reading import read_columns
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.several import files_of, holds_tables
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import ColumnMap

N_ROWS = 6_000
"""More than those that are split cell by cell."""

JSON = b'{"a": 1}\n'


def csv_text() -> str:
    rng = np.random.default_rng(0)
    rows = (f"{1_000 * at},{value:.6f}\n" for at, value in enumerate(rng.normal(size=N_ROWS)))
    return "timestamp_ms,flow\n" + "".join(rows)


def test_a_compressed_file_is_read_as_if_it_were_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, compressed = tmp_path / "pump.csv", tmp_path / "pump.csv.gz"
    plain.write_text(csv_text())
    with caplog.at_level("INFO", "stream_detector.datasets.files"):
        expected = read_samples(plain).samples
        assert "gzip" not in caplog.text
        compressed.write_bytes(gzip.compress(csv_text().encode()))
        found = read_samples(compressed).samples
    assert "pump.csv.gz: comma, gzip, time column" in caplog.text
    assert found.keys == expected.keys == ("pump",)
    assert len(found) == N_ROWS
    assert found.values.tolist() == expected.values.tolist()
    assert found.times_ms.tolist() == expected.times_ms.tolist()


def test_compressed_files_of_a_folder_are_tables(tmp_path: Path) -> None:
    for name in ("b.csv.gz", "a.csv", "notes.gz"):
        (tmp_path / name).write_bytes(gzip.compress(csv_text().encode()))
    assert holds_tables(tmp_path / "b.csv.gz")
    assert [each.name for each in files_of(tmp_path)] == ["a.csv", "b.csv.gz"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:20_000], "damaged gzip: Compressed file ended"),
        (lambda data: data[:5_000] + bytes(20) + data[5_020:], "damaged gzip|CRC check failed"),
        (lambda data: data[:-8] + bytes(8), "CRC check failed"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: object, why: str) -> None:
    path = tmp_path / "pump.csv.gz"
    path.write_bytes(change(gzip.compress(csv_text().encode())))  # type: ignore[operator]
    with pytest.raises(DatasetError, match=rf"pump.csv.gz cannot be read as CSV: ({why})"):
        read_columns(path)


@pytest.mark.parametrize(
    ("name", "content", "what", "read", "target"),
    [
        ("a.xlsx", b"PK\x03\x04....", "an Excel workbook or", "excel('a.xlsx')", "a.csv"),
        ("a.csv", b"PAR1....PAR1", "Parquet under another", "parquet('a.csv')", "a.mended.csv"),
        ("a.h5", b"\x89HDF\r\n", "HDF5", "hdf('a.h5')", "a.csv"),
        ("a.arrow", b"ARROW1\0\0", "Arrow", "feather('a.arrow')", "a.csv"),
        ("a.csv.bz2", bz2.compress(b"a\n1\n"), "a file that bzip2", "csv('a.csv.bz2')", "a.csv"),
        ("a.csv.xz", lzma.compress(b"a\n1\n"), "a file that xz", "csv('a.csv.xz')", "a.csv"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfd..", "a file that Zst", "csv('a.csv.zst')", "a.csv"),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}\n', "JSON", "json('a.jsonl', lines=True)", "a.csv"),
        ("a.json", b'\n [{"a": 1},\n {"a": 2}]', "JSON", "json('a.json')", "a.csv"),
        ("a.json", b"[\n{}]", "JSON", "json('a.json')", "a.csv"),
        ("a.csv.gz", gzip.compress(JSON, mtime=0), "JSON", "json('a.csv.gz', lines", "a.csv"),
    ],
)
def test_something_else_is_refused_with_how_it_becomes_csv(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    what: str,
    read: str,
    target: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(DatasetError) as refused:
        read_columns(Path(name))
    message = str(refused.value)
    assert message.startswith(f"{name}: expected CSV, received {what}")
    assert f"pandas.read_{read}" in message
    assert message.endswith(f".to_csv('{target}', index=False); then give {target}")


def test_a_column_in_brackets_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("[bar],{x}\n1,2\n")
    assert list(read_columns(path).value_names) == ["[bar]", "{x}"]


def test_a_first_row_of_a_date_and_numbers_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"2026-01-01 00:00:{second:02},{second}.5,7" for second in range(9)]
    path.write_text("\n".join(lines))
    found = read_samples(path, columns=ColumnMap(time="1")).samples
    assert len(found) == len(lines)
    assert found.values[:, 0].tolist() == [second + 0.5 for second in range(9)]
    path.write_text("\n".join(["2026-01-01 00:00:00,2026-01-02", *(["1,2"] * 3)]))
    assert list(read_columns(path).value_names) == ["2026-01-01 00:00:00", "2026-01-02"]
