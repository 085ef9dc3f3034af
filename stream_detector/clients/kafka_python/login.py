"""Log in to a broker with SASL by kafka-python's own codec, on a connection of ours."""

import socket
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

_ANSWER_BYTES_MAX = 64 * 1024


def log_in(connection: socket.socket, config: dict[str, Any]) -> None:
    """Log in, and raise what the broker says where it refuses.

    A broker that refuses a login says why and ends the connection. The library (3.0.12) drops
    what it reads together with an end, so that a wrong password looks like a broker that went
    away; and it tries again until its time is up.

    Parameters
    ----------
    connection
        Open, and nothing is awaited on it.
    config
        What `connection_config` gave.

    Raises
    ------
    kafka.errors.KafkaError
        If the broker refused.
    OSError
        If the connection ended without an answer.
    """
    protocol = KafkaProtocol(receive_message_max_bytes=_ANSWER_BYTES_MAX)
    name = config["sasl_mechanism"]
    offer = _ask(connection, protocol, SaslHandshakeRequest(mechanism=name, version=1))
    if offer.error_code:
        reason = f"{name}; this listener takes: {', '.join(offer.mechanisms) or 'none'}"
        raise kafka_errors.for_code(offer.error_code)(reason)
    mechanism = get_sasl_mechanism(name)(**config)
    while not mechanism.is_done():
        request = SaslAuthenticateRequest(mechanism.auth_bytes(), version=0)
        answer = _ask(connection, protocol, request)
        if answer.error_code:
            raise kafka_errors.SaslAuthenticationFailedError(answer.error_message)
        mechanism.receive(answer.auth_bytes)


def _ask(connection: socket.socket, protocol: KafkaProtocol, request: Any) -> Any:
    """Return the answer to a request."""
    protocol.send_request(request)
    connection.sendall(protocol.send_bytes())
    while True:
        data = connection.recv(_ANSWER_BYTES_MAX)
        if not data:
            message = "the broker ended the connection during the login"
            raise ConnectionError(message)
        for _, answer in protocol.receive_bytes(data):
            return answer
