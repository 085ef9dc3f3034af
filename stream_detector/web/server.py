"""Serve the page and read its topics, each in a thread, while a `with` block lasts."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from stream_detector.errors import ConfigError
from stream_detector.limits import own_shortage
from stream_detector.web.app import LivePage, make_app
from stream_detector.web.guards import LOOPBACK_NAMES, GuardedProtocol

WAIT_S = 5.0
"""How long an end may take; open pages are cut off."""

_BACKLOG = 256

_SEND_BYTES = 128 * 1_024
"""What the system holds of an answer that is not read yet, doubled by Linux; it would be megabytes
for each connection otherwise."""


@contextmanager
def serve(console: LivePage, host: str, port: int, password: str | None) -> Iterator[str]:
    """Serve the page and read its topics while the block lasts.

    Parameters
    ----------
    console
        What to serve, and what fills it.
    host, port
        Where; port 0 takes a free one.
    password
        What browsers must give; None only where `host` is this machine's own.

    Yields
    ------
    The page's address.

    Raises
    ------
    ConfigError
        If the address cannot be bound, or a password is missing.
    """
    if password is None and host not in LOOPBACK_NAMES:
        message = (
            f"--host {host}: others could read the page; expected --password-file beside it, or "
            "127.0.0.1"
        )
        raise ConfigError(message)
    listener = _listen(host, port)
    config = uvicorn.Config(
        make_app(console, password),
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server, stop = uvicorn.Server(config), threading.Event()
    threads = [
        threading.Thread(target=server.run, args=([listener],), name="page", daemon=True),
        *(
            threading.Thread(target=each.run, args=(stop,), name=each.topic, daemon=True)
            for each in console.readers
        ),
    ]
    with ExitStack() as stack:
        stack.callback(listener.close)
        for each in threads:
            each.start()
            stack.callback(each.join, WAIT_S)
        stack.callback(stop.set)
        stack.callback(setattr, server, "should_exit", True)
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listener.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    ConfigError
        If the address cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        remedy = own_shortage(error) or "choose another --port or --host"
        message = f"the page cannot be served on {host}:{port}: {error.strerror}; {remedy}"
        raise ConfigError(message) from None
    return listener
