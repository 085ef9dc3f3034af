"""The file of routes: which alerts go where, read and checked before anything is sent."""

import os
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath, read_regular, read_toml
from stream_detector.outputs.routing.calendars import Calendar
from stream_detector.outputs.routing.matching import Match
from stream_detector.text import printable, shorten

ROUTES_MAX = 100
"""Most routes of a file; each has a thread and a connection of its own."""

SECRET_BYTES_MAX = 65_536

_PROBLEMS_MAX = 20
_DAY_S = 86_400.0

Seconds = Annotated[float, Field(gt=0, le=366 * _DAY_S, allow_inf_nan=False, strict=False)]


def _http_url(url: str) -> str:
    """Refuse what is no address of HTTP, and one with a login in it, which would be shown."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
        parts = urlsplit("")
    if not is_url or not url.isascii() or not url.isprintable() or " " in url:
        kind, message = "http_url", "Input should be http://HOST[:PORT][/PATH] or https://..."
        raise PydanticCustomError(kind, message)
    if "@" in parts.netloc:
        kind, message = "http_url", "Input should have no login; give authorization_file or _env"
        raise PydanticCustomError(kind, message)
    return url


HttpUrl = Annotated[str, Field(max_length=2_048), AfterValidator(_http_url)]


class _Part(BaseModel):
    """A table of the file; it is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BaseRoute(_Part):
    """What routes to every sink have in common."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="Name of the route; its consumer group is stream-detector-route-NAME",
    )
    match: Match = Field(default=Match(), description="Which alerts it takes; all if not given")
    quiet: list[str] = Field(
        default=[], max_length=100, description="Calendars in whose times it sends nothing"
    )
    start_at: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where a route that is new begins: with the oldest alert kept, or the next one",
    )

    @property
    def group(self) -> str:
        """Return its consumer group."""
        return f"stream-detector-route-{self.name}"


class EventRoute(BaseRoute):
    """What routes have in common whose sinks are sent events: opens, rises and closes."""

    repeat_interval_s: Seconds | None = Field(
        default=None,
        description="An alert that is still open is sent again so often; never if not given",
    )
    updates: bool = Field(
        default=False,
        description="Whether updates are sent whose severity is as before, too",
    )
    group_window_s: Seconds | None = Field(
        default=None,
        description="Events that come within so long after the first are sent together, those of "
        "an incident by themselves; each at once if not given",
    )
    rate_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Most deliveries in any 60 s; what comes meanwhile waits and is sent together",
    )
    attempts_max: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=20,
        description="Attempts to deliver, with growing waits of up to 60 s between them, after "
        "which events become dead letters: about a quarter of an hour",
    )


class _HttpKeys(_Part):
    """How to reach a sink over HTTP."""

    url: HttpUrl = Field(description="Address of the sink")
    authorization_file: str | None = Field(
        default=None, description="File with the value of the header `authorization`"
    )
    authorization_env: str | None = Field(
        default=None, description="Environment variable with it, instead of a file"
    )
    cafile: str | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust; those of the system if not "
        "given",
    )
    timeout_s: Seconds = Field(default=10.0, description="Longest wait for an answer")


class AlertmanagerRoute(BaseRoute, _HttpKeys):
    """Prometheus Alertmanager, by its API v2: open alerts fire, closed ones are resolved."""

    sink: Literal["alertmanager"]
    repeat_interval_s: Seconds = Field(
        default=60.0,
        description="An open alert is sent again so often, and at least once a minute; how often "
        "people hear of it is said by Alertmanager's own repeat_interval",
    )
    resolve_after_s: Seconds = Field(
        default=600.0,
        description="An alert about a record that is a whole window, which nothing closes, fires "
        "for so long",
    )
    labels: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = Field(
        default={}, max_length=32, description="Further labels of its alerts"
    )


class WebhookRoute(EventRoute, _HttpKeys):
    """Any HTTP address, which is sent CloudEvents as JSON."""

    sink: Literal["webhook"]
    secret_file: str | None = Field(
        default=None, description="File with the secret that signs the body (HMAC-SHA256)"
    )
    secret_env: str | None = Field(
        default=None, description="Environment variable with it, instead of a file"
    )


class AppriseRoute(EventRoute):
    """Mail, Slack, PagerDuty, Teams and all else that the library apprise reaches."""

    sink: Literal["apprise"]
    url_file: str | None = Field(
        default=None, description="File with apprise's address of the sink, which holds its secrets"
    )
    url_env: str | None = Field(
        default=None, description="Environment variable with it, instead of a file"
    )
    url: str | None = Field(
        default=None, max_length=4_096, description="The address itself, where it is no secret"
    )

    @model_validator(mode="after")
    def _require_url(self) -> "AppriseRoute":
        """Refuse a route without an address, or with several."""
        if sum(each is not None for each in (self.url, self.url_file, self.url_env)) != 1:
            kind, message = "url", "Input should have one of url, url_file and url_env"
            raise PydanticCustomError(kind, message)
        return self


Route = Annotated[AlertmanagerRoute | WebhookRoute | AppriseRoute, Field(discriminator="sink")]


class RouteFile(_Part):
    """All of a file of routes."""

    route: list[Route] = Field(min_length=1, max_length=ROUTES_MAX)
    calendar: list[Calendar] = Field(default=[], max_length=100)

    @model_validator(mode="after")
    def _check_names(self) -> "RouteFile":
        """Refuse names that are given twice, and calendars that are not there or of no route."""
        problems = [
            f"{kind} {name}: expected each name once"
            for kind, found in (("route", self.route), ("calendar", self.calendar))
            for name in _repeated([each.name for each in found])
        ]
        known = {each.name for each in self.calendar}
        problems += [
            f"route {each.name}: quiet names {name!r}, and there is no such calendar"
            for each in self.route
            for name in each.quiet
            if name not in known
        ]
        named = {name for each in self.route for name in each.quiet}
        problems += [
            f"calendar {name}: expected a route that names it in quiet, received none; remove it, "
            "or name it"
            for name in sorted(known - named)
        ]
        if problems:
            kind = "names"
            raise PydanticCustomError(kind, "{problems}", {"problems": "; ".join(problems)})
        return self

    def calendars_of(self, route: BaseRoute) -> list[Calendar]:
        """Return the calendars in whose times a route is quiet."""
        return [each for each in self.calendar if each.name in route.quiet]


def load_routes(path: AnyPath) -> RouteFile:
    """Read a file of routes.

    Raises
    ------
    ConfigError
        If it cannot be read, or anything in it is wrong; the message lists every problem, without
        values, which may be secrets.
    """
    try:
        values = read_toml(path)
    except (OSError, ValueError) as error:
        message = f"routes {path} cannot be read: {error}; give the path of a TOML file"
        raise ConfigError(message) from None
    try:
        return RouteFile.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [shorten(printable(_describe(each, values))) for each in found[:_PROBLEMS_MAX]]
        more = [f"and {len(found) - _PROBLEMS_MAX} more"] if len(found) > _PROBLEMS_MAX else []
        message = f"routes {path}: " + "; ".join([*problems, *more])
        raise ConfigError(message) from None


class Secret(NamedTuple):
    """Where a secret is: at most one of a file and a variable of the environment.

    Parameters
    ----------
    key
        Key of the route, such as `secret`, for messages.
    file
        Path of a file that holds it; a line's end after it does not count.
    variable
        Environment variable that holds it.
    """

    key: str
    file: str | None
    variable: str | None

    def read(self, route: str) -> str | None:
        """Return the secret; None where there is none.

        Raises
        ------
        ConfigError
            If both are given, or it is missing, empty or no text.
        """
        where = f"route {route}: {self.key}"
        if self.file is not None and self.variable is not None:
            message = f"{where}_file, {self.key}_env: expected one of them, received both"
            raise ConfigError(message)
        if self.variable is not None:
            found = os.environ.get(self.variable, "")
            where = f"{where}_env: the environment variable {self.variable}"
        elif self.file is not None:
            where = f"{where}_file {self.file}"
            try:
                found = read_regular(self.file, SECRET_BYTES_MAX).decode()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or type(error).__name__
                message = f"{where} cannot be read: {reason}"
                raise ConfigError(message) from None
        else:
            return None
        found = found.strip("\r\n")
        if not found:
            message = f"{where}: expected a text, received none"
            raise ConfigError(message)
        return found


def secrets_of(route: BaseRoute) -> list[Secret]:
    """Return where the secrets of a route are, those that it does not name included."""
    return [
        Secret(key, *(getattr(route, f"{key}_{place}", None) for place in ("file", "env")))
        for key in ("authorization", "secret", "url")
    ]


def _repeated(names: list[str]) -> list[str]:
    """Return the names that are given more than once."""
    return sorted({each for each in names if names.count(each) > 1})


def _describe(problem: Any, values: dict[str, Any]) -> str:
    """Return a problem with the place that a person finds: the name of the route, and the key."""
    place = list(problem["loc"])
    words = []
    if len(place) > 1 and isinstance(place[1], int):
        tables = values.get(str(place[0]))
        table = tables[place[1]] if isinstance(tables, list) else {}
        name = table.get("name") if isinstance(table, dict) else None
        words.append(f"{place[0]} {name if isinstance(name, str) else place[1] + 1}")
        place = place[2:]
        if place and isinstance(table, dict) and place[0] == table.get("sink"):
            place = place[1:]
    keys = ".".join(map(str, place))
    words += [keys] if keys else []
    is_unknown = problem["type"] == "extra_forbidden"
    return ": ".join([*words, "unknown key" if is_unknown else problem["msg"]])
