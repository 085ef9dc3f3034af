"""A mail server on loopback that keeps what it is sent (RFC 5321, as far as clients need it)."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Mailbox:
    """What came.

    Attributes
    ----------
    port
        Where it listens.
    mails
        What was taken.
    refuses
        Whether it takes no mail now.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refuses: bool = False


@contextmanager
def receiving_mail() -> Iterator[Mailbox]:
    """Serve while the block lasts."""
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 box\r\n")
            while line := self.rfile.readline().strip():
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    content = b""
                    while not content.endswith(b"\r\n.\r\n"):
                        content += self.rfile.readline()
                    box.mails.append(message_from_bytes(content[:-3], policy=policy.default))
                if word == b"MAIL" and box.refuses:
                    self.wfile.write(b"451 later\r\n")
                else:
                    self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    box.port = server.server_address[1]
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
