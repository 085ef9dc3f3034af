"""A few seconds of what `make fuzz` does, and that it finds a fault that somebody puts in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fuzz_bundle
import pytest
from fuzz_records import unpack
from mapped_checks import READ, check_any_mapped, mapped_seeds

ROOT = Path(__file__).parents[2]
SEED = 20_250_714

pytest.importorskip("atheris", reason="no atheris on this platform")


def fuzz(root: Path, keep: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return run(root, root / "tests" / "fuzz" / "run.py", "--keep", keep, "--seed", SEED, *options)


def run(root: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )


def test_some_records_of_each_target_hold(tmp_path: Path) -> None:
    targets = ("windows", "samples", "images", "manifest", "scaler", "key_scales", "network")
    chosen = [word for target in targets for word in ("--target", target)]
    done = fuzz(ROOT, tmp_path / "kept", "--records", 4_000, "--seconds", 30, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"seed {SEED}" in done.stdout
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "none |" in line]
    n_records = {row[0]: int(row[1].replace(",", "")) for row in rows}
    assert set(n_records) == set(targets)
    assert n_records["windows"] + n_records["samples"] >= 4_000


@pytest.mark.parametrize("number", range(len(READ)))
def test_records_that_an_input_reads_hold(number: int) -> None:
    # Without the fuzzer, whose start takes longer than all of these.
    seed = list(mapped_seeds())[number]
    _, sent = unpack(seed)
    assert len(sent) >= 8
    check_any_mapped(number, sent)


def test_each_byte_of_a_given_bundle_is_changed(tmp_path: Path) -> None:
    path = fuzz_bundle.small_bundle(tmp_path / "bundle").path
    (path / "network.onnx").write_bytes(b"changed")
    done = fuzz(ROOT, tmp_path / "kept", "--target", "each-byte", "--bundle", path)
    assert done.returncode == 1
    assert "network.onnx is not the file that was written" in done.stderr


FAULTS = {
    "windows": ("core/codec/json_format.py", "kept.append(index)", "kept.append(0)"),
    "samples": ("core/codec/samples.py", "is_kept[list(errors)] = False", "is_kept[0] = False"),
    "images": ("core/codec/image_format.py", "kept.append(index)", "kept.append(0)"),
    "manifest": ("bundle/manifest.py", "KeyError, RecursionError", "KeyError"),
}


def tree_with_faults(folder: Path, *targets: str) -> Path:
    """Return a copy of what the fuzzer runs, with the faults that these targets are to find."""
    for name in ("stream_detector", "models", "tests/fuzz", "tests/support"):
        shutil.copytree(ROOT / name, folder / name)
    for target in targets:
        module, right, wrong = FAULTS[target]
        path = folder / "stream_detector" / module
        assert right in path.read_text()
        path.write_text(path.read_text().replace(right, wrong))
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """What was kept for each fault, and what was printed. A tree has no two faults in one path."""
    together: list[tuple[str, ...]] = [("windows", "images", "manifest"), ("samples",)]
    places: dict[str, tuple[Path, str]] = {}
    for targets in together:
        root = tree_with_faults(tmp_path_factory.mktemp("faulty"), *targets)
        chosen = [word for target in targets for word in ("--target", target)]
        done = fuzz(root, root / "kept", *chosen, "--seconds", 30)
        assert done.returncode == 1, done.stdout + done.stderr
        places |= dict.fromkeys(targets, (root / "kept", done.stdout))
    return places


@pytest.mark.parametrize("target", FAULTS)
def test_a_fault_is_found_and_its_input_is_kept(
    target: str, found: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    kept, printed = found[target]
    (row,) = [line for line in printed.splitlines() if line.startswith(f"| {target} |")]
    assert row.endswith("| crash |")
    (crash,) = (kept / target).glob("crash-*")
    # Of this fault, and of no other one that was there as well.
    root = tree_with_faults(tmp_path, target)
    assert run(root, root / "tests" / "fuzz" / "targets.py", target, crash).returncode == 1
    assert run(ROOT, ROOT / "tests" / "fuzz" / "targets.py", target, crash).returncode == 0
