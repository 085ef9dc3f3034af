"""A secured Apache Kafka on loopback: TLS, SASL and the standard authoriser.

The administrator is whoever comes by the plain listener; everybody else needs an ACL.
"""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import kafka
from certificates import KEY_PASSWORD, USER, Certificates
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)
from local_kafka import VERSIONS, LocalKafka

from stream_detector.clients import connect
from stream_detector.core.records import OutputRecord
from stream_detector.settings import ConnectionSettings

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "how-to" / "security.md"
TOPICS = ("telemetry", "alerts", "dead-letters")
CLIENTS = ("kafka-python", "confluent")
PROTOCOLS = ("SASL_SSL", "SSL", "SASL_PLAINTEXT")
MARKER = "marker-"
"""Each secret begins with it."""
PASSWORD = "marker-user-password"

Settings = dict[str, str]

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
)
_SETTINGS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
    "listener.name.ssl.ssl.client.auth": "required",
} | {
    f"listener.name.{name}.{option}": value
    for name in ("sasl_ssl", "sasl_plaintext")
    for option, value in {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "scram-sha-512.sasl.jaas.config": _SCRAM,
        "plain.sasl.jaas.config": _PLAIN,
    }.items()
}


class Grant(NamedTuple):
    """One thing that `USER` may do, in the words of `kafka-acls.sh`.

    Parameters
    ----------
    operation
        `Read`, `Write`, ...
    kind
        `topic`, `group` or `transactional-id`.
    name
        Of the topic, group or id.
    pattern
        `literal` or `prefixed`.
    """

    operation: str
    kind: str
    name: str
    pattern: str = "literal"


class SecureKafka(LocalKafka):
    """A broker with a listener for each of `PROTOCOLS`, and what an administrator does there."""

    def __init__(self, certificates: Certificates, version: str = VERSIONS[0]) -> None:
        stores = {
            "ssl.keystore.location": str(certificates.broker_store),
            "ssl.truststore.location": str(certificates.authority),
        }
        super().__init__(version, _SETTINGS | stores, PROTOCOLS)
        self.certificates = certificates

    def start(self) -> None:
        super().start()
        with self._administrator() as admin:
            admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(USER, "SCRAM-SHA-512", PASSWORD)]
            )

    def sasl(self, **changes: str) -> Settings:
        """Return settings for SASL over TLS, with the given changes."""
        return {
            "bootstrap_servers": self.servers["SASL_SSL"],
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self.certificates.authority),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
        } | changes

    def mutual_tls(self, **changes: str) -> Settings:
        """Return settings for TLS with certificates on both sides, with the given changes."""
        return {
            "bootstrap_servers": self.servers["SSL"],
            "security_protocol": "SSL",
            "ssl_cafile": str(self.certificates.authority),
            "ssl_certfile": str(self.certificates.client),
            "ssl_keyfile": str(self.certificates.client_key),
            "ssl_key_password": KEY_PASSWORD,
        } | changes

    def create_topics(self, *names: str) -> None:
        """Make topics of one partition."""
        with self._administrator() as admin:
            admin.create_topics({name: {"num_partitions": 1} for name in names})

    def allow(self, *grants: Grant) -> None:
        """Let the user do these things and nothing else."""
        everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        of_all = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, everything)
        with self._administrator() as admin:
            admin.delete_acls([of_all])
            admin.create_acls([_acl(grant) for grant in grants])

    def _administrator(self) -> kafka.KafkaAdminClient:
        return kafka.KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)


def documented_grants() -> dict[str, list[Grant]]:
    """What docs/how-to/security.md lets each of its users do, read from its commands."""
    grants: dict[str, list[Grant]] = {}
    for line in re.findall(r"^kafka-acls\.sh .*$", DOCUMENTATION.read_text(), re.MULTILINE):
        pairs = list(pairwise(shlex.split(line)))
        given = dict(pairs)
        user = given["--allow-principal"].removeprefix("User:")
        pattern = given.get("--resource-pattern-type", "literal")
        grants.setdefault(user, []).extend(
            Grant(given["--operation"], flag.removeprefix("--"), name, pattern)
            for flag, name in pairs
            if flag in ("--topic", "--group", "--transactional-id")
        )
    return grants


GRANTS = documented_grants()
DETECT = [grant for grant in GRANTS["detector"] if grant.kind != "transactional-id"]


def write_one(client: str, settings: Settings, topic: str, **options: str | None) -> None:
    """Write one record that can not be used."""
    writer = connect(ConnectionSettings(client=client, **settings), **options)  # type: ignore[arg-type]
    try:
        writer.produce([OutputRecord(topic, b"one", b"not a window")])
        writer.flush(10_000)
    finally:
        writer.close()


def _acl(grant: Grant) -> ACL:
    """Return a grant as the library has it."""
    pattern = ResourcePattern(
        ResourceType[grant.kind.upper().replace("-", "_")],
        grant.name,
        ACLResourcePatternType[grant.pattern.upper()],
    )
    operation = ACLOperation[grant.operation.upper()]
    return ACL(f"User:{USER}", "*", operation, ACLPermissionType.ALLOW, pattern)
