"""Builds what the commands share: a checked bundle with its engine, and a client for the loop."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stream_detector.bundle import Bundle, read_bundle
from stream_detector.core.detector import Detector
from stream_detector.errors import missing_topics
from stream_detector.ports import Client, Reconstructor
from stream_detector.settings import DetectSettings, EngineName

if TYPE_CHECKING:
    from stream_detector.engines.keras import AutoencoderParts


class Served(NamedTuple):
    """A bundle that was checked, loaded and has passed its self-test."""

    bundle: Bundle
    detector: Detector
    reconstruct: Reconstructor


def open_bundle(path: Path, engine: EngineName = "onnx", model_rows_max: int = 2048) -> Served:
    """Read a bundle, load its network and run its self-test.

    Parameters
    ----------
    path
        The bundle's folder.
    engine
        What runs the network.
    model_rows_max
        Most windows in one call of the network.

    Raises
    ------
    BundleError
        If the bundle is missing, changed, made for something else, or fails its self-test.
    """
    bundle = read_bundle(path)
    n_steps, n_features = bundle.manifest.n_steps, bundle.manifest.n_features
    reconstruct: Reconstructor
    if engine == "onnx":
        from stream_detector.engines.onnx import load_onnx

        reconstruct = load_onnx(path / "network.onnx", n_steps, n_features)
    else:
        from stream_detector.engines.keras import load_keras

        reconstruct = load_keras(path / "network.keras", n_steps, n_features)
    bundle.check_self_test(reconstruct)
    return Served(bundle, bundle.detector(model_rows_max), reconstruct)


def open_parts(path: Path) -> tuple[Bundle, "AutoencoderParts"]:
    """Read a bundle, load its network in two halves with Keras and run its self-test.

    Raises
    ------
    BundleError
        As `open_bundle`, or if the network has no halves.
    ConfigError
        If Keras is not installed.
    """
    from stream_detector.engines.keras import load_parts

    bundle = read_bundle(path)
    parts = load_parts(bundle.network_keras, bundle.manifest.n_steps, bundle.manifest.n_features)
    bundle.check_self_test(parts.reconstruct)
    return bundle, parts


def connect_to_detect(settings: DetectSettings) -> Client:
    """Return a client for the loop: it reads the input topic in a group, and delivers as asked."""
    from stream_detector.clients import connect

    name = settings.instance_id or uuid.uuid4().hex
    is_exact = settings.delivery == "exactly_once"
    return connect(
        settings,
        topics=[settings.input_topic],
        group=settings.group,
        offset_reset=settings.offset_reset,
        transactional_id=f"{settings.group}-{name}" if is_exact else None,
        instance_id=settings.instance_id if settings.static_membership else None,
    )


def require_topic(client: Client, topic: str, bootstrap_servers: str) -> None:
    """Refuse a topic that does not exist, with the command that makes it."""
    if client.n_partitions(topic) == 0:
        raise missing_topics(bootstrap_servers, [topic])
