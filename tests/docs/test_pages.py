"""The pages run: every command, program and file that README.md and docs/** show.

`tests/support/doc_pages.py` says what a block is. A page is one script in a folder of its own. What
differs from a reader's shell: the broker's port and that of the metrics are free ones,
`STREAM_DETECTOR_BOOTSTRAP_SERVERS` names the broker, and `train` takes one epoch
(`tests/support/docs_command.py`). So figures differ from those that a page shows as output; words
may not.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
import typer
from command_server import command_server
from doc_pages import OUTPUT, ROOT, RUN, Block, find_pages, read_blocks, read_page, script_of

from stream_detector.cli import app
from stream_detector.recipes import Recipe

PAGES = find_pages()
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
SCRIPTS = {page: script for page in PAGES if (script := script_of(page))}

NOT_RUN = Counter(
    {
        "README.md": 3,
        "docs/how-to/console.md": 2,
        "docs/how-to/containers.md": 4,
        "docs/how-to/evaluate.md": 1,
        "docs/how-to/exactly-once.md": 1,
        "docs/how-to/flink.md": 3,
        "docs/how-to/run-on-kafka.md": 1,
        "docs/how-to/schema-registry.md": 3,
        "docs/how-to/security.md": 2,
        "docs/how-to/spark.md": 2,
        "docs/how-to/workers.md": 1,
        "docs/tutorials/backfill.md": 4,
        "docs/tutorials/ecg5000.md": 1,
        "docs/tutorials/index.md": 1,
        "docs/tutorials/init.md": 2,
        "docs/tutorials/live.md": 1,
        "docs/tutorials/python.md": 1,
    }
)
"""How many blocks of each page the tests cannot run; the pages say why."""

BROKER_PORT = "9092"
PORTS = (BROKER_PORT, "9108", "9093", "8077", "2525", "8100")
"""The ports that pages name."""

SUPPORT = ROOT / "tests" / "support"
COLUMNS = "120"
TIMEOUT_S = 480
N_LINES_MAX = 260
N_PAGES_AT_ONCE = 2
WORDS_MISSING_MAX = 0.1
N_WORDS_MISSING_MAX = 1
"""Largest share, or number, of the words of an output block that the page may not print here: with
one epoch an alert may have another severity."""

COMMANDS = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
GROUPS = ("dead-letters", "silence")
COMMANDS |= {
    f"{group} {name}": command
    for group in GROUPS
    for name, command in COMMANDS.pop(group).commands.items()
}
PROGRAMS = {
    *("stream-detector", "python", "make", "pip", "docker", "kafka-topics.sh", "kafka-acls.sh"),
    *("curl", "cat", "head", "grep", "kill", "wait", "ls", "mkdir"),
    *("cut", ".", "cd", "ln", "echo", "kubectl", "flink", "base64", "sleep"),
    *("prometheus", "promtool", "prometheus-alertmanager", "amtool"),
    *("until", "while", "do", "done"),
}


def lines_of(program: str, blocks: list[Block] = BLOCKS) -> list[list[str]]:
    return [words for block in blocks for words in block.command_lines if words[0] == program]


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """Return the name of the command that a line runs, and the words after it."""
    n_words = 3 if words[1] in GROUPS else 2
    return " ".join(words[1:n_words]), words[n_words:]


@pytest.mark.parametrize("page", PAGES)
def test_no_block_goes_unchecked(page: str) -> None:
    blocks = read_blocks(page)
    fences = re.findall(r"^\s*(?:```|~~~)", read_page(page), re.MULTILINE)
    assert len(fences) == 2 * len(blocks), "a fence that is indented, unclosed or oddly labelled"
    for block in blocks:
        assert block.title or block.language in (*RUN, *OUTPUT, "toml"), block.line
        assert block.reason is None or block.language in RUN, block.line


def test_what_is_not_run_is_counted() -> None:
    assert Counter(block.page for block in BLOCKS if block.reason) == NOT_RUN


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short(page: str) -> None:
    if "reference" not in page and "measurements" not in page:
        assert read_page(page).count("\n") <= N_LINES_MAX


@pytest.mark.parametrize("page", PAGES)
def test_no_table_is_cut_in_two(page: str) -> None:
    rows = re.findall(r"^\|.*\n\n(\|.*)\n(.*)", read_page(page), re.MULTILINE)
    assert [row for row, below in rows if not re.fullmatch(r"[|:\- ]+", below)] == []


def test_the_programs_shown_are_known() -> None:
    shown = {words[0] for block in BLOCKS for words in block.command_lines}
    assert shown - PROGRAMS == set()


@pytest.mark.parametrize(
    "words", lines_of("stream-detector"), ids=lambda words: " ".join(words[1:])
)
def test_a_command_line_is_one_the_program_takes(words: list[str]) -> None:
    if words[1:] in (["--help"], ["--version"]):
        return
    name, arguments = command_of(words)
    with COMMANDS[name].make_context(name, arguments, resilient_parsing="--help" in words) as made:
        assert made.params is not None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_shown(name: str) -> None:
    shown = {command_of(words)[0] for words in lines_of("stream-detector")}
    assert name in shown or name == "demo"  # `make demo` runs it


def test_the_targets_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {words[1] for words in lines_of("make")}
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_extras_are_in_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for words in lines_of("pip")
        for extra in re.findall(r"\w+", words[-1].partition("[")[2])
    }
    assert {"train", "confluent"} <= named <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "toml" and not block.title],
    ids=lambda block: f"{block.page}:{block.line}",
)
def test_a_part_of_a_recipe_has_keys_that_exist(block: Block) -> None:
    for table, keys in tomllib.loads(block.text).items():
        for each in keys if isinstance(keys, list) else [keys]:
            assert set(each) <= keys_of(Recipe.model_fields[table].annotation), table


def keys_of(annotation: object) -> set[str]:
    """Return the keys of a table of a recipe, or of all classes of a union."""
    found = set(getattr(annotation, "model_fields", ()))
    return found.union(*(keys_of(part) for part in get_args(annotation)))


def test_the_json_shown_is_json() -> None:
    shown = [block for block in BLOCKS if block.language == "json"]
    assert shown
    for block in shown:
        json.loads(block.text)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `stream-detector` that calls `docs_command.py`."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "stream-detector"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ES "{SUPPORT}/docs_command.py" "$@"\n')
    program.chmod(0o755)
    (folder / "bundles").mkdir()
    return folder


@pytest.fixture(scope="session")
def server() -> Iterator[Path]:
    """The socket of a process that runs the commands that need TensorFlow."""
    # The name of a socket has about a hundred bytes at most: not below the folder of the tests.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = Path(folder, "server")
        listener.bind(str(address))
        listener.listen()
        number = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, SUPPORT / "docs_server.py", str(number)],
            pass_fds=[number],
            env=os.environ | {"COLUMNS": COLUMNS},
        )
        yield address
        process.kill()
        process.wait()


def marks_of(script: str) -> list[pytest.MarkDecorator]:
    """Return the markers of a page: `keras` where TensorFlow is loaded, `slow` for all."""
    needs_keras = r"stream-detector (init|train|encode|generate )|--report|--engine keras"
    return [pytest.mark.slow, *([pytest.mark.keras] if re.search(needs_keras, script) else [])]


@pytest.fixture(scope="session")
def printed(
    request: pytest.FixtureRequest, programs: Path, server: Path
) -> Iterator[dict[str, Future[str]]]:
    """What each page that was selected prints; two pages run side by side."""
    runs = [
        item.callspec.params["page"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_a_page_runs"
    ]
    pages = [str(page) for page in runs]
    if any(re.search(r"\b(ecg5000|mitdb|smd|nab|mnist)\b", SCRIPTS[page]) for page in pages):
        request.getfixturevalue("data_folder")
    environment = os.environ | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DOCS_BUNDLES": str(programs / "bundles"),
        "DOCS_SERVER": str(server),
        "DOCS_COMMANDS": str(command_server().address),
        "COLUMNS": COLUMNS,
    }
    folder = programs.parent / "pages"
    with ThreadPoolExecutor(N_PAGES_AT_ONCE) as pool:
        yield {
            page: pool.submit(run_page, SCRIPTS[page], environment, folder / page.replace("/", "-"))
            for page in pages
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=marks_of(script)) for page, script in SCRIPTS.items()],
)
def test_a_page_runs(
    page: str, printed: dict[str, Future[str]], request: pytest.FixtureRequest
) -> None:
    if "prometheus-alertmanager" in SCRIPTS[page]:
        request.getfixturevalue("alertmanager_tools")
    text = printed[page].result()
    for block in output_of_commands(page):
        words = set(re.findall(r"\b[^\W\d_]{3,}\b", block.text))
        missing = sorted(word for word in words if word not in text)
        n_allowed = max(N_WORDS_MISSING_MAX, WORDS_MISSING_MAX * len(words))
        assert len(missing) <= n_allowed, f"line {block.line}: {missing}"


def output_of_commands(page: str) -> list[Block]:
    """Return the output blocks of a page that follow a block that is run."""
    found, is_run = [], False
    for block in read_blocks(page):
        if block.language in RUN and not block.title:
            is_run = block.is_run
        elif block.language == "text" and is_run:
            found.append(block)
    return found


def run_page(script: str, environment: dict[str, str], folder: Path) -> str:
    """Run a page as a script and return all that it printed."""
    folder.mkdir(parents=True)
    for name in ("models", "producers", "docs/examples", "docs/alert.example.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    ports = {each: str(free_port()) for each in PORTS}
    for shown, own in ports.items():
        script = re.sub(rf"\b{shown}\b", own, script)
    environment = environment | {
        "STREAM_DETECTOR_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports[BROKER_PORT]}",
        "DOCS_PORT": ports[BROKER_PORT],
    }
    log = folder / "printed.log"
    started_s = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(process)
    printed = log.read_text(errors="replace")
    seconds = time.monotonic() - started_s
    assert code == 0, f"exit code {code} after {seconds:.0f} s:\n{printed[-4_000:]}"
    return printed


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End whatever a page left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
