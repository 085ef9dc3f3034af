"""Loads Keras without its start-up chatter and without hiding an error.

TensorFlow's libraries write notes to the process' standard error before any logging can be set
up. They are held back while Keras loads and shown after all if it fails.
"""

import importlib
import os
import sys
import tempfile
from types import ModuleType

from stream_detector.errors import ConfigError

_FD_STDERR = 2

_DEFAULTS = {
    # Notes and warnings of TensorFlow's own libraries; errors are still shown.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Full float32 on a GPU: the shorter format it would use otherwise is too coarse for scores.
    "NVIDIA_TF32_OVERRIDE": "0",
}


def import_keras() -> ModuleType:
    """Return the module keras, loaded quietly.

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
            # Looking for a GPU writes notes too, where there is none.
            keras.distribution.list_devices()
        except ImportError as error:
            held_back.seek(0)
            os.write(kept, held_back.read())
            message = (
                f"Keras cannot be loaded: {error}; training and the keras engine need the train "
                "extra: pip install 'stream-detector[train]'"
            )
            raise ConfigError(message) from None
        finally:
            os.dup2(kept, _FD_STDERR)
            os.close(kept)
    return keras
