"""What opening a bundle does to the process."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from halving_bundle import make_bundle

PROGRAM = """
import resource, sys
import numpy as np
from stream_detector.assembly import open_bundle

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1:]:
    open_bundle(sys.argv[1])
for _ in range(3):
    before = page_faults()
    arrays = [np.ones(1_150_000) for _ in range(3)]  # 28 MB
    del arrays
    print(page_faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do otherwise")
def test_memory_that_a_step_freed_is_there_for_the_next(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")

    def faults(*arguments: str) -> list[int]:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [*map(int, done.stdout.split())]

    each_round = min(faults())  # without a bundle each asks the kernel for all pages
    assert max(faults(str(tmp_path / "bundle"))[1:]) < each_round / 10
