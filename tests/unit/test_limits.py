"""What a process lacks itself is told from the faults of a broker, with every client."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from stream_detector.clients import _errors
from stream_detector.errors import BrokerError
from stream_detector.limits import own_shortage

EMFILE, ENFILE, EACCES = (
    OSError(each, os.strerror(each)) for each in (errno.EMFILE, errno.ENFILE, errno.EACCES)
)

CONNECT = """
import os, resource, sys
from stream_detector.clients import connect
from stream_detector.errors import BrokerError
from stream_detector.settings import ConnectionSettings, load_settings

more = {}
if sys.argv[2] == "TLS":
    more = {"security_protocol": "SSL", "ssl_cafile": sys.argv[3]}
settings = load_settings(
    ConnectionSettings, bootstrap_servers="127.0.0.1:1", client=sys.argv[1], **more
)
client = connect(settings, topics=["t"], group="g")
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
opened = []
try:
    while True:
        opened.append(open(os.devnull))
except OSError:
    pass
try:
    client.poll(1, 0)
except BrokerError as error:
    print(type(error).__name__, error.retriable, error)
"""
"""Connects with no file to open."""


@pytest.mark.parametrize("error", [EMFILE, ENFILE, str(EMFILE), f"connect failed: {EMFILE}"])
def test_too_many_files_are_named(error: object) -> None:
    assert "ulimit -n" in (own_shortage(error) or "")


@pytest.mark.parametrize("text", ["can't start new thread", "Failed to create thread: x"])
def test_too_many_threads_are_named(text: str) -> None:
    assert "ulimit -u" in (own_shortage(RuntimeError(text)) or "")


@pytest.mark.parametrize("error", [EACCES, "", "connection refused"])
def test_other_errors_are_no_shortage(error: object) -> None:
    assert own_shortage(error) is None


@pytest.mark.parametrize("build", [_errors.unavailable, _errors.refused])
def test_kafka_is_not_blamed_for_what_this_process_lacks(
    build: Callable[[str, object], BrokerError],
) -> None:
    own = build("kafka:9092", EMFILE)
    assert own.retriable
    assert "ulimit -n" in str(own)
    assert "refused" not in str(own)
    assert "ulimit" not in str(build("kafka:9092", EACCES))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits of descriptors")
@pytest.mark.parametrize("security", ["plain", "TLS"])
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_client_without_files_names_its_own_limit(client: str, security: str) -> None:
    if client == "confluent" and find_spec("confluent_kafka") is None:
        pytest.skip("needs the confluent extra")
    command = [sys.executable, "-c", CONNECT, client, security, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("BrokerUnavailableError True no connection"), done.stderr
    assert "open as it may (100); raise the limit with `ulimit -n`" in done.stdout
