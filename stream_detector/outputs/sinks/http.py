"""Send JSON over HTTP: no redirects, bounded answers, errors without secrets."""

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from stream_detector.errors import ConfigError
from stream_detector.outputs.sinks import SinkError
from stream_detector.text import printable, shorten

_REDIRECTS = range(300, 400)
_TRY_LATER = (408, 425, 429)
_SERVER_ERROR = 500
_ANSWER_BYTES_MAX = 2_048
_SHOWN_CHARACTERS_MAX = 256


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: a signature and a login must not go to another host."""

    def redirect_request(self, *arguments: object, **named: object) -> None:
        """Return None, which makes an error of it."""
        del arguments, named


class HttpPost:
    """Posts to one address.

    Parameters
    ----------
    url
        The address.
    timeout_s
        Longest wait for an answer.
    cafile
        PEM file of the certificate authorities to trust; None takes those of the system.
    headers
        Headers of each request; their values are never shown.

    Raises
    ------
    ConfigError
        If the certificate authorities cannot be read, or a header is none.
    """

    def __init__(
        self, url: str, timeout_s: float, cafile: str | None, headers: Mapping[str, str]
    ) -> None:
        self._url = url
        self._host = urlsplit(url).netloc
        self._timeout_s = timeout_s
        self._headers = dict(headers)
        if not all(each.isascii() and each.isprintable() for each in headers.values()):
            message = f"sink {self._host}: authorization: expected printable ASCII on one line"
            raise ConfigError(message)
        try:
            context = ssl.create_default_context(cafile=cafile)
        except (OSError, ssl.SSLError) as error:
            message = f"sink {self._host}: cafile {cafile} cannot be read: {error}"
            raise ConfigError(message) from None
        handler = urllib.request.HTTPSHandler(context=context)
        self._opener = urllib.request.build_opener(handler, _NoRedirect)

    def send(self, body: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Post a body, and return once it was taken with a status from 200 to 299.

        Raises
        ------
        SinkError
            If it may not have arrived; final where a status says that it never will.
        """
        own = {**self._headers, **(headers or {}), "Content-Type": media_type}
        request = urllib.request.Request(self._url, data=body, headers=own)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(_ANSWER_BYTES_MAX)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            text = str(reason) or type(error).__name__
            message = f"{self._host} does not answer: {shorten(printable(text))}"
            raise SinkError(message) from None

    def _refusal(self, error: urllib.error.HTTPError) -> SinkError:
        """Return the error for a status that is no success."""
        try:
            said = error.read(_ANSWER_BYTES_MAX).decode(errors="backslashreplace")
        except (http.client.HTTPException, OSError):
            said = ""
        said = shorten(printable(said.strip()), _SHOWN_CHARACTERS_MAX)
        if error.code in _REDIRECTS:
            said = "redirects are not followed, so give the address where it leads to"
        message = f"{self._host} answers {error.code}" + (f": {said}" if said else "")
        is_final = error.code < _SERVER_ERROR and error.code not in _TRY_LATER
        return SinkError(message, is_final=is_final)
