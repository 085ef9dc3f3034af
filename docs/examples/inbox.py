"""Take webhooks of `route`, with their signatures checked, and mail: one line each, to a file.

python inbox.py SECRET_FILE [--http 8077] [--smtp 2525] >> inbox.txt
"""

import argparse
import asyncio
import hmac
import json
import re
import sys
from email import message_from_bytes, policy
from pathlib import Path

BODY_BYTES_MAX = 64 * 1024 * 1024


def say(line: str) -> None:
    """Print one line; what comes from elsewhere may hold anything."""
    sys.stdout.write((line if line.isprintable() else ascii(line)[1:-1]) + "\n")
    sys.stdout.flush()


async def take_webhook(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes
) -> None:
    """Answer one request: 200 where its signature is right, else 401."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(re.findall(r"^([^:\r\n]+): *([^\r\n]*)", head, re.MULTILINE))
    body = await reader.readexactly(min(int(fields.get("content-length", 0)), BODY_BYTES_MAX))
    signed = "sha256=" + hmac.digest(secret, body, "sha256").hex()
    is_ours = hmac.compare_digest(signed, fields.get("x-stream-detector-signature", ""))
    writer.write(f"HTTP/1.1 {'200 OK' if is_ours else '401 No'}\r\n".encode())
    writer.write(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()
    found = json.loads(body) if is_ours else []
    events = found if isinstance(found, list) else [found]
    keys = sorted({each["data"]["key"] for each in events})
    if len(keys) > 1:
        say(f"webhook {len(events)} events of {len(keys)} keys together: {', '.join(keys)}")
        return
    for each in events:
        say(f"webhook {each['type']} {each['data']['severity']} key {each['data']['key']}")


async def take_mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the mails of one connection (RFC 5321), and print their subjects."""
    writer.write(b"220 inbox\r\n")
    while line := (await reader.readline()).strip():
        word = line.split()[0].upper()
        if word == b"DATA":
            writer.write(b"354 go on\r\n")
            content = await reader.readuntil(b"\r\n.\r\n")
            mail = message_from_bytes(content, policy=policy.default)
            say(f"mail to {mail['To']}: {mail['Subject']}")
        writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
        await writer.drain()
        if word == b"QUIT":
            break
    writer.close()


async def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("secret", type=Path)
    parser.add_argument("--http", type=int, default=8077)
    parser.add_argument("--smtp", type=int, default=2525)
    given = parser.parse_args()
    secret = given.secret.read_text().strip("\r\n").encode()
    servers = [
        await asyncio.start_server(
            lambda *ends: take_webhook(*ends, secret), "127.0.0.1", given.http
        ),
        await asyncio.start_server(take_mail, "127.0.0.1", given.smtp),
    ]
    await asyncio.gather(*(each.serve_forever() for each in servers))


if __name__ == "__main__":
    asyncio.run(main())
