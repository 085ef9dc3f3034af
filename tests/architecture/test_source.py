"""Budgets and bans that keep the source readable, safe and self-contained."""

import ast
import inspect
import re
import subprocess
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import stream_detector
from stream_detector.assembly import open_bundle, open_parts
from stream_detector.bundle import write_bundle
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.windows import read_windows
from stream_detector.settings import load_settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_detector"
MODULES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef

N_LINES_MAX = 450  # for a module that is one thing; about 300 is usual
N_FUNCTION_LINES_MAX = 70
N_PARAMETERS_MAX = 6
N_PUBLIC_NAMES_MAX = 15


def by_module(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module", params=MODULES, ids=by_module)
def path(request: pytest.FixtureRequest) -> Path:
    """Return a module; all tests of one come before those of the next, and it is parsed once."""
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def nodes(path: Path) -> list[ast.AST]:
    """Return what a module is made of, itself first."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def n_lines(function: Function) -> int:
    """Return how long a function is without its decorators and docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def n_parameters(function: Function) -> int:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(each.arg not in ("self", "cls") for each in every)


def project_files() -> list[Path]:
    """Return every text file that git knows or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def test_public_names_are_few_sorted_and_there() -> None:
    names = stream_detector.__all__
    assert names == sorted(names)
    assert len(names) <= N_PUBLIC_NAMES_MAX
    assert set(names) <= set(dir(stream_detector))
    for name in names:
        assert getattr(stream_detector, name).__name__ == name


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="'stream_detector' has no attribute 'absent'"):
        stream_detector.absent  # type: ignore[attr-defined]  # noqa: B018


def test_public_functions_take_paths_as_text() -> None:
    functions = [getattr(stream_detector, name) for name in stream_detector.__all__]
    functions += [open_bundle, open_parts, write_bundle, load_settings, read_samples, read_windows]
    for function in functions:
        hints = get_type_hints(function) if inspect.isfunction(function) else {}
        taken = {name: hint for name, hint in hints.items() if name != "return"}
        bare = [name for name, hint in taken.items() if Path in (hint, *get_args(hint))]
        assert not bare, (function.__name__, bare)


def test_a_module_is_short_and_says_what_it_is(path: Path, nodes: list[ast.AST]) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= N_LINES_MAX
    module = nodes[0]
    assert isinstance(module, ast.Module)
    assert ast.get_docstring(module)


def test_functions_are_short_with_few_parameters(path: Path, nodes: list[ast.AST]) -> None:
    is_command_line = path.is_relative_to(PACKAGE / "cli")
    for function in nodes:
        if not isinstance(function, Function):
            continue
        place = f"{function.name} at {by_module(path)}:{function.lineno}"
        assert n_lines(function) <= N_FUNCTION_LINES_MAX, place
        assert is_command_line or n_parameters(function) <= N_PARAMETERS_MAX, place


def test_nothing_runs_code_from_data(nodes: list[ast.AST]) -> None:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__")
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in ("pickle", "dill", "cloudpickle", "marshal", "shelve")


def test_exception_is_caught_only_where_the_program_ends(path: Path, nodes: list[ast.AST]) -> None:
    is_allowed = path.is_relative_to(PACKAGE / "cli")
    for node in nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            assert is_allowed or caught not in ("Exception", "BaseException"), node.lineno


PRINTERS = {"print", "echo", "secho", "writelines", "Console", "log_message"}
WRITERS = {"sys.stdout.write", "sys.stderr.write"}
TERMINAL = PACKAGE / "cli" / "terminal.py"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.is_relative_to(PACKAGE / "cli")],
    ids=by_module,
    indirect=True,
)
def test_commands_print_through_the_terminal_module_alone(path: Path, nodes: list[ast.AST]) -> None:
    """It escapes foreign text, such as keys and names, so nothing may go past it."""
    if path == TERMINAL:
        return
    for node in nodes:
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name.rpartition(".")[2] not in PRINTERS, f"{by_module(path)}:{node.lineno}"
            assert name not in WRITERS, f"{by_module(path)}:{node.lineno}"


def test_the_project_holds_no_registry_address() -> None:
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"))]
    hosts += ["--" + "-".join(("index", "url")), "--" + "-".join(("find", "links"))]
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in project_files()
        for host in hosts
        if host in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_the_lock_has_a_hash_for_every_package() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]
    assert len(entries) > 50
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_the_lock_holds_whatever_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["train"], *extras["confluent"], *extras["dev"]]
    locked = re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text())
    names = {re.split(r"[^A-Za-z0-9-]", each)[0].lower() for each in asked}
    assert names <= set(locked)
