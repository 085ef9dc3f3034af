"""Which way imports point, and what an import must not drag in."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
TRAINING = {"keras", "tensorflow", "torch", "jax", "pandas", "sklearn", "matplotlib", "pooch"}
KAFKA = {"kafka", "confluent_kafka"}
PURE = {
    *("base64", "bisect", "collections", "collections.abc", "contextlib", "csv", "dataclasses"),
    *(
        "datetime",
        "functools",
        "hashlib",
        "io",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "struct",
        "types",
        "typing",
        "warnings",
        "zlib",
    ),
    *("numpy", "numpy.typing", "orjson", "simdjson", "PIL"),
}
"""All that the core may import: arrays, parsers, and parts of the standard library that do no I/O.
What is not imported any more goes from here too."""


def loaded_by(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_import_contracts_are_kept() -> None:
    # In a process of its own: the linter sets up logging for all that come after it.
    code = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_modules_import_each_other_in_a_circle() -> None:
    # Imports within functions and for type checking count too.
    graph = grimp.build_graph("stream_detector", cache_dir=None)
    imports = {each: graph.find_modules_directly_imported_by(each) for each in graph.modules}
    assert len(imports) > 100
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def imported_by(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, within functions and for type checking too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_core_imports_what_is_pure_and_nothing_else() -> None:
    below = [ROOT / "stream_detector/errors.py", ROOT / "stream_detector/text.py"]
    core = [*(ROOT / "stream_detector/core").rglob("*.py"), *below]
    imported = {module for path in core for module in imported_by(path)}
    own = {each for each in imported if each.startswith("stream_detector.core.")}
    assert imported - own - {"stream_detector.errors", "stream_detector.text"} == PURE


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import stream_detector")
    assert not loaded & (TRAINING | KAFKA | {"numpy", "pydantic", "typer", "onnxruntime"})


def test_importing_the_estimator_loads_no_training() -> None:
    loaded = loaded_by("from stream_detector import AutoencoderDetector, alerts, score")
    assert "numpy" in loaded
    assert not loaded & (TRAINING | KAFKA)


def test_importing_the_command_line_loads_neither_training_nor_kafka() -> None:
    loaded = loaded_by("import stream_detector.cli")
    assert "typer" in loaded
    assert not loaded & (TRAINING | KAFKA | {"onnxruntime"})


@pytest.mark.parametrize(
    ("client", "other"), [("kafka_python", "confluent_kafka"), ("confluent", "kafka")]
)
def test_detect_never_loads_training_nor_the_other_client(client: str, other: str) -> None:
    if client == "confluent":
        pytest.importorskip("confluent_kafka")
    loaded = loaded_by(
        "import stream_detector.cli.detect, stream_detector.assembly, stream_detector.service\n"
        f"import stream_detector.engines.onnx, stream_detector.clients.{client}\n"
        "from stream_detector.assembly import open_bundle\n"
        "from stream_detector.clients import connect"
    )
    assert "onnxruntime" in loaded
    assert not loaded & (TRAINING | {other, "fastavro"})


def test_a_detect_run_that_finds_no_bundle_has_loaded_no_training() -> None:
    loaded = loaded_by(
        "import sys\nfrom stream_detector.cli import main\n"
        "sys.argv = ['stream-detector', 'detect', 'absent']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 3, end.code"
    )
    assert not loaded & (TRAINING | KAFKA)
