"""Fuzz one target after the other, each up to so many records or seconds; `run.py` starts it.

Each line of standard input names a target, its limits and its folder, and each target has a process
of its own, which is a fork of this one: to prepare the package for the fuzzer takes seconds. It
prints a line "records executions seconds" each second and at the end. The fuzzer ends it itself
where an input fails, takes too long or takes too much memory, and leaves that input behind. Then a
line "ended" with its exit code follows.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import atheris

EXECUTION_S_MAX = 20
"""An input that takes longer hangs."""
MEMORY_MB_MAX = 2_048
INPUT_BYTES_MAX = 8_192
"""Room for some hundred records, so that most of the time goes into them."""

with atheris.instrument_imports(include=["stream_detector"]):
    import targets

warnings.simplefilter("error")
# The second thread is one of ONNX Runtime that waits.
warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)


def main(name: str, n_records: int, n_seconds: int, seed: int, folder: Path) -> None:
    """Fuzz until it is enough; never returns."""
    target = targets.TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"{number:04}").write_bytes(data)
    start_s = said_s = time.monotonic()
    n_done = n_executions = 0

    def check(data: bytes) -> None:
        nonlocal n_done, n_executions, said_s
        n_done += target.check(data)
        n_executions += 1
        now_s = time.monotonic()
        is_enough = n_done >= n_records or now_s - start_s >= n_seconds
        if is_enough or now_s - said_s >= 1:
            said_s = now_s
            print(n_done, n_executions, f"{now_s - start_s:.1f}", flush=True)
        if is_enough:
            os._exit(0)

    options = {
        "seed": seed,
        "max_len": INPUT_BYTES_MAX,
        "len_control": 0,
        "timeout": EXECUTION_S_MAX,
        "rss_limit_mb": MEMORY_MB_MAX,
        "artifact_prefix": f"{folder}/",
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], check)
    atheris.Fuzz()


def fuzz_in_fork(words: list[str]) -> int:
    """Fuzz one target in a process of its own, with its errors in the log; gives the exit code."""
    name, *numbers, place = words
    n_records, n_seconds, seed = map(int, numbers)
    folder = Path(place)
    process = os.fork()
    if process == 0:
        with (folder / "log.txt").open("w") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())
        main(name, n_records, n_seconds, seed, folder)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        print("ended", fuzz_in_fork(line.rstrip("\n").split("\t")), flush=True)
