"""Files with semicolons, tabs, decimal commas or another encoding are written again with commas."""

from pathlib import Path

import pytest

from stream_detector.inspection.mending import mended_text

PLAIN = "time,flow,note\n2026-01-01,1.5,a\n2026-01-02,2.25,b\n"


def mend(path: Path, content: str | bytes) -> str | None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return mended_text(path)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("end", ["", "end"])
def test_other_separators_and_decimals_are_mended(
    tmp_path: Path, separator: str, decimal: str, end: str
) -> None:
    lines = PLAIN.replace(",", separator).replace(".", decimal).splitlines()
    text = "\n".join(line + (separator if end else "") for line in lines)
    assert mend(tmp_path / "a.csv", text) == PLAIN


def test_a_file_with_commas_is_left_alone(tmp_path: Path) -> None:
    assert mend(tmp_path / "a.csv", PLAIN) is None
    assert mend(tmp_path / "a.csv", PLAIN.replace("a\n", "a;b\n")) is None
    assert mend(tmp_path / "a.csv", PLAIN.replace("a\n", "ä\n")) is None
    assert mend(tmp_path / "a.parquet", b"PAR1") is None


def test_latin_1_becomes_utf_8(tmp_path: Path) -> None:
    text = PLAIN.replace("note", "Störung")
    assert mend(tmp_path / "a.csv", text.encode("latin-1")) == text


def test_text_with_commas_is_quoted(tmp_path: Path) -> None:
    mended = mend(tmp_path / "a.csv", "flow;note\n1,5;a, b\n2,5;c\n")
    assert mended == 'flow,note\n1.5,"a, b"\n2.5,c\n'
