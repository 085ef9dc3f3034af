"""The Markdown pages of the documentation as the tests see them: their blocks, and how they run.

What a fenced block is follows from its language:

- `sh` and `python` are run, all of a page in order, in one shell and one empty folder that sees
  `models/`, `producers/`, `docs/examples/` and `docs/alert.example.json` of the checkout;
- a block with `title="FILE"` is written to that file when its turn comes, whatever its language;
- `text` and `json` are output;
- `toml` without a title is part of a recipe: its tables and keys have to exist.

A comment `<!-- not run: REASON -->` before a block says why the tests cannot run it.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python")
OUTPUT = ("text", "json")

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_BROKER = re.compile(r"^stream-detector broker\b.*&$", re.MULTILINE)
_WAIT = "until (exec 3<>/dev/tcp/127.0.0.1/$DOCS_PORT) 2>/dev/null; do sleep 0.1; done"
"""A reader's next command comes later than a script's."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    title: str | None
    reason: str | None

    @property
    def is_run(self) -> bool:
        return self.reason is None and self.title is None and self.language in RUN

    @property
    def command_lines(self) -> list[list[str]]:
        """The commands of a shell block as words, without redirections and assignments."""
        if self.language != "sh" or self.title:
            return []
        found = []
        for line in self.text.replace("\\\n", " ").splitlines():
            plain = re.sub(r"\s2>", " >", line)
            words = shlex.shlex(plain, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            found += _split(list(words))
        return found


def find_pages() -> list[str]:
    """Return README.md and every page of docs/, as paths from the root of the checkout."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(page.relative_to(ROOT)) for page in pages]


def read_page(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def read_blocks(page: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = read_page(page)
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("text")),
            language=found["language"],
            text=found["text"],
            title=found["title"],
            reason=found["reason"],
        )
        for found in _BLOCK.finditer(text)
    ]


def script_of(page: str) -> str:
    """Return a page as one shell script; nothing where it has no block to run."""
    blocks = [block for block in read_blocks(page) if not block.reason]
    if not any(block.is_run for block in blocks):
        return ""
    parts = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for block in blocks:
        parts.append(f"echo '{page}, line {block.line}' >&2")
        if block.title:
            folder = str(Path(block.title).parent)
            parts.append(f"mkdir -p {shlex.quote(folder)}\n{_here(f'cat > {block.title}', block)}")
        elif block.language == "python":
            parts.append(_here("python -", block))
        elif block.is_run:
            parts.append(_BROKER.sub(rf"\g<0>\n{_WAIT}", block.text.rstrip("\n")))
    return "\n".join(parts) + "\n"


def _here(command: str, block: Block) -> str:
    return f"{command} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK"


def _split(words: list[str]) -> list[list[str]]:
    """Split a line at its operators, and leave out assignments and what output goes to."""
    commands: list[list[str]] = [[]]
    is_target = False
    for word in words:
        if is_target:
            is_target = False
        elif set(word) <= set("|&;()"):
            commands.append([])
        elif set(word) <= set("<>"):
            is_target = True
        elif commands[-1] or not re.match(r"[A-Z_]+=", word):
            commands[-1].append(word)
    return [command for command in commands if command]
