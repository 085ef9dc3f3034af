"""Connect to a broker once without a library, before a library connects.

The libraries keep retrying a broker whose certificate they refuse, and when their time is up they
do not say why. This check finds the cause at once, and words it in the same way for both.
"""

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_detector.clients import _errors, _limits
from stream_detector.errors import ConfigError, StreamDetectorError
from stream_detector.limits import own_shortage
from stream_detector.settings import ConnectionSettings

API_VERSIONS_MODERN = 3
"""Newest version of the ApiVersions request that brokers know since 2.4. librdkafka's mock cluster
knows an older one only."""

_DEFAULT_PORT = 9092

_API_VERSIONS_KEY = 18
# An ApiVersions request of version 0 with no client name: every broker understands it, and it is
# the only request that needs no login.
_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, _API_VERSIONS_KEY, 0, 1, -1)

# A connection that ends in the middle of TLS may be a broker that is stopping.
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def check_connection(
    settings: ConnectionSettings, log_in: Callable[[socket.socket], None] | None = None
) -> int:
    """Connect to the first bootstrap server that answers, over TLS where the settings say so.

    Parameters
    ----------
    settings
        How to reach Kafka.
    log_in
        Logs in on the open connection; an `OSError` from it counts as no answer.

    Returns
    -------
    The newest version of the ApiVersions request that the server knows.

    Raises
    ------
    ConfigError
        If a file of certificates or keys cannot be used.
    BrokerError
        If this side or the server refused TLS: trying again cannot help.
    BrokerUnavailableError
        If no bootstrap server answered.
    """
    servers = settings.bootstrap_servers
    context = load_tls(settings)
    failure: OSError = OSError("no bootstrap server given")
    for address in servers.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with _connect(
                host or address.strip(), int(port) if host else 9092, context
            ) as connection:
                newest = _newest_api_versions(connection)
                if log_in is not None:
                    log_in(connection)
                return newest
        except OSError as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, _ENDED):
                raise _errors.denied(servers, f"TLS failed: {_describe(error)}") from error
            failure = error
    raise _errors.unavailable(servers, f"no connection ({failure})") from failure


def load_tls(settings: ConnectionSettings) -> ssl.SSLContext | None:
    """Return the TLS context of the settings, None where they use no TLS; read the files.

    Raises
    ------
    ConfigError
        If a file cannot be read or has the wrong content. The message names the setting.
    BrokerUnavailableError
        If this process has too many files open.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.ssl_check_hostname
    try:
        if settings.ssl_cafile is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(settings.ssl_cafile)
    except OSError as error:
        raise _unusable(settings, error, ssl_cafile=settings.ssl_cafile) from None
    if settings.ssl_certfile is not None:
        password = settings.ssl_key_password
        # Without any password Python would ask for one on the terminal.
        secret = password.get_secret_value() if password is not None else ""
        try:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, secret)
        except OSError as error:
            files = {"ssl_certfile": settings.ssl_certfile, "ssl_keyfile": settings.ssl_keyfile}
            raise _unusable(settings, error, **files) from None
    return context


def _unusable(
    settings: ConnectionSettings, error: OSError, **files: Path | None
) -> StreamDetectorError:
    """Return the error for files of certificates or keys, which are given by setting."""
    if own_shortage(error) is not None:
        return _errors.unavailable(settings.bootstrap_servers, error)
    given = ", ".join(f"{name} = {path}" for name, path in files.items() if path is not None)
    message = (
        f"settings: {given} cannot be used: {_describe(error)}; expected PEM files, a key that "
        "fits its certificate, and in ssl_key_password what opens the key"
    )
    return ConfigError(message)


def _describe(error: OSError) -> str:
    """Return the cause, without the number of a line in Python's source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed, {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        known = error.reason and error.reason.replace("_", " ").lower()
        return known or "not PEM, or another password"
    return error.strerror or str(error)


@contextmanager
def _connect(host: str, port: int, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """Connect to a server, with TLS where there is a context."""
    name = host.strip("[]")
    with socket.create_connection((name, port), _limits.CONNECT_TIMEOUT_MS / 1000) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=name) as secured:
            yield secured


def _newest_api_versions(connection: socket.socket) -> int:
    """Ask a broker for the newest version of the ApiVersions request it knows."""
    connection.sendall(_API_VERSIONS_REQUEST)
    with connection.makefile("rb") as answer:
        head = answer.read(4)
        body = answer.read(struct.unpack(">i", head)[0]) if len(head) == 4 else b""  # noqa: PLR2004
    # Answer: correlation id, error code, number of entries, then (key, oldest, newest) of each.
    for key, _, newest in struct.iter_unpack(">hhh", body[10 : 10 + (len(body) - 10) // 6 * 6]):
        if key == _API_VERSIONS_KEY:
            return int(newest)
    message = "it does not answer as a Kafka broker does"
    raise ConnectionError(message)
