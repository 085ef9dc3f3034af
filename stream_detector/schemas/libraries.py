"""Load what reads Protobuf where it is needed: its library comes with the extra `registry`."""

from importlib import import_module
from types import ModuleType

from stream_detector.errors import ConfigError


def load_protobuf(name: str) -> ModuleType:
    """Return one of this package's modules that need Google's library.

    Parameters
    ----------
    name
        Of the module in `stream_detector.schemas`.

    Raises
    ------
    ConfigError
        If the library is not installed.
    """
    try:
        return import_module(f"stream_detector.schemas.{name}")
    except ImportError:
        message = (
            "Protobuf: the package protobuf is not installed; install it with: "
            "pip install 'stream-detector[registry]'"
        )
        raise ConfigError(message) from None
