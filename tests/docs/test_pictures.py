"""The pictures of docs/explanation show what their pages say, as the product computes it."""

import importlib
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("windows", "late", "gap", "expiry", "restore-points")


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """The program docs/pictures/draw_explanations.py."""
    pytest.importorskip("matplotlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs" / "pictures"))
        return importlib.import_module("draw_explanations")


def seen_in(draw: str, pictures: ModuleType, monkeypatch: pytest.MonkeyPatch) -> object:
    """Draw a picture, and return what the product made of its samples."""
    found = []

    def window(*arguments: object) -> object:
        found.append(original(*arguments))
        return found[-1]

    original = pictures.window
    monkeypatch.setattr(pictures, "window", window)
    getattr(pictures, draw)()
    return found[0]


def test_a_window_starts_with_the_series_and_then_in_each_stride(
    pictures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in("draw_windows", pictures, monkeypatch)
    ends = [round(end, 1) for _, _, end, _ in seen.windows]  # type: ignore[attr-defined]
    assert ends == [4.1, 5.2, 7.2, 9.1]


def test_a_gap_drops_the_unfinished_window(
    pictures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in("draw_gap", pictures, monkeypatch)
    assert [window[1:3] for window in seen.windows] == [  # type: ignore[attr-defined]
        *((1.0, 4.0), (2.0, 5.0), (9.0, 12.0), (10.0, 13.0)),
    ]
    assert seen.gaps == [(6, 9.0)]  # type: ignore[attr-defined]


def test_one_sample_is_late_and_one_a_duplicate(
    pictures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in("draw_late", pictures, monkeypatch)
    assert (seen.late, seen.repeated) == ([9], [5])  # type: ignore[attr-defined]


def test_a_key_expires_at_the_record_that_takes_stream_time_past_it(
    pictures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in("draw_expiry", pictures, monkeypatch)
    ((key, record, at),) = seen.expired  # type: ignore[attr-defined]
    assert (key, record, round(at, 1)) == (b"pump-2", 12, 9.4)


def test_every_picture_is_drawn_and_small(
    pictures: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    pictures.main()
    assert {path.stem for path in tmp_path.iterdir()} == set(NAMES)
    for name in NAMES:
        published = ROOT / "docs" / "pictures" / f"{name}.svg"
        assert ET.parse(published).getroot().tag.endswith("svg")  # noqa: S314  (ours)
        assert published.stat().st_size < 100_000
