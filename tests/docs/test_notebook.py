"""The notebook runs, cell by cell, and has the outputs of what it runs."""

import json
import os
from pathlib import Path

import pytest
from doc_pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_gives_what_it_shows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    from notebook import run_cells

    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    for cell in cells:  # as the pages, it is trained for one epoch here
        source = "".join(cell["source"])
        short = "AutoencoderDetector(overrides=['training.epochs=1'], "
        cell["source"] = source.replace("AutoencoderDetector(window", f"{short}window").replace(
            "AutoencoderDetector()", f"{short[:-2]})"
        )
    found = [outputs for _, outputs in run_cells(cells)]
    kinds = [[each["output_type"] for each in outputs] for outputs in found]
    assert kinds == [[each["output_type"] for each in outputs] for outputs in shown]
    assert sum("display_data" in each for each in kinds) >= 1
    texts = ["".join(each[0]["text"]) for each in found if each and "text" in each[0]]
    assert any(text == "pump True\n" for text in texts)
    assert os.listdir("bundles") == ["pump"]  # noqa: PTH208


def test_there_is_a_notebook() -> None:
    assert len(NOTEBOOKS) == 1
