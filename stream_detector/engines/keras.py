"""Run a network with Keras, on the GPU if there is one.

Batches are padded to a few fixed sizes, so that one function is compiled for each size and no bit
of a window's reconstruction depends on its batch. A GPU, and Keras on JAX or PyTorch, choose other
kernels for other sizes, with other bits, so there is one size there. To rely on it on a GPU, run
`tests/contracts/test_engines.py` or `benchmarks/gpu.py` there first.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.engines.backend import has_gpu, import_keras
from stream_detector.engines.checks import check_windows
from stream_detector.engines.keras_archive import check_archive
from stream_detector.engines.memory_limit import memory_limit
from stream_detector.errors import BundleIntegrityError, BundleMismatchError
from stream_detector.text import printable, shorten

ROWS_MIN = 64
"""Smallest batch. Smaller matrix products take other code paths and give other bits."""
ROWS_MAX = 2048
"""Largest batch; more windows are split. It limits the sizes to compile for to six."""
ROWS_SPARE = 8
"""Rows at the end of a batch that hold no window. With AVX2, six rows are multiplied at a time, and
the last one or two of a batch have other bits where the size leaves them over."""
ROWS_ONLY = 1024
"""The one batch size of a GPU and of other backends than TensorFlow."""

MEMORY_BYTES_MAX = 2 * 1024**3
"""Most memory that loading a network may take, beside six times the size of its file. What is built
follows from its configuration, which can ask for any amount."""


class AutoencoderParts(NamedTuple):
    """A network whose encoder and decoder can be run separately.

    Parameters
    ----------
    reconstruct
        Both in turn, as returned by `load_keras`.
    encode
        From scaled windows to latent codes, float32, shape (n_windows, n_latent). Batch-invariant,
        bit for bit.
    decode
        From latent codes to scaled windows, float32, shape (n_windows, n_steps, n_features);
        batch-invariant as well.
    n_latent
        Values of a latent code; a feature map is flattened.
    """

    reconstruct: Reconstruct
    encode: Callable[[FloatArray], FloatArray]
    decode: Callable[[FloatArray], FloatArray]
    n_latent: int


def load_keras(path: Path, n_steps: int, n_features: int) -> Reconstruct:
    """Load a network from a .keras file, in Keras' safe mode.

    Parameters
    ----------
    path
        The file.
    n_steps, n_features
        Shape of the windows that will be scored.

    Returns
    -------
    A function that fulfils the contract of
    `stream_detector.core.scoring.reconstruction.Reconstruct`.

    Raises
    ------
    BundleIntegrityError
        If the file is not a Keras network, or contains code, which safe mode refuses.
    BundleMismatchError
        If the network is for windows of another shape.
    ConfigError
        If Keras is not installed.
    """
    return _reconstructor(_load(path, n_steps, n_features), n_steps, n_features)


def load_parts(path: Path, n_steps: int, n_features: int) -> AutoencoderParts:
    """Load a network with its layers `encoder` and `decoder`.

    Parameters
    ----------
    path, n_steps, n_features
        See `load_keras`.

    Raises
    ------
    BundleMismatchError
        If the network lacks these layers, the decoder does not take the encoder's latent codes, or
        the network is for windows of another shape.
    BundleIntegrityError, ConfigError
        See `load_keras`.
    """
    model = _load(path, n_steps, n_features)
    try:
        encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    except ValueError:
        names = ", ".join(layer.name for layer in model.layers)
        message = (
            f"{path}: expected a network with the layers encoder and decoder, received {names}; "
            "train the bundle again"
        )
        raise BundleMismatchError(message) from None
    latent_shape = tuple(encoder.output_shape[1:])
    if tuple(decoder.input_shape[1:]) != latent_shape or not all(
        isinstance(size, int) for size in latent_shape
    ):
        message = (
            f"{path}: expected an encoder whose latent codes the decoder takes, "
            f"received latent codes of shape "
            f"{encoder.output_shape} for {decoder.input_shape}; train the bundle again"
        )
        raise BundleMismatchError(message)
    n_latent = math.prod(latent_shape)
    run_encoder, run_decoder = _in_fixed_batches(encoder), _in_fixed_batches(decoder)

    def encode(windows: FloatArray) -> FloatArray:
        check_windows(windows, n_steps, n_features)
        return run_encoder(windows).reshape(len(windows), n_latent)

    def decode(latent: FloatArray) -> FloatArray:
        return run_decoder(latent.reshape(len(latent), *latent_shape))

    return AutoencoderParts(_reconstructor(model, n_steps, n_features), encode, decode, n_latent)


def _load(path: Path, n_steps: int, n_features: int) -> Any:
    """Return the Keras model in a file, refusing one for windows of another shape."""
    check_archive(path)
    keras = import_keras()
    # The memory of a GPU needs more addresses than any limit would leave.
    n_bytes_max = None if has_gpu() else MEMORY_BYTES_MAX + 6 * path.stat().st_size
    try:
        with memory_limit(n_bytes_max):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except _load_errors() as error:
        reason = shorten(printable(str(error)))
        message = f"{path} cannot be loaded by Keras: {reason}; train the bundle again"
        raise BundleIntegrityError(message) from None
    for role, shape in (("input", model.input_shape), ("output", model.output_shape)):
        if not isinstance(shape, tuple) or shape != (None, n_steps, n_features):
            message = (
                f"{path}: expected one {role} of shape (None, {n_steps}, {n_features}), received "
                f"{shorten(str(shape))}; train a bundle for windows of this shape"
            )
            raise BundleMismatchError(message)
    return model


def _load_errors() -> tuple[type[Exception], ...]:
    """Return what Keras, and TensorFlow underneath, raise for a file that they cannot load."""
    tensorflow = sys.modules.get("tensorflow")
    theirs = () if tensorflow is None else (tensorflow.errors.OpError,)
    return (
        *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
        *(AssertionError, ArithmeticError, MemoryError, ImportError, *theirs),
    )


def _reconstructor(model: Any, n_steps: int, n_features: int) -> Reconstruct:
    """Return a model as the function that a detector calls."""
    run = _in_fixed_batches(model)

    def reconstruct(windows: FloatArray) -> FloatArray:
        check_windows(windows, n_steps, n_features)
        return run(windows)

    return reconstruct


def _in_fixed_batches(model: Any) -> Callable[[FloatArray], FloatArray]:
    """Return a function that runs a model on rows, in batches padded to fixed sizes."""
    # TensorFlow without XLA, which compiles every batch size separately, with other bits for each.
    # JAX has nothing else, and would compile a recurrent network again at every call.
    model.compile(jit_compile=import_keras().backend.backend() == "jax")
    shape = tuple(model.output_shape[1:])
    rows_min, rows_max, n_spare = _batch_sizes()
    n_at_once = rows_max - n_spare

    def run(rows: FloatArray) -> FloatArray:
        results = np.empty((len(rows), *shape), dtype=np.float32)
        for start in range(0, len(rows), n_at_once):
            part = rows[start : start + n_at_once]
            n_padded = padded_rows(len(part) + n_spare, rows_min)
            padded = np.zeros((n_padded, *rows.shape[1:]), dtype=np.float32)
            padded[: len(part)] = part
            results[start : start + n_at_once] = model.predict_on_batch(padded)[: len(part)]
        return results

    return run


def _batch_sizes() -> tuple[int, int, int]:
    """Return the smallest and the largest batch size, and how many rows of each stay empty."""
    is_tensorflow = import_keras().backend.backend() == "tensorflow"
    if is_tensorflow and not has_gpu():
        return ROWS_MIN, ROWS_MAX, ROWS_SPARE
    return ROWS_ONLY, ROWS_ONLY, 0


def padded_rows(n_windows: int, n_rows_min: int = ROWS_MIN) -> int:
    """Return the batch size for a number of windows: a power of two, at least the smallest.

    Examples
    --------
    >>> [padded_rows(n) for n in (1, 64, 65, 2048)]
    [64, 64, 128, 2048]
    """
    return max(n_rows_min, 1 << (n_windows - 1).bit_length())
