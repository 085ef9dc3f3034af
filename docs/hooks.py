"""What MkDocs does beside reading docs/: reference/models.md shows the text of models/README.md."""

import re
from pathlib import Path

from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the text of a page, with links that lead to where it is in the site."""
    if page.file.src_uri != "reference/models.md":
        return markdown
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(\.\./docs/", "](../", text)
    return re.sub(r"\[([^]\n]+)\]\([\w.-]+\.toml\)", r"`\1`", text)
