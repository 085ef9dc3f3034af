"""Run a network with ONNX Runtime on one CPU thread.

With one thread, no bit of a window's reconstruction depends on its batch, and networks this small
gain nothing from more threads.
"""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.engines.checks import check_windows
from stream_detector.errors import BundleIntegrityError, BundleMismatchError

# ONNX Runtime's own errors have no common class.
_LOAD_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    ValueError,
    *(
        error
        for error in vars(onnxruntime_pybind11_state).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
)

_SEVERITY_ERROR = 3


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
        If the file is not an ONNX network.
    BundleMismatchError
        If the network is for windows of another shape or type.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SEVERITY_ERROR
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except _LOAD_ERRORS as error:
        message = f"{path} cannot be loaded by ONNX Runtime: {error}; train the bundle again"
        raise BundleIntegrityError(message) from None
    _check_shapes(path, session, n_steps, n_features)
    input_name = session.get_inputs()[0].name
    output_names = [session.get_outputs()[0].name]

    def reconstruct(windows: FloatArray) -> FloatArray:
        check_windows(windows, n_steps, n_features)
        if len(windows) == 0:
            return windows.copy()
        reconstructions: FloatArray = session.run(output_names, {input_name: windows})[0]
        return reconstructions

    return reconstruct


def _check_shapes(
    path: Path, session: onnxruntime.InferenceSession, n_steps: int, n_features: int
) -> None:
    """Refuse a network whose input or output is not a batch of windows of this shape."""
    for role, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        shapes = [(value.type, *value.shape[1:]) for value in values]
        if shapes != [("tensor(float)", n_steps, n_features)]:
            message = (
                f"{path}: expected one {role} tensor(float) of shape (n_windows, {n_steps}, "
                f"{n_features}), received {[(value.type, value.shape) for value in values]}; "
                "train a bundle for windows of this shape"
            )
            raise BundleMismatchError(message)
