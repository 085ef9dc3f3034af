"""A Schema Registry, asked over HTTP: schemas by id, and the id of a schema of ours.

Sources, as read: Confluent, "Schema Registry API Reference", sections "Schemas" and "Subjects"; the
same paths and error codes are those of Karapace, Redpanda and Apicurio (`/apis/ccompat/v7`).
"""

import base64
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from stream_detector.errors import (
    ConfigError,
    SchemaRegistryError,
    SchemaRegistryUnavailableError,
)
from stream_detector.recipes.input import SCHEMA_BYTES_MAX
from stream_detector.settings import ConnectionSettings
from stream_detector.text import printable, shorten

ANSWER_BYTES_MAX = 2 * SCHEMA_BYTES_MAX
"""Longest answer that is read: a schema is text within JSON."""

REFERENCES_MAX = 64
"""Most schemas that one schema uses."""

_TIMEOUT_S = 10.0
"""Longest time that an answer may take."""

_CHUNK_BYTES = 65_536

_REFUSED_LOGIN = (401, 403)
_TRY_LATER = (408, 425, 429)
_SERVER_ERROR = 500
_UNKNOWN = range(40_400, 40_500)
"""What a registry's own code of an error is where it has no such schema; a web server has none."""

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


class RegisteredSchema(NamedTuple):
    """A schema as a registry has it.

    Parameters
    ----------
    type
        AVRO, PROTOBUF or JSON.
    text
        The schema.
    references
        Names and texts of schemas that it uses, each after those that it uses itself.
    """

    type: str
    text: str
    references: Sequence[tuple[str, str]] = ()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: a login must not go to another host."""

    def redirect_request(self, *arguments: object, **named: object) -> None:
        """Return None, which makes an error of it."""
        del arguments, named


class SchemaRegistry:
    """Asks a Schema Registry; nothing is kept.

    Parameters
    ----------
    settings
        Address, login and certificate authorities.
    monotonic_s
        Seconds that never go backwards.

    Raises
    ------
    ConfigError
        If no address is set, or the certificate authorities cannot be read.
    """

    def __init__(
        self, settings: ConnectionSettings, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        if settings.schema_registry_url is None:
            message = (
                "schema_registry_url: expected the address of the Schema Registry that has the "
                "schemas, received none; set it, or input.avro_schema or input.protobuf_schema for "
                "records that name none"
            )
            raise ConfigError(message)
        self._urls = [each.strip().rstrip("/") for each in settings.schema_registry_url.split(",")]
        self._monotonic_s = monotonic_s
        self._headers = {"Accept": f"{_MEDIA_TYPE}, application/json"}
        if settings.schema_registry_username is not None:
            secret = settings.schema_registry_password
            password = "" if secret is None else secret.get_secret_value()
            login = f"{settings.schema_registry_username}:{password}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        cafile = settings.schema_registry_cafile
        try:
            context = ssl.create_default_context(cafile=cafile)
        except (OSError, ssl.SSLError) as error:
            message = f"schema_registry_cafile {cafile} cannot be read: {error}"
            raise ConfigError(message) from None
        handler = urllib.request.HTTPSHandler(context=context)
        self._opener = urllib.request.build_opener(handler, _NoRedirect)

    def find(self, schema_id: int | str) -> RegisteredSchema | str:
        """Return a schema, or why the registry has none.

        Parameters
        ----------
        schema_id
            Its number, or its GUID.

        Raises
        ------
        SchemaRegistryUnavailableError
            If the registry does not answer.
        SchemaRegistryError
            If it refuses, or is no registry.
        """
        kind = "guids" if isinstance(schema_id, str) else "ids"
        answer = self._ask(f"/schemas/{kind}/{schema_id}")
        if isinstance(answer, str):
            return answer
        references: dict[tuple[str, int], tuple[str, str]] = {}
        try:
            missing = self._add_references(answer, references, 0)
        except (LookupError, TypeError, ValueError) as error:
            message = f"schema registry: expected references of schema {schema_id}: {error!r}"
            raise SchemaRegistryError(shorten(printable(message))) from None
        if missing is not None:
            return missing
        text, kind = _text(answer, "schema"), str(answer.get("schemaType") or "AVRO")
        return RegisteredSchema(kind, text, list(references.values()))

    def register(self, subject: str, text: str) -> int:
        """Return the id of an Avro schema, which is registered if it is new.

        Parameters
        ----------
        subject
            Under which name: that of the topic with `-value`, as Kafka's serialisers have it.
        text
            The schema.

        Raises
        ------
        SchemaRegistryUnavailableError
            If the registry does not answer.
        SchemaRegistryError
            If it refuses, for example because the schema is not compatible with the one before.
        """
        body = orjson.dumps({"schema": text, "schemaType": "AVRO"})
        answer = self._ask(f"/subjects/{quote(subject, safe='')}/versions", body)
        number = None if isinstance(answer, str) else answer.get("id")
        if type(number) is not int:
            message = f"schema registry: expected the id of {subject}, received {answer!r}"
            raise SchemaRegistryError(shorten(printable(message)))
        return number

    def _add_references(
        self, answer: dict[str, Any], found: dict[tuple[str, int], tuple[str, str]], depth: int
    ) -> str | None:
        """Add the schemas that one uses, in order, in place; return why one of them is missing."""
        for each in answer.get("references") or ():
            place = (str(each["subject"]), int(each["version"]))
            if place in found:
                continue
            if depth >= REFERENCES_MAX or len(found) >= REFERENCES_MAX:
                return f"it uses more than {REFERENCES_MAX} other schemas"
            used = self._ask(f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}")
            if isinstance(used, str):
                return f"it uses {place[0]} in version {place[1]}: {used}"
            missing = self._add_references(used, found, depth + 1)
            if missing is not None:
                return missing
            found[place] = (str(each["name"]), _text(used, "schema"))
        return None

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any] | str:
        """Return an answer as JSON, or in words that what was asked for is unknown."""
        problem = ""
        for url in self._urls:
            request = urllib.request.Request(url + path, data=body, headers=self._headers)  # noqa: S310
            if body is not None:
                request.add_header("Content-Type", _MEDIA_TYPE)
            try:
                answer = self._read(request)
                if isinstance(answer, dict):
                    return answer
                message = f"schema registry {url}: expected an object, received {answer!r}"
                raise SchemaRegistryError(shorten(printable(message)))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code < _SERVER_ERROR and error.code not in _TRY_LATER:
                        return self._refusal(url, error)
                problem = f"{url} answers {error.code} {error.reason}"
            except (http.client.HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    message = (
                        f"schema registry {url}: its certificate is not trusted: {reason}; see "
                        "schema_registry_cafile"
                    )
                    raise SchemaRegistryError(shorten(printable(message))) from None
                problem = f"{url}: {reason or type(error).__name__}"
        message = f"schema registry does not answer: {problem}"
        raise SchemaRegistryUnavailableError(shorten(printable(message)))

    def _refusal(self, url: str, error: urllib.error.HTTPError) -> str:
        """Return why a registry has not what it was asked for.

        A record may name anything, and must not end a run by that: what a registry makes of it is
        taken as no, in whatever way it says so.

        Raises
        ------
        SchemaRegistryError
            If it refuses whatever it is asked for, or is no registry.
        """
        code, text = _said(error)
        if error.code in _REFUSED_LOGIN:
            hint = "see schema_registry_username and schema_registry_password"
        elif code in _UNKNOWN or self._is_registry(url):
            return f"the registry says: {text}"
        else:
            hint = "see schema_registry_url"
        message = f"schema registry {url} refuses with {text}; {hint}"
        raise SchemaRegistryError(shorten(printable(message))) from None

    def _is_registry(self, url: str) -> bool:
        """Return whether an address answers as a registry does."""
        request = urllib.request.Request(url + "/schemas/types", headers=self._headers)  # noqa: S310
        try:
            return isinstance(self._read(request), list)
        except (SchemaRegistryError, http.client.HTTPException, OSError):
            return False

    def _read(self, request: urllib.request.Request) -> Any:
        """Return the whole answer to a request."""
        deadline_s = self._monotonic_s() + _TIMEOUT_S
        content = bytearray()
        with self._opener.open(request, timeout=_TIMEOUT_S) as response:
            while chunk := response.read1(_CHUNK_BYTES):
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    message = (
                        f"schema registry: expected at most {ANSWER_BYTES_MAX:,} bytes at "
                        f"{request.full_url}, received more"
                    )
                    raise SchemaRegistryError(message)
                if self._monotonic_s() > deadline_s:
                    message = f"the answer takes longer than {_TIMEOUT_S:g} s"
                    raise TimeoutError(message)
        try:
            return orjson.loads(content)
        except ValueError:
            message = (
                f"schema registry: expected JSON at {request.full_url}, received "
                f"{bytes(content[:80])!r}; see schema_registry_url"
            )
            raise SchemaRegistryError(message) from None


def _said(error: urllib.error.HTTPError) -> tuple[int, str]:
    """Return the code and the message of a registry, 0 and what there is from another server."""
    content = error.read(_CHUNK_BYTES)
    try:
        said = orjson.loads(content)
        code, text = said["error_code"], str(said["message"])
    except (ValueError, TypeError, LookupError):
        code, text = 0, content[:200].decode(errors="backslashreplace")
    return code, f"{error.code} {text}"


def _text(answer: dict[str, Any], name: str) -> str:
    """Return a text of an answer."""
    found = answer.get(name)
    if not isinstance(found, str):
        message = f"schema registry: expected the text {name}, received {found!r}; is it one?"
        raise SchemaRegistryError(shorten(printable(message)))
    return found
