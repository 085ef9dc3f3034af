"""Bundles, recipes and settings from strangers, at the command line: code 3 or 2, and soon."""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from halving_bundle import make_bundle, scaling_network

from stream_detector import cli
from stream_detector.bundle.manifest import digest, dump_manifest

Run = Callable[..., tuple[int, str]]
SECONDS_MAX = 30


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a runner of the command line in this process, which fails where that hangs."""

    def fail(*_: object) -> NoReturn:
        pytest.fail("it hangs")

    def run_here(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS_MAX)
    yield run_here
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    (tmp_path / "windows.csv").write_text(",".join(f"v{n}" for n in range(140)) + "\n")
    return tmp_path / "bundle"


def rewrite(bundle: Path, **changes: Any) -> None:
    """Change the manifest and give it the version that fits."""
    values = json.loads((bundle / "manifest.json").read_bytes()) | changes
    (bundle / "manifest.json").write_bytes(dump_manifest(values | {"version": digest(values)}))


def replace_file(bundle: Path, name: str, content: bytes) -> None:
    """Change a file and let the manifest vouch for it."""
    (bundle / name).write_bytes(content)
    files = json.loads((bundle / "manifest.json").read_bytes())["files"]
    rewrite(bundle, files=files | {name: hashlib.sha256(content).hexdigest()})


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_endless(bundle: Path) -> None:
    helper = pytest.importorskip("onnx.helper")
    network = pytest.importorskip("onnx").load_from_string(scaling_network(140, 1, 0.5))
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "b", [], [])
    network.graph.node.append(helper.make_node("Loop", ["", "c"], ["x"], body=body))
    replace_file(bundle, "network.onnx", network.SerializeToString())


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pipe for the manifest": lambda bundle: make_pipe(bundle / "manifest.json"),
    "pipe for the network": lambda bundle: make_pipe(bundle / "network.onnx"),
    "pipe for the scaler": lambda bundle: make_pipe(bundle / "scaler.npz"),
    "deep manifest": lambda bundle: (bundle / "manifest.json").write_text("[" * 20_000),
    "large manifest": lambda bundle: os.truncate(bundle / "manifest.json", 3 * 1024**3),
    "large network": lambda bundle: os.truncate(bundle / "network.keras", 3 * 1024**3),
    "version": lambda bundle: rewrite(bundle, libraries={"keras": "1.\u00b2"}),
    "no network": lambda bundle: replace_file(bundle, "network.onnx", b"\x3a\xff"),
    "endless network": make_endless,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("command", ["score", "detect"])
def test_a_bundle_from_a_stranger_ends_with_3(
    run: Run, bundle: Path, command: str, damage: Callable[[Path], object]
) -> None:
    damage(bundle)
    source = [bundle.parent / "windows.csv"] if command == "score" else []
    code, error = run(command, bundle, *source)
    assert code == 3
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 1_000


TEXTS = {
    "deep": "a = " + "[" * 20_000,
    "deep tables": "[" + ".".join("a" * 20_000) + "]",
    "long integer": "a = " + "9" * 5_000,
    "integer": "poll_records_max = 9223372036854775807",
    "workers": "workers = 1000000",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_recipes_and_settings_from_a_stranger_end_with_2(
    run: Run, bundle: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "file.toml"
    path.write_text(text)
    for arguments in (["train", path], ["detect", bundle, "--settings", path]):
        code, error = run(*arguments)
        assert code == 2
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_pipe_in_place_of_a_recipe_or_settings_is_not_waited_for(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "file.toml")
    assert run("train", tmp_path / "file.toml")[0] == 2
    assert run("detect", bundle, "--settings", tmp_path / "file.toml")[0] == 2
