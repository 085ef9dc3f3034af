"""The arrays of a bundle as .npz files: written, and read without executing what is in them."""

import io
import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle.manifest import SCALER
from stream_detector.core.scoring.scaling import SCALER_KINDS, Scaler
from stream_detector.errors import BundleIntegrityError, BundleMismatchError
from stream_detector.text import shorten

SCALER_BYTES_MAX = 4 * 1024 * 1024
"""Largest scaler. It has two numbers for each of at most `recipes.sections.WINDOW_VALUES_MAX`
features, two megabytes."""

_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, AttributeError, TypeError),
    *(SyntaxError, MemoryError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What NumPy and the libraries it reads archives with raise for bytes that are no .npz file: it
wraps few of their errors, and fuzzing met all of these."""


def dump_scaler(scaler: Scaler) -> bytes:
    """Return the scaler as the content of an .npz file."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "kind": np.array(scaler.kind),
        "offset": scaler.offset,
        "scale": scaler.scale,
    }
    if scaler.is_constant is not None:
        arrays["is_constant"] = scaler.is_constant
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def load_scaler(path: Path, content: bytes, n_features: int) -> Scaler:
    """Return the scaler from the content of an .npz file; nothing in it is executed."""
    try:
        _check_archive(content, SCALER_BYTES_MAX)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            # What is no array comes back as bytes, and then has another shape than it must.
            offset, scale = (np.asarray(arrays[name]) for name in ("offset", "scale"))
            is_constant = np.asarray(arrays["is_constant"]) if "is_constant" in arrays else None
            scaler = Scaler(str(arrays["kind"]), offset, scale, is_constant)
    except _UNREADABLE as error:
        reason = shorten(repr(error))
        message = f"bundle {path}: {SCALER} cannot be read: {reason}; train the bundle again"
        raise BundleIntegrityError(message) from None
    _check_array(path, f"{SCALER} offset", scaler.offset, np.float32, (n_features,))
    _check_array(path, f"{SCALER} scale", scaler.scale, np.float32, (n_features,))
    if scaler.is_constant is not None:
        _check_array(path, f"{SCALER} is_constant", scaler.is_constant, np.bool_, (n_features,))
    is_usable = np.isfinite(scaler.offset) & np.isfinite(scaler.scale) & (scaler.scale > 0)
    if scaler.kind not in SCALER_KINDS or not is_usable.all():
        first = int(np.argmin(is_usable))
        message = (
            f"bundle {path}: {SCALER}: expected one of the kinds {', '.join(SCALER_KINDS)} with "
            f"finite offsets and finite scales above 0, received {shorten(scaler.kind, 32)!r}, "
            f"offset {scaler.offset[first]} and scale {scaler.scale[first]} of feature {first}; "
            "train the bundle again"
        )
        raise BundleIntegrityError(message)
    return scaler


def _check_array(
    path: Path, name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    """Refuse an array of another type or shape."""
    if array.dtype != dtype or array.shape != shape:
        message = (
            f"bundle {path}: {name}: expected {np.dtype(dtype)} {shape}, received {array.dtype} "
            f"{array.shape}; train the bundle again"
        )
        raise BundleMismatchError(message)


def _check_archive(content: bytes, n_bytes_max: int) -> None:
    """Refuse an archive whose members, inflated, are larger than what was written can be."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > n_bytes_max:
        message = f"expected at most {n_bytes_max:,} bytes inflated, received {n_bytes:,}"
        raise ValueError(message)
