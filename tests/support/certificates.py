"""Certificates of the tests' own, made by `openssl` (3.0 or newer) for one run."""

import shutil
import subprocess
from pathlib import Path

USER = "detector"
KEY_PASSWORD = "marker-key-password"


class Certificates:
    """A certificate authority, the broker's certificate and a client's, in PEM files.

    The broker's is for 127.0.0.1 and for no other name; the client's key has a password.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "ca.pem"
        self.other_authority = folder / "other-ca.pem"
        self.client, self.client_key = folder / "client.pem", folder / "client.key"
        self.broker_store = folder / "broker-store.pem"
        for path in (self.authority, self.other_authority):
            _openssl(
                *("req", "-x509", "-subj", "/CN=test authority", "-days", "2", "-out", path),
                *("-keyout", path.with_suffix(".key"), *_NEW_KEY, "-noenc"),
            )
        broker, broker_key = folder / "broker.pem", folder / "broker.key"
        self._sign("broker", broker, broker_key, "subjectAltName=IP:127.0.0.1", "-noenc")
        self.broker_store.write_text(broker_key.read_text() + broker.read_text())
        password = ("-passout", f"pass:{KEY_PASSWORD}")
        usage = "extendedKeyUsage=clientAuth"
        self._sign(USER, self.client, self.client_key, usage, *password)

    def _sign(self, name: str, certificate: Path, key: Path, extension: str, *how: str) -> None:
        """Make a key and a certificate for it by the authority."""
        _openssl(
            *("req", "-x509", "-subj", f"/CN={name}", "-days", "2", "-out", certificate),
            *("-CA", self.authority, "-CAkey", self.authority.with_suffix(".key")),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", extension),
            *("-keyout", key, *_NEW_KEY, *how),
        )


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def find_missing_tool() -> str | None:
    """Return what certificates lack on this machine, None where it has all."""
    return None if shutil.which("openssl") else "certificates need openssl on PATH"


def _openssl(*arguments: object) -> None:
    """Run the program; fails with its own words."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
