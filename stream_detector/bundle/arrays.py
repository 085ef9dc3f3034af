"""The arrays of a bundle as .npz files: written, and read without executing what is in them."""

import io
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle.manifest import KEY_SCALES, SCALER
from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.key_scales import KEY_SCALES_BYTES_MAX, KEY_SCALES_MAX, KeyScales
from stream_detector.core.scoring.logarithmic import Logarithmic
from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.scaling import SCALER_KINDS, Scaler
from stream_detector.errors import BundleIntegrityError, BundleMismatchError
from stream_detector.text import printable, shorten

SCALER_BYTES_MAX = 4 * 1024 * 1024
"""Largest scaler. It has two numbers for each of at most `recipes.sections.WINDOW_VALUES_MAX`
features, two megabytes."""

KEY_SCALES_FILE_BYTES_MAX = KEY_SCALES_BYTES_MAX + 65_536
"""Largest file with scales of keys: they, and what the format adds."""

UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, AttributeError, TypeError),
    *(SyntaxError, MemoryError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What NumPy and the libraries it reads archives with raise for bytes that are no .npz file: it
wraps few of their errors, and fuzzing met all of these."""


_SCALE_MIN = float(np.finfo(np.float32).smallest_normal)
"""Smallest scale of a key: 1 / scale, of which the fleet's is the median, must be finite."""


_MASKS = ("is_constant", "is_relative", "is_counter")
"""What a scaler may know of each feature; the last two come together."""

_LOG_UNIT = "log_unit"


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
    if scaler.relative is not None:
        arrays["is_relative"] = scaler.relative.is_relative
        arrays["is_counter"] = scaler.relative.is_counter
    if scaler.logarithmic is not None:
        arrays[_LOG_UNIT] = scaler.logarithmic.unit
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def load_scaler(path: Path, content: bytes, n_features: int) -> Scaler:
    """Return the scaler from the content of an .npz file; nothing in it is executed."""
    with arrays_of(path, SCALER, content, SCALER_BYTES_MAX) as arrays:
        # What is no array comes back as bytes, and then has another shape than it must.
        offset, scale = (np.asarray(arrays[name]) for name in ("offset", "scale"))
        masks = {name: np.asarray(arrays[name]) for name in _MASKS if name in arrays}
        is_relative, relative = masks.get("is_relative"), None
        if is_relative is not None:
            relative = Relative(is_relative, masks["is_counter"])
        logarithmic = Logarithmic(np.asarray(arrays[_LOG_UNIT])) if _LOG_UNIT in arrays else None
        kind, is_constant = str(arrays["kind"]), masks.get("is_constant")
        scaler = Scaler(kind, offset, scale, is_constant, relative, logarithmic)
    _check_array(path, f"{SCALER} offset", scaler.offset, np.float32, (n_features,))
    _check_array(path, f"{SCALER} scale", scaler.scale, np.float32, (n_features,))
    for name, mask in masks.items():
        _check_array(path, f"{SCALER} {name}", mask, np.bool_, (n_features,))
    is_usable = np.isfinite(scaler.offset) & np.isfinite(scaler.scale) & (scaler.scale > 0)
    unit = np.zeros_like(scale) if scaler.logarithmic is None else scaler.logarithmic.unit
    if scaler.logarithmic is not None:
        _check_array(path, f"{SCALER} {_LOG_UNIT}", unit, np.float32, (n_features,))
    is_usable &= (unit == 0) | (np.isfinite(unit) & (unit >= _SCALE_MIN))
    if scaler.kind not in SCALER_KINDS or not is_usable.all():
        first = int(np.argmin(is_usable))
        message = (
            f"bundle {path}: {SCALER}: expected one of the kinds {', '.join(SCALER_KINDS)} with "
            f"finite offsets, finite scales above 0 and finite units, received "
            f"{shorten(scaler.kind, 32)!r}, offset {scaler.offset[first]}, scale "
            f"{scaler.scale[first]} and unit {unit[first]} of feature {first}; train "
            "the bundle again"
        )
        raise BundleIntegrityError(message)
    return scaler


def dump_key_scales(scales: KeyScales) -> bytes:
    """Return the scales of keys as the content of an .npz file, the keys one after another."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        keys=np.frombuffer(b"".join(scales.keys), dtype=np.uint8),
        key_lengths=np.array([len(key) for key in scales.keys], dtype=np.uint32),
        offset=scales.offset[:-1],
        scale=scales.scale[:-1],
    )
    return buffer.getvalue()


def load_key_scales(path: Path, content: bytes, n_features: int) -> KeyScales:
    """Return the scales of keys from the content of an .npz file; nothing in it is executed.

    Raises
    ------
    BundleIntegrityError
        If they cannot be read, a key is no key, is there twice, or a number cannot be used.
    BundleMismatchError
        If an array has another type or shape.
    """
    names = ("keys", "key_lengths", "offset", "scale")
    with arrays_of(path, KEY_SCALES, content, KEY_SCALES_FILE_BYTES_MAX) as arrays:
        text, lengths, offset, scale = (np.asarray(arrays[name]) for name in names)
    n_keys = lengths.size
    _check_array(path, f"{KEY_SCALES} keys", text, np.uint8, (text.size,))
    _check_array(path, f"{KEY_SCALES} key_lengths", lengths, np.uint32, (n_keys,))
    _check_array(path, f"{KEY_SCALES} offset", offset, np.float32, (n_keys, n_features))
    _check_array(path, f"{KEY_SCALES} scale", scale, np.float32, (n_keys, n_features))
    ends = np.cumsum(lengths, dtype=np.int64)  # (n_keys,)
    is_usable = (
        1 <= n_keys <= KEY_SCALES_MAX
        and int(ends[-1]) == text.size
        and bool(((lengths >= 1) & (lengths <= KEY_BYTES_MAX)).all())
    )
    data, starts = text.tobytes(), ends - lengths
    keys = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    if not is_usable or len(set(keys)) < n_keys:
        message = (
            f"bundle {path}: {KEY_SCALES}: expected 1 to {KEY_SCALES_MAX:,} different keys of 1 to "
            f"{KEY_BYTES_MAX:,} bytes, received {n_keys:,} keys in {text.size:,} bytes; train the "
            "bundle again"
        )
        raise BundleIntegrityError(message)
    is_finite = np.isfinite(offset) & np.isfinite(scale) & (scale >= _SCALE_MIN)
    if not is_finite.all():
        row, feature = np.argwhere(~is_finite)[0].tolist()
        message = (
            f"bundle {path}: {KEY_SCALES}: expected finite offsets and finite scales above 0, "
            f"received offset {offset[row, feature]} and scale {scale[row, feature]} of feature "
            f"{feature} of key {shorten(printable(keys[row].decode(errors='replace')), 64)}; train "
            "the bundle again"
        )
        raise BundleIntegrityError(message)
    return KeyScales(keys, offset, scale)


@contextmanager
def arrays_of(path: Path, name: str, content: bytes, n_bytes_max: int) -> Iterator[Any]:
    """Open an .npz file; whatever is wrong with it while it is open is a `BundleIntegrityError`."""
    try:
        check_archive(content, n_bytes_max)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            yield arrays
    except UNREADABLE as error:
        reason = shorten(repr(error))
        message = f"bundle {path}: {name} cannot be read: {reason}; train the bundle again"
        raise BundleIntegrityError(message) from None


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


def check_archive(content: bytes, n_bytes_max: int) -> None:
    """Refuse an archive whose members, inflated, are larger than what was written can be.

    Raises
    ------
    ValueError
        If they are.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > n_bytes_max:
        message = f"expected at most {n_bytes_max:,} bytes inflated, received {n_bytes:,}"
        raise ValueError(message)
