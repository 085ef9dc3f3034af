"""Run a network with ONNX Runtime on one CPU thread.

With one thread, no bit of a window's reconstruction depends on its batch, and networks this small
gain nothing from more threads.
"""

import threading
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.engines.checks import check_windows
from stream_detector.engines.memory_limit import memory_limit
from stream_detector.engines.onnx_graph import check_graph
from stream_detector.errors import BundleIntegrityError, BundleMismatchError
from stream_detector.files import NETWORK_BYTES_MAX, read_regular
from stream_detector.text import printable, shorten

# ONNX Runtime's own errors have no common class.
_LOAD_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    MemoryError,
    RuntimeError,
    ValueError,
    *(
        error
        for error in vars(onnxruntime_pybind11_state).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
)

_SEVERITY_ERROR, _SEVERITY_FATAL = 3, 4

TRIAL_S_MAX = 30.0
"""Longest time for one window before any is scored. The largest network of `models/` takes a
millisecond."""

MEMORY_BYTES_MAX = 1024**3
"""Most memory that loading a network and trying one window may take, beside four times the size of
its file: a small file can ask for any amount."""


def load_onnx(path: Path, n_steps: int, n_features: int) -> Reconstruct:
    """Load a network from an ONNX file.

    Parameters
    ----------
    path
        The file; the network has one input and one output of shape (n_windows, n_steps,
        n_features).
    n_steps, n_features
        Shape of the windows that will be scored.

    Returns
    -------
    A function that fulfils the contract of
    `stream_detector.core.scoring.reconstruction.Reconstruct`.

    Raises
    ------
    BundleIntegrityError
        If the file is not an ONNX network that `train` would have written (`onnx_graph`), or one
        window takes longer than `TRIAL_S_MAX` or more memory than `MEMORY_BYTES_MAX`.
    BundleMismatchError
        If the network is for windows of another shape or type.
    """
    try:
        content = read_regular(path, NETWORK_BYTES_MAX)
        check_graph(path, content)
        with memory_limit(MEMORY_BYTES_MAX + 4 * len(content)):
            session = _new_session(content)
            _check_shapes(path, session, n_steps, n_features)
            _try(session, np.zeros((1, n_steps, n_features), np.float32))
    except _LOAD_ERRORS as error:
        reason = shorten(printable(str(error)))
        message = f"{path} cannot be loaded by ONNX Runtime: {reason}; train the bundle again"
        raise BundleIntegrityError(message) from None
    input_name = session.get_inputs()[0].name
    output_names = [session.get_outputs()[0].name]

    def reconstruct(windows: FloatArray) -> FloatArray:
        check_windows(windows, n_steps, n_features)
        if len(windows) == 0:
            return windows.copy()
        reconstructions: FloatArray = session.run(output_names, {input_name: windows})[0]
        return reconstructions

    return reconstruct


def _new_session(content: bytes) -> onnxruntime.InferenceSession:
    """Return a network that runs on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SEVERITY_ERROR
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _try(session: onnxruntime.InferenceSession, window: FloatArray) -> None:
    """Run a network on one window, and stop it where it takes too long.

    Raises
    ------
    ValueError
        If its result is no window of the same shape.
    """
    options = onnxruntime.RunOptions()
    options.log_severity_level = _SEVERITY_FATAL  # what fails is raised, too
    timer = threading.Timer(TRIAL_S_MAX, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        (result,) = session.run(None, {session.get_inputs()[0].name: window}, options)
    finally:
        timer.cancel()
    if result.shape != window.shape:
        message = f"expected a window of shape {window.shape} back, received {result.shape}"
        raise ValueError(message)


def _check_shapes(
    path: Path, session: onnxruntime.InferenceSession, n_steps: int, n_features: int
) -> None:
    """Refuse a network whose input or output is not a batch of windows of this shape."""
    for role, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        shapes = [(value.type, *value.shape[1:]) for value in values]
        if shapes != [("tensor(float)", n_steps, n_features)]:
            message = (
                f"{path}: expected one {role} tensor(float) of shape (n_windows, {n_steps}, "
                f"{n_features}), received "
                f"{shorten(str([(value.type, value.shape) for value in values]))}; train a "
                "bundle for windows of this shape"
            )
            raise BundleMismatchError(message)
