"""Every relative link in the Markdown files leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "models/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)


def prose(path: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors that headings get: lower case, spaces to hyphens, other signs left out."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_the_files_are_there() -> None:
    names = {str(path.relative_to(ROOT)) for path in FILES}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name) if name else path
        assert place.exists(), f"{path.name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(place), f"{path.name}: {target}: no such heading"


def test_pictures_are_small() -> None:
    folders = [ROOT / "docs" / name for name in ("figures", "pictures")]
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    pictures = [path for path in files if path.suffix != ".py"]
    assert pictures
    for picture in pictures:
        assert picture.suffix in (".png", ".svg"), picture.name
        assert picture.stat().st_size < 200_000, picture.name
