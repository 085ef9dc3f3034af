"""What the fuzzer calls: bytes in, an exception where something is wrong.

`python tests/fuzz/targets.py TARGET FILE` does one input again, without the fuzzer.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fuzz_bundle
import fuzz_checks
import fuzz_images
import fuzz_records
import mapped_checks


class Target(NamedTuple):
    """What is fuzzed.

    Parameters
    ----------
    check
        Checks one input and returns how many records, or files, it stood for.
    seeds
        Gives inputs to begin with.
    """

    check: Callable[[bytes], int]
    seeds: Callable[[], Iterator[bytes]]


def check_windows(data: bytes) -> int:
    """Check records that are whole windows: codec, scores, alerts, dead letters."""
    number, sent = fuzz_records.unpack(data)
    fuzz_checks.check_windows(number, sent)
    return len(sent)


def check_samples(data: bytes) -> int:
    """Check records of samples: codec, windowing, alerts, dead letters."""
    number, sent = fuzz_records.unpack(data)
    fuzz_checks.check_samples(number, sent)
    return len(sent)


def check_mapped(data: bytes) -> int:
    """Check records that `[input]` reads: paths, scalars, readings, columns, keys and times."""
    number, sent = fuzz_records.unpack(data)
    mapped_checks.check_any_mapped(number, sent)
    return len(sent)


def check_manifest(data: bytes) -> int:
    """Check a content of manifest.json."""
    fuzz_bundle.check_any_manifest(_files()[0], data)
    return 1


def check_scaler(data: bytes) -> int:
    """Check a content of scaler.npz."""
    fuzz_bundle.check_any_scaler(data)
    return 1


def check_key_scales(data: bytes) -> int:
    """Check a content of key_scales.npz."""
    fuzz_bundle.check_any_key_scales(data)
    return 1


def check_network(data: bytes) -> int:
    """Check a content of network.onnx."""
    fuzz_bundle.check_any_network(data)
    return 1


def manifest_seeds() -> Iterator[bytes]:
    """Yield contents of manifest.json."""
    return fuzz_bundle.manifest_seeds(_files()[0])


def scaler_seeds() -> Iterator[bytes]:
    """Yield contents of scaler.npz."""
    return fuzz_bundle.scaler_seeds(_files()[1])


@cache
def _files() -> tuple[bytes, bytes]:
    """Return manifest and scaler of a bundle as it was written."""
    with tempfile.TemporaryDirectory() as folder:
        path = fuzz_bundle.small_bundle(Path(folder) / "bundle").path
        return (path / "manifest.json").read_bytes(), (path / "scaler.npz").read_bytes()


TARGETS = {
    "windows": Target(check_windows, fuzz_records.window_seeds),
    "samples": Target(check_samples, fuzz_records.sample_seeds),
    "mapped": Target(check_mapped, mapped_checks.mapped_seeds),
    "images": Target(fuzz_images.check_image, fuzz_images.fuzz_seeds),
    "manifest": Target(check_manifest, manifest_seeds),
    "scaler": Target(check_scaler, scaler_seeds),
    "key_scales": Target(check_key_scales, fuzz_bundle.key_scales_seeds),
    "network": Target(check_network, fuzz_bundle.network_seeds),
}

if __name__ == "__main__":
    TARGETS[sys.argv[1]].check(Path(sys.argv[2]).read_bytes())
