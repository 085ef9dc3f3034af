"""The composition root: a bundle and an engine become a detector, settings become clients.

No other module of the package builds a client, an engine or a service. Each function loads its
library when it is called: a detector that runs on ONNX never loads Keras, and a process with one
Kafka library never loads the other.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from stream_detector.bundle import Bundle, read_bundle
from stream_detector.core.codec.formats import FORMATS, ContentType, RecordShape, find_format
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.features import Features
from stream_detector.core.records import BundleReference
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.core.scoring.scorer import WINDOWS_MAX, Scorer
from stream_detector.core.windowing.admission import KEYS_MAX
from stream_detector.errors import ConfigError, missing_topics
from stream_detector.files import AnyPath
from stream_detector.ports import Client, NoSchemas, SchemaSource, SystemClock
from stream_detector.recipes import Recipe, override_tables
from stream_detector.schemas.mapping import open_mapping
from stream_detector.settings import ConnectionSettings, DetectSettings, EngineName

if TYPE_CHECKING:
    from stream_detector.clients.embedded import EmbeddedBroker
    from stream_detector.engines.keras import AutoencoderParts
    from stream_detector.service import Service
    from stream_detector.telemetry import Metrics


class Served(NamedTuple):
    """A bundle that was checked, loaded and has passed its self-test."""

    bundle: Bundle
    detector: Detector
    reconstruct: Reconstruct


class ServedParts(NamedTuple):
    """A bundle that was checked and has passed its self-test, with its encoder and decoder."""

    bundle: Bundle
    parts: "AutoencoderParts"


def open_bundle(
    path: AnyPath,
    engine: EngineName = "onnx",
    model_rows_max: int = WINDOWS_MAX,
    observe: Callable[[Reconstruct], Reconstruct] = lambda reconstruct: reconstruct,
    keys_max: int = KEYS_MAX,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Served:
    """Read a bundle, load its network and run its self-test.

    Parameters
    ----------
    path
        The bundle's folder.
    engine
        What runs the network.
    model_rows_max
        Most windows in one call of the network.
    observe
        Wraps the network of the detector, to measure it.
    keys_max
        Most keys with state in one partition.
    changes
        What this run changes of the recipe's tables `input` and `alerting`. With another `input`
        state and alerts bear a version of their own, because the same records mean other samples;
        with another `alerting` alerts bear its digest.

    Raises
    ------
    BundleError
        If the bundle is missing, changed, made for something else, or fails its self-test.
    ConfigError
        If the engine's library is not installed, or the changes do not fit the bundle.
    """
    bundle = read_bundle(path)
    reconstruct = _load_network(bundle, engine)
    bundle.check_self_test(reconstruct)
    _keep_freed_memory()
    scorer = bundle.scorer(observe(reconstruct))
    own, name = bundle.manifest.recipe, bundle.reference
    recipe = override_tables(own, changes or {})
    if recipe.input != own.input:
        name = name.with_input(recipe.input.model_dump_json(exclude_none=True))
    detector = build_detector(recipe, scorer, name, model_rows_max, keys_max, bundle.features)
    if recipe.alerting != own.alerting:
        detector = replace(detector, rules_digest=recipe.alerting.digest)
    return Served(bundle, detector, reconstruct)


def _keep_freed_memory() -> None:
    """Have the allocator keep up to 32 MiB that are freed.

    Each step makes and frees arrays of some MiB. glibc returns as much to the kernel at once, page
    by page, and asks for it again with the next array. It keeps twice the size of the largest block
    that was ever freed, of those up to 32 MiB. So one is, which nothing was written to; other
    allocators do not care. A larger one would have records of 10 MB lie among small blocks, and
    more memory in use for ever.
    """
    np.empty((16 << 20) - (64 << 10), np.uint8)


def build_detector(
    recipe: Recipe,
    scorer: Scorer,
    bundle: BundleReference,
    model_rows_max: int = WINDOWS_MAX,
    keys_max: int = KEYS_MAX,
    features: Features | None = None,
) -> WindowDetector | SampleDetector:
    """Return the detector that a recipe describes, with any scorer.

    Parameters
    ----------
    recipe
        Says what a record is, how windows are cut, and when alerts open and close.
    scorer
        Turns windows of the recipe's shape into scores.
    bundle
        Name and version of what scores, for the alerts.
    model_rows_max
        Most windows in one call of the scorer.
    keys_max
        Most keys with state in one partition, where records are samples.
    features
        Names of the features; None generates them.
    """
    window, alerting = recipe.window, recipe.alerting
    features = features or Features.generated(window.features)
    mapping = open_mapping(recipe.input, features.names)
    rules = alerting.business_rules(features)
    rules_digest = None if rules is None else alerting.digest
    if window.record == "samples":
        return SampleDetector(
            bundle=bundle,
            scorer=scorer,
            windows=recipe.live_rules,
            alerting=alerting.rules,
            features=features,
            model_rows_max=model_rows_max,
            keys_max=keys_max,
            mapping=mapping,
            rhythm=scorer.checks.rhythm_check if isinstance(scorer, CheckScorer) else None,
            rules=rules,
            rules_digest=rules_digest,
        )
    return WindowDetector(
        bundle=bundle,
        scorer=scorer,
        shape=(window.steps, window.features),
        sample_interval_ms=window.sample_interval_ms,
        severities=alerting.levels,
        features=features,
        model_rows_max=model_rows_max,
        image=window.image,
        mapping=mapping,
        incident_within_ms=alerting.rules.incident_within_ms,
        rules=rules,
        rules_digest=rules_digest,
    )


def open_parts(path: AnyPath) -> ServedParts:
    """Read a bundle, load its encoder and decoder with Keras and run its self-test.

    Raises
    ------
    BundleError
        If the bundle is missing, changed, made for something else or fails its self-test, or its
        network has no encoder of its own.
    ConfigError
        If Keras is not installed.
    """
    bundle = read_bundle(path)
    parts = load_parts(bundle)
    bundle.check_self_test(parts.reconstruct)
    return ServedParts(bundle, parts)


def load_parts(bundle: Bundle) -> "AutoencoderParts":
    """Load the encoder and the decoder of a bundle's network with Keras.

    Raises
    ------
    BundleMismatchError
        If the network has no encoder of its own.
    ConfigError
        If Keras is not installed.
    """
    from stream_detector.engines.keras import load_parts as load

    return load(bundle.network_keras, bundle.manifest.n_steps, bundle.manifest.n_features)


def make_service(served: Served, settings: DetectSettings, metrics: "Metrics") -> "Service":
    """Connect to Kafka as the settings say and return the service that runs the detector."""
    from stream_detector.service import Service

    client = connect_to_detect(settings, served.bundle.reference.name)
    schemas = make_schemas(settings, served.detector)
    schemas.register_alerts()
    detector = with_details(served.detector, settings)
    return Service(client, detector, settings, metrics, SystemClock(), schemas)


def with_details(detector: Detector, settings: DetectSettings) -> Detector:
    """Return the detector, whose steps say what scores are made of if these are published."""
    if settings.scores_topic is not None and isinstance(detector, WindowDetector | SampleDetector):
        return replace(detector, gives_details=True)
    return detector


def require_content_type(content_type: ContentType | None, served: Served) -> None:
    """Refuse a format that the records of a bundle cannot have.

    Raises
    ------
    ConfigError
        If they cannot: images for a bundle that takes none, or records of another program without
        an `[input]` that says how they are read.
    """
    bundle, detector = served.bundle, served.detector
    if content_type is None:
        return
    shape: RecordShape = bundle.manifest.recipe.window.record
    if detector.mapping is not None and shape != "image":
        shape = "mapped"
    known = [each for each in FORMATS if each.serves(shape)]
    if content_type not in [each.name for each in known]:
        names = " or ".join(each.name for each in known)
        message = (
            f"content_type: expected {names}, because bundle {bundle.path} takes no other records, "
            f"received {content_type!r}; leave it out, or give a bundle of such records or an "
            "[input] that reads them"
        )
        raise ConfigError(message)


def make_schemas(settings: DetectSettings, detector: Detector) -> SchemaSource:
    """Return where schemas of records come from and that of alerts goes to; asks nothing yet.

    Raises
    ------
    ConfigError
        If records name schemas and no registry is set, or a library for them is not installed.
    """
    is_image = isinstance(detector, WindowDetector) and detector.image is not None
    mapping = None if is_image else detector.mapping
    subject = f"{settings.alerts_topic}-value" if settings.alerts_format == "avro" else None
    return schemas_for(settings, mapping, settings.content_type, subject)


def schemas_for(
    settings: ConnectionSettings,
    mapping: InputMapping | None = None,
    content_type: ContentType | None = None,
    alerts_subject: str | None = None,
) -> SchemaSource:
    """Return where the schemas come from that records name which are read by a mapping.

    Parameters
    ----------
    settings
        Where the registry is.
    mapping
        How records are read; None where these have no schemas.
    content_type
        Format of records whose headers name none; None takes that of the mapping.
    alerts_subject
        Name under which the schema of alerts is registered; None for alerts as JSON.

    Raises
    ------
    ConfigError
        As in `make_schemas`.
    """
    name = None
    if mapping is not None and mapping.schema is None:  # else no record names its schema
        name = content_type or mapping.format
    schema_type = "" if name is None else find_format(name, "mapped").schema_type
    if settings.schema_registry_url is None and not schema_type:
        return NoSchemas()
    from stream_detector.schemas.registry import SchemaRegistry
    from stream_detector.schemas.source import RegistrySchemas, require_libraries

    require_libraries(schema_type)
    return RegistrySchemas(SchemaRegistry(settings), name, alerts_subject)


def connect_to_detect(settings: DetectSettings, bundle_name: str) -> Client:
    """Return a client that reads the input topic in the group and delivers as the settings say."""
    from stream_detector.clients import connect

    group = settings.group_of(bundle_name)
    name = settings.instance_id or uuid.uuid4().hex
    is_exact = settings.delivery == "exactly_once"
    return connect(
        settings,
        topics=[settings.input_topic],
        group=group,
        offset_reset=settings.offset_reset,
        transactional_id=f"{group}-{name}" if is_exact else None,
        instance_id=settings.instance_id if settings.static_membership else None,
    )


def connect_reader(
    settings: ConnectionSettings,
    topic: str,
    offset_reset: Literal["earliest", "latest"] = "earliest",
) -> Client:
    """Return a client that reads every partition of a topic, in no group.

    Parameters
    ----------
    settings
        How to reach Kafka, and with which library.
    topic
        What to read.
    offset_reset
        Where reading starts: at the earliest record kept, or with the next one written.
    """
    from stream_detector.clients import connect

    return connect(settings, topics=[topic], offset_reset=offset_reset)


def connect_to_route(
    settings: ConnectionSettings,
    topic: str,
    group: str,
    offset_reset: Literal["earliest", "latest"] = "earliest",
) -> Client:
    """Return a client that reads a topic of alerts as a member of a group, and writes.

    Parameters
    ----------
    settings
        How to reach Kafka, and with which library.
    topic
        What to read.
    group
        Consumer group of a route.
    offset_reset
        Where reading starts without a committed offset.
    """
    from stream_detector.clients import connect

    return connect(settings, topics=[topic], group=group, offset_reset=offset_reset)


def connect_writer(settings: ConnectionSettings) -> Client:
    """Return a client that only produces."""
    from stream_detector.clients import connect

    return connect(settings)


def embedded_broker(port: int | None = None) -> "EmbeddedBroker":
    """Return the broker that runs in this process, not started yet; enter it to start it.

    Parameters
    ----------
    port
        Port on 127.0.0.1 to listen on; 0 or None takes a free one.
    """
    from stream_detector.clients.embedded import EmbeddedBroker

    return EmbeddedBroker(port=port)


def require_topic(client: Client, topic: str, bootstrap_servers: str) -> None:
    """Refuse a topic that does not exist.

    Raises
    ------
    BrokerError
        If it does not; the message has the command that creates it.
    """
    if client.n_partitions(topic) == 0:
        raise missing_topics(bootstrap_servers, [topic])


def _load_network(bundle: Bundle, engine: EngineName) -> Reconstruct:
    """Return the bundle's network, run by an engine."""
    n_steps, n_features = bundle.manifest.n_steps, bundle.manifest.n_features
    if engine == "onnx":
        from stream_detector.engines.onnx import load_onnx

        return load_onnx(bundle.network_onnx, n_steps, n_features)
    from stream_detector.engines.keras import load_keras

    return load_keras(bundle.network_keras, n_steps, n_features)
