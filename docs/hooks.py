"""What MkDocs does beside reading docs/: models/README.md becomes the page reference/models.md."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the shipped recipes, which is written beside them."""
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(\.\./docs/", "](../", text)
    text = re.sub(r"\[([^]\n]+)\]\([\w.-]+\.toml\)", r"`\1`", text)
    files.append(File.generated(config, "reference/models.md", content=text))
    return files
