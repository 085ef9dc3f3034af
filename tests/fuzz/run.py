"""Fuzz every target, then change every byte of a bundle; prints one table. `make fuzz` calls it.

    python tests/fuzz/run.py --seed 7 --seconds 60

What fails is left in a folder that is named; `targets.py` does it again.
"""

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fuzz_bundle

from stream_detector.bundle import read_bundle

SHARES = {
    **{"windows": 0.4, "samples": 0.6, "mapped": 0.1, "images": 0.1},
    **{"manifest": 0.1, "scaler": 0.05, "key_scales": 0.05, "network": 0.1},
}
"""Of the number of records; all but the first three count images and files."""

EACH_BYTE = "each-byte"
ALL = (*SHARES, EACH_BYTE)

ENDS = {0: "none", 70: "hang", 71: "memory", 77: "crash"}
"""What the fuzzer's exit codes mean."""


class Row(NamedTuple):
    """What was done to one target."""

    target: str
    n_records: int
    n_executions: int
    seconds: float
    failures: str


class Fuzzer:
    """The process of `one.py`, which fuzzes one target after the other.

    Parameters
    ----------
    log
        Where its errors go, but for those of a target, which has a log of its own.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    @cached_property
    def _process(self) -> subprocess.Popen[str]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as stream:
            return subprocess.Popen(
                [sys.executable, Path(__file__).with_name("one.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                bufsize=1,
                # Or the seed alone would not repeat a run.
                env=os.environ | {"PYTHONHASHSEED": "0"},
            )

    def fuzz(self, target: str, limits: tuple[int, int, int], folder: Path) -> Row:
        """Fuzz one target; `limits` are records, seconds and the seed."""
        commands, lines = self._process.stdin, self._process.stdout
        assert commands is not None
        assert lines is not None
        folder.mkdir(parents=True)
        commands.write("\t".join(map(str, (target, *limits, folder))) + "\n")
        done, said, code = ["0", "0", "0"], [], None
        for line in lines:
            words = line.split()
            if words[:1] == ["ended"]:
                code = int(words[1])
                break
            if len(words) == 3 and words[0].isdecimal():
                done = words
                say(f"{target}: {int(words[0]):,} records, {float(words[2]):.0f} s")
            else:
                said.append(line)
        if code is None:
            code = self._process.wait()
        failures = ENDS.get(code, f"exit code {code}")
        if code:
            log = folder / "log.txt" if (folder / "log.txt").exists() else self._log
            printed = "".join([*said, log.read_text()])
            print(f"\n{target}: {failures}, see {log}\n{printed[-4_000:]}")
        return Row(target, int(done[0]), int(done[1]), float(done[2]), failures)

    def close(self) -> None:
        """End the process."""
        if "_process" in vars(self):
            self._process.communicate()


def change_every_byte(path: Path | None) -> Row:
    """Change each byte of a bundle's files, of a small one made up where none is given."""
    say("bundle: each byte")
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_bundle(path) if path else fuzz_bundle.small_bundle(Path(folder) / "bundle")
        start_s = time.monotonic()
        n_tried, failures = 0, "none"
        try:
            n_tried = fuzz_bundle.check_every_byte(bundle, fuzz_bundle.many_values)
        except AssertionError as error:
            failures = str(error)
    return Row(EACH_BYTE, n_tried, n_tried, time.monotonic() - start_s, failures)


def table(rows: list[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| target | records or files | executions | seconds | failures |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.target} | {row.n_records:,} | {row.n_executions:,} | {row.seconds:.1f} | "
        f"{row.failures} |"
        for row in rows
    ]
    return "\n".join(lines)


def say(text: str) -> None:
    """Show how far it is, in one line."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000, help="of all targets of records")
    parser.add_argument("--seconds", type=int, default=300, help="longest time for one target")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--target", choices=ALL, action="append", help="these only")
    parser.add_argument("--bundle", type=Path, help="change each byte of this one")
    parser.add_argument("--keep", type=Path, help="folder for logs and for what fails")
    return parser.parse_args()


def main() -> int:
    """Fuzz and print; returns 1 if anything failed, 2 if there is no fuzzer here."""
    asked = arguments()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: it is there for Linux on x86-64 only", file=sys.stderr)
        return 2
    keep = asked.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"seed {asked.seed}, logs in {keep}", flush=True)
    rows = []
    with closing(Fuzzer(keep / "log.txt")) as fuzzer:
        for target in asked.target or ALL:
            if target == EACH_BYTE:
                rows.append(change_every_byte(asked.bundle))
                continue
            n_records = round(asked.records * SHARES[target])
            rows.append(fuzzer.fuzz(target, (n_records, asked.seconds, asked.seed), keep / target))
    say("")
    print(table(rows))
    n_records = sum(row.n_records for row in rows if row.target in ("windows", "samples", "mapped"))
    print(f"\n{n_records:,} records, seed {asked.seed}")
    return int(any(row.failures != "none" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
