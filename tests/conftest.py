"""Fixtures that several kinds of tests use: a real Kafka, and topics on it."""

import gc
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

# More modules are run at a time than there are processors. The threads of NumPy's matrix products
# wait for each other by counting: with one each they take half of the time. Programs inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Trio would be loaded with Hypothesis, which would seed its generator: no test draws from that one.
# And of generators that are frozen (`quick_collection`) Hypothesis warns that nothing holds them.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")

import local_kafka
import quick_collection
import shared_kafka
from certificates import Certificates, find_missing_tool
from local_registry import LocalRegistry, LocalRegistryError

if TYPE_CHECKING:
    from alertmanager import Alertmanager
    from selenium.webdriver import Chrome

DOCKER_IMAGE = "confluentinc/cp-kafka:7.9.1"  # Apache Kafka 3.9 in KRaft mode

MakeTopic = Callable[..., str]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(quick_collection)
    if not hasattr(config, "workerinput"):  # not one of several processes, but their controller
        shared_kafka.begin_run()
    for expected in (
        # kafka-python reads its message schemas this way when it is imported.
        "ignore:(read|open)_text is deprecated:DeprecationWarning",
        # apprise looks for a module of the standard library that newer versions of Python lack.
        "ignore:'imghdr' is deprecated:DeprecationWarning",
        # kafka-python leaves the sockets of connections that failed, or that were being made when
        # it was closed, to the garbage collector.
        r"ignore:Exception ignored in. <socket.*('0\.0\.0\.0'|raddr=)"
        ":pytest.PytestUnraisableExceptionWarning",
    ):
        config.addinivalue_line("filterwarnings", expected)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared_kafka.end_run()


# The modules that take longest. Half of their time is waiting, for brokers above all, so those that
# wait and those that compute alternate.
LONGEST = (
    "docs/test_pages.py",
    "integration/test_faults.py",
    "unit/training/test_train.py",
    "integration/test_main_job.py",
    "integration/test_spark.py",
    "integration/test_poison.py",
    "integration/test_client_traps.py",
    "unit/recipes/test_models.py",
    "integration/test_causes.py",
    "recovery/test_delivery.py",
    "contracts/test_partitions.py",
    "integration/test_samples.py",
    "unit/networks/test_networks.py",
    "integration/test_unreadable.py",
    "integration/test_spark_tables.py",
    "integration/test_takeover.py",
    "contracts/test_engines.py",
    "integration/test_security.py",
    "contracts/test_clients.py",
    "properties/test_restore.py",
    "integration/test_workers.py",
    "fuzz/test_fuzz.py",
    "contracts/test_transactions.py",
    "properties/test_windows.py",
    "integration/test_codecs.py",
    "integration/test_doctor.py",
    "properties/test_peak_windows.py",
    "integration/test_terminal.py",
    "unit/report/test_report.py",
    "integration/test_start.py",
    "properties/test_new_keys.py",
    "contracts/test_closing.py",
    "unit/estimator/test_detector.py",
    "integration/test_score_stream.py",
    "integration/test_console.py",
    "integration/test_poll_bytes.py",
    "integration/test_dead_letters.py",
    "unit/cli/test_init.py",
    "integration/test_route.py",
    "recovery/test_takeover.py",
    "integration/test_soak.py",
    "properties/test_sample_detector.py",
    "integration/test_access_rights.py",
    "unit/training/test_devices.py",
    "unit/web/test_connections.py",
    "recovery/test_holding.py",
    "integration/test_images.py",
    "properties/test_series_health.py",
    "integration/test_prometheus.py",
    "docs/test_readme.py",
    "integration/test_registry.py",
    "unit/cli/test_workers.py",
    "unit/report/test_stream_report.py",
    "integration/test_health.py",
    "unit/cli/test_left_out.py",
    "contracts/test_refusals.py",
    "unit/core/test_rhythm_detector.py",
    "integration/test_input.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest: pytest-xdist gives out modules in this order."""
    folder = Path(__file__).parent
    order = {folder / name: place for place, name in enumerate(LONGEST)}
    if missing := [str(path) for path in order if not path.is_file()]:
        message = f"LONGEST names modules that are gone: {', '.join(missing)}"
        raise pytest.UsageError(message)
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a real Apache Kafka.

    From KAFKA_BOOTSTRAP_SERVERS, else Docker, else a Java process, which all processes of a run
    share. With none of them tests are skipped on a person's machine and fail in CI.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    if _docker_answers():
        yield from _kafka_in_docker()
        return
    try:
        address = shared_kafka.shared_kafka()
    except local_kafka.LocalKafkaError as error:
        reason = f"no Kafka: KAFKA_BOOTSTRAP_SERVERS is not set, no Docker answers, and {error}"
        _skip_or_fail(reason)
    else:
        yield address


@pytest.fixture(scope="module")
def mortal_kafka() -> Iterator[local_kafka.LocalKafka]:
    """A broker of the module's own, to be killed and paused. Needs Java and Maven."""
    try:
        broker = local_kafka.LocalKafka().__enter__()
    except local_kafka.LocalKafkaError as error:
        _skip_or_fail(str(error))
    else:
        yield broker
        broker.close()


@pytest.fixture
def own_kafka(mortal_kafka: local_kafka.LocalKafka) -> local_kafka.LocalKafka:
    """The same, and it serves, whatever the test before did to it."""
    mortal_kafka.revive()
    return mortal_kafka


@pytest.fixture(scope="session")
def registry() -> Iterator[LocalRegistry]:
    """A real Schema Registry. Needs Java and Maven."""
    try:
        found = LocalRegistry().__enter__()
    except LocalRegistryError as error:
        _skip_or_fail(str(error))
    else:
        yield found
        found.close()


@pytest.fixture(scope="session")
def prometheus_tools() -> None:
    """Prometheus and its promtool, as Debian's package `prometheus` has them."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        _skip_or_fail(f"needs {' and '.join(missing)} on PATH")


@pytest.fixture(scope="session")
def alertmanager_tools() -> None:
    """Alertmanager and its amtool, as Debian's package `prometheus-alertmanager` has them."""
    missing = [name for name in ("prometheus-alertmanager", "amtool") if shutil.which(name) is None]
    if missing:
        _skip_or_fail(f"needs {' and '.join(missing)} on PATH")


@pytest.fixture(scope="module")
def alertmanager(
    alertmanager_tools: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Alertmanager"]:
    """A real Alertmanager."""
    from alertmanager import running_alertmanager

    del alertmanager_tools
    with running_alertmanager(tmp_path_factory.mktemp("alertmanager")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator["Chrome"]:
    """A Chromium without a window. Needs one, and its driver."""
    from browser import NoBrowserError, open_browser

    try:
        opened = open_browser()
        found = opened.__enter__()
    except NoBrowserError as error:
        _skip_or_fail(str(error))
    else:
        yield found
        opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority of the tests' own."""
    missing = find_missing_tool()
    if missing:
        _skip_or_fail(missing)
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure_kafka(certificates: Certificates) -> Iterator[local_kafka.LocalKafka]:
    """A broker with TLS, SASL, an authoriser and three topics. Needs Java, Maven and openssl."""
    from secure_kafka import TOPICS, SecureKafka

    try:
        broker = SecureKafka(certificates).__enter__()
    except local_kafka.LocalKafkaError as error:
        _skip_or_fail(str(error))
    else:
        broker.create_topics(*TOPICS)
        yield broker
        broker.close()


@pytest.fixture
def topics(kafka: str) -> Iterator[MakeTopic]:
    """Make topics with names of their own: `topics(n_partitions=4, **settings)` gives a name."""
    with topic_factory(kafka) as make:
        yield make


@pytest.fixture(scope="module")
def module_topics(kafka: str) -> Iterator[MakeTopic]:
    """The same, for topics of a whole module."""
    with topic_factory(kafka) as make:
        yield make


class topic_factory:
    """Make topics on a broker and delete them in the end."""

    def __init__(self, bootstrap_servers: str) -> None:
        import kafka as kafka_python

        self._admin = kafka_python.KafkaAdminClient(bootstrap_servers=bootstrap_servers)
        self._names: list[str] = []

    def __enter__(self) -> MakeTopic:
        return self._make

    def __exit__(self, *details: object) -> None:
        try:
            if self._names:
                self._admin.delete_topics(self._names, raise_errors=False)
        finally:
            self._admin.close()

    def _make(self, n_partitions: int = 1, **settings: str) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        configs = {key.replace("_", "."): value for key, value in settings.items()}
        self._admin.create_topics(
            {name: {"num_partitions": n_partitions, "replication_factor": 1, "configs": configs}},
            wait_for_metadata=True,
        )
        self._names.append(name)
        return name


def _docker_answers() -> bool:
    import docker

    # Where no engine answers the library leaves a socket behind: collect it here, unseen.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=2)
            try:
                return bool(client.ping())
            finally:
                client.close()
        except docker.errors.DockerException:
            return False
        finally:
            gc.collect()


def _kafka_in_docker() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer(DOCKER_IMAGE).with_kraft()
    for name, value in {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }.items():
        container.with_env(name, value)
    with container:
        address = container.get_bootstrap_server()
        local_kafka.check_serving(address, local_kafka.START_TIMEOUT_S)
        yield address


def _skip_or_fail(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
