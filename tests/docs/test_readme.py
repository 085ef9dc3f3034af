"""README.md is short, and the demo that it begins with does what it says.

Its blocks run in `test_pages.py`, like those of every page.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT, read_blocks, read_page

README = read_page("README.md")
N_LINES = range(120, 161)
MEASUREMENTS = read_page("docs/explanation/measurements.md")


def test_it_is_read_in_two_minutes() -> None:
    assert README.count("\n") in N_LINES
    assert "<!-- generated" not in README


def test_it_names_the_two_commands() -> None:
    commands = [words for block in read_blocks("README.md") for words in block.command_lines]
    assert ["make", "demo"] in commands
    assert ["make", "test"] in commands


def test_its_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures == ["docs/pictures/console-key.png"]
    assert (ROOT / pictures[0]).stat().st_size < 200_000


@pytest.mark.parametrize(
    ("claimed", "measured"),
    [
        ("4,998 beats", "4,998 beats"),
        ("424 runs", "424 runs"),
        ("125,000 records/s", "125,202"),
        ("0.96 of a bare poll loop", "0.96 (0.91 - 0.98)"),
        ("552,000", "552,062"),
        ("0.85", "0.85 (0.75 - 0.88)"),
        ("p99 from record to alert read 21 ms", "21.2 (16.8 - 25.6)"),
        ("bare echo of every record takes 21 ms", "20.7 (17.3 - 24.1)"),
        ("133 of 134 faults", "133 of 134 faults"),
        ("the right sensor in 99 %", "right in 132 of 133"),
        ("0.7 s after the start", "0.7 s"),
        ("100 MB of memory", "100 MB"),
        ("902,995", "902,995"),
    ],
)
def test_a_figure_is_one_that_was_measured(claimed: str, measured: str) -> None:
    assert claimed in README
    assert measured in MEASUREMENTS


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.usefixtures("data_folder")
def test_the_demo_prints_the_table_shown(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    done = subprocess.run(
        [sys.executable, "-m", "stream_detector", "demo", "--json", file],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = next(block.text for block in read_blocks("README.md") if "AUROC" in block.text)
    printed = done.stdout + done.stderr
    names = re.findall(r"^│ (\S.*?) +│", shown, re.MULTILINE)
    assert len(names) == 9
    assert all(name in printed for name in names)
    assert "stream-detector demo --console" in done.stderr
    figures = json.loads(file.read_text())
    assert figures["live_equals_offline"] is True
    assert (figures["n_lost"], figures["n_duplicated"]) == (0, 0)
    assert f"{figures['accuracy']:.3f}" == "0.944"
