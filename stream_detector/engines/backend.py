"""Import Keras without its start-up messages and without hiding an error.

TensorFlow's libraries write to the process' standard error before logging can be configured. This
output is held back while Keras is imported, and written if the import fails.
"""

import importlib
import os
import sys
import tempfile
from types import ModuleType

from stream_detector.errors import ConfigError

_FD_STDERR = 2

_DEFAULTS = {
    # Hides notes and warnings of TensorFlow's libraries, not errors.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Full float32 on a GPU; TF32, the default, is too coarse for scores. JAX heeds the second.
    "NVIDIA_TF32_OVERRIDE": "0",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
}


def import_keras() -> ModuleType:
    """Return the module keras, imported without start-up messages.

    Raises
    ------
    ConfigError
        If Keras or its backend is not installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    kept = os.dup(_FD_STDERR)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), _FD_STDERR)
        try:
            keras = importlib.import_module("keras")
            # The first look for a GPU writes notes too, if there is none.
            _device_names(keras)
        except ImportError as error:
            held_back.seek(0)
            os.write(kept, held_back.read())
            message = (
                f"Keras cannot be imported: {error}; training and the keras engine need the train "
                "extra: pip install 'stream-detector[train]'"
            )
            raise ConfigError(message) from None
        finally:
            os.dup2(kept, _FD_STDERR)
            os.close(kept)
    return keras


def list_devices() -> list[str]:
    """Return the devices that Keras runs on, such as "gpu:0"; those of the CPU without a GPU.

    Raises
    ------
    ConfigError
        If Keras or its backend is not installed.
    """
    return _device_names(import_keras())


def has_gpu() -> bool:
    """Return whether Keras has a GPU to run on.

    Raises
    ------
    ConfigError
        If Keras or its backend is not installed.
    """
    return any(name.startswith("gpu") for name in list_devices())


def require_tensorflow() -> None:
    """Refuse a backend of Keras that cannot write the ONNX file of a bundle.

    The others fit and run networks, but their ONNX files are not those that the `onnx` engine lets
    through, or need a further package.

    Raises
    ------
    ConfigError
        If the backend is not TensorFlow, or Keras is not installed.
    """
    backend = import_keras().backend.backend()
    if backend != "tensorflow":
        message = (
            "training: expected Keras to run on tensorflow, which writes the ONNX file of a "
            f"bundle, received the backend {backend}; set KERAS_BACKEND=tensorflow"
        )
        raise ConfigError(message)


def _device_names(keras: ModuleType) -> list[str]:
    """Return the devices that Keras runs on, such as "gpu:0"; the CPU where there is no other."""
    if keras.backend.backend() == "torch":  # whose devices Keras does not list
        torch = importlib.import_module("torch")
        return [f"gpu:{number}" for number in range(torch.cuda.device_count())] or ["cpu:0"]
    names: list[str] = keras.distribution.list_devices()
    return names
