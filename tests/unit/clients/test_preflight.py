"""The first connection to a broker reports problems of files and TLS at once."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import KEY_PASSWORD, Certificates  # tests/support

from stream_detector.clients._preflight import check_connection, load_tls
from stream_detector.errors import BrokerUnavailableError, ConfigError
from stream_detector.settings import ConnectionSettings

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that reads once, answers with what it is given and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once(answer: bytes) -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        def start(answer: bytes) -> str:
            threading.Thread(target=answer_once, args=(answer,), daemon=True).start()
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield start


def tls(certificates: Certificates, **changes: object) -> ConnectionSettings:
    given = {
        "security_protocol": "SSL",
        "ssl_cafile": certificates.authority,
        "ssl_certfile": certificates.client,
        "ssl_keyfile": certificates.client_key,
        "ssl_key_password": KEY_PASSWORD,
    }
    return ConnectionSettings(**(given | changes))  # type: ignore[arg-type]


def test_matching_files_are_accepted(certificates: Certificates) -> None:
    assert load_tls(ConnectionSettings()) is None
    context = load_tls(tls(certificates))
    assert context is not None
    assert context.check_hostname
    unchecked = load_tls(tls(certificates, ssl_check_hostname=False))
    assert unchecked is not None
    assert not unchecked.check_hostname


@pytest.mark.parametrize("password", [None, "marker-other-password"])
def test_a_key_that_does_not_open_is_a_wrong_setting(
    password: str | None, certificates: Certificates
) -> None:
    # Without a password the library would ask for one on the terminal.
    with pytest.raises(ConfigError, match=r"ssl_keyfile = .*client\.key cannot be used") as caught:
        load_tls(tls(certificates, ssl_key_password=password))
    assert "marker" not in str(caught.value)


def test_a_key_of_another_certificate_is_a_wrong_setting(certificates: Certificates) -> None:
    other = certificates.authority.with_suffix(".key")
    with pytest.raises(ConfigError, match="key values mismatch"):
        load_tls(tls(certificates, ssl_keyfile=other))


@pytest.mark.parametrize(
    ("text", "words"), [(None, "No such file"), ("no certificate", "no certificate or crl found")]
)
def test_an_authority_that_cannot_be_read_is_a_wrong_setting(
    text: str | None, words: str, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"ssl_cafile = .*ca.pem cannot be used: {words}"):
        check_connection(tls(certificates, ssl_cafile=path))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_server_that_is_no_broker_is_retriable(answer: bytes, serve: Serve) -> None:
    settings = ConnectionSettings(bootstrap_servers=serve(answer))
    with pytest.raises(BrokerUnavailableError, match="security_protocol"):
        check_connection(settings)


def test_a_server_that_hangs_up_in_the_middle_of_tls_is_retriable(
    certificates: Certificates, serve: Serve
) -> None:
    with pytest.raises(BrokerUnavailableError, match="security_protocol"):
        check_connection(tls(certificates, bootstrap_servers=serve(b"")))


def test_the_next_server_is_asked_when_one_does_not_answer(serve: Serve) -> None:
    answer = b"\0\0\0\x10\0\0\0\1\0\0\0\0\0\1\0\x12\0\0\0\4"
    address = serve(answer)
    assert check_connection(ConnectionSettings(bootstrap_servers=f"127.0.0.1:1,{address}")) == 4
