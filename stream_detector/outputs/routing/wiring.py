"""Make the routes that a file describes, and run each in a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from stream_detector.assembly import connect_reader, connect_to_route, schemas_for
from stream_detector.core.alerting.alert import Alert
from stream_detector.errors import ConfigError
from stream_detector.outputs.routing.calendars import Calendar
from stream_detector.outputs.routing.config import (
    AlertmanagerRoute,
    AppriseRoute,
    BaseRoute,
    EventRoute,
    RouteFile,
    Secret,
    WebhookRoute,
    secrets_of,
)
from stream_detector.outputs.routing.delivery import RouteContext
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.routing.runner import RouteRunner
from stream_detector.outputs.routing.silences import SilenceTopic
from stream_detector.outputs.routing.state import RouteState, Rules
from stream_detector.outputs.sinks import Sink
from stream_detector.outputs.sinks.alertmanager import PATH, AlertmanagerSink
from stream_detector.outputs.sinks.apprise import AppriseSink
from stream_detector.outputs.sinks.http import HttpPost
from stream_detector.outputs.sinks.webhook import WebhookSink
from stream_detector.ports import Clock, SystemClock
from stream_detector.settings import RouteSettings
from stream_detector.telemetry import RouteMetrics

TURN_S_MAX = 300.0
"""How long a turn of a route may take; the group then takes its partitions."""

_WATCH_S = 0.1


def make_sink(route: BaseRoute, clock: Clock) -> Sink:
    """Return where a route sends to; nothing is sent yet.

    Raises
    ------
    ConfigError
        If a secret or a library is missing, or an address is none.
    """
    if isinstance(route, AlertmanagerRoute):
        post = _http_post(route, f"{route.url.rstrip('/')}{PATH}")
        return AlertmanagerSink(
            post, clock.now_ms, route.repeat_interval_s, route.resolve_after_s, route.labels
        )
    if isinstance(route, WebhookRoute):
        secret = Secret("secret", route.secret_file, route.secret_env).read(route.name)
        return WebhookSink(_http_post(route, route.url), secret)
    assert isinstance(route, AppriseRoute)  # noqa: S101  (the last of the union)
    url = route.url or Secret("url", route.url_file, route.url_env).read(route.name) or ""
    return AppriseSink(route.name, url)


def sink_problems(file: RouteFile) -> list[str]:
    """Return what keeps routes of a file from sending.

    Secrets are read, and none is in a problem; no sink is reached.
    """
    clock, problems = SystemClock(), []
    for route in file.route:
        makers: list[Callable[[], object]] = [
            *(partial(each.read, route.name) for each in secrets_of(route)),
            partial(make_sink, route, clock),
        ]
        for make in makers:
            try:
                make()
            except ConfigError as error:
                problems.append(str(error))
    return list(dict.fromkeys(problems))  # a sink without its secret has the secret's problem


def _http_post(route: AlertmanagerRoute | WebhookRoute, url: str) -> HttpPost:
    """Return what posts to an address of a route."""
    secret = Secret("authorization", route.authorization_file, route.authorization_env)
    authorization = secret.read(route.name)
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        return HttpPost(url, route.timeout_s, route.cafile, headers)
    except ConfigError as error:
        message = f"route {route.name}: {error}"
        raise ConfigError(message) from None


def make_runner(
    route: BaseRoute, context: RouteContext, calendars: Sequence[Calendar]
) -> RouteRunner:
    """Return a route that has not begun.

    Parameters
    ----------
    route
        What it does.
    context
        What it works with.
    calendars
        In whose times it is quiet.
    """

    def why_held(alert: Alert) -> str | None:
        for each in calendars:
            if each.is_quiet(alert.event_time_ms):
                return f"calendar {each.name}"
        return None if context.silences is None else context.silences.book.why_held(alert)

    if isinstance(route, EventRoute):
        every_ms = None if route.repeat_interval_s is None else round(route.repeat_interval_s * 1e3)
        is_read = isinstance(route, AppriseRoute)  # by people; programs are told of each id
        rules = Rules(route.match, route.updates, every_ms, follows=is_read)
        outbox = Outbox(route.group_window_s or 0.0, route.rate_per_minute)
    else:
        rules, outbox = Rules(route.match), Outbox(is_together=True)
    return RouteRunner(context, RouteState(rules, why_held), outbox, why_held)


def make_runners(
    file: RouteFile, settings: RouteSettings, metrics: RouteMetrics
) -> list[RouteRunner]:
    """Return the routes of a file; each has a connection of its own, which is not made yet.

    Raises
    ------
    ConfigError
        As `make_sink`.
    """
    clock = SystemClock()
    topic = settings.silences_topic
    silences = SilenceTopic(topic, lambda: connect_reader(settings, topic), clock)
    sinks = [make_sink(route, clock) for route in file.route]
    return [
        make_runner(
            route,
            RouteContext(
                name=route.name,
                client=connect_to_route(
                    settings, settings.alerts_topic, route.group, route.start_at
                ),
                schemas=schemas_for(settings),
                sink=sink,
                clock=clock,
                metrics=metrics,
                attempts_max=route.attempts_max if isinstance(route, EventRoute) else None,
                dead_letter_topic=settings.dead_letter_topic,
                broker_timeout_s=settings.broker_timeout_s,
                silences=silences,
            ),
            file.calendars_of(route),
        )
        for route, sink in zip(file.route, sinks, strict=True)
    ]


class RouteThreads:
    """Routes that run side by side; where one fails for good, all end.

    Parameters
    ----------
    runners
        The routes.

    Attributes
    ----------
    stop
        Set it, and they end.
    """

    def __init__(self, runners: Sequence[RouteRunner]) -> None:
        self.stop = threading.Event()
        self._runners = runners

    def run(self, idle_s: float | None = None) -> None:
        """Run until `stop` is set, or no route has had anything to do for so long.

        Raises
        ------
        StreamDetectorError
            The first that ended a route.
        """
        with ThreadPoolExecutor(len(self._runners), "route") as pool:
            routes = [pool.submit(each.run, self.stop.is_set) for each in self._runners]
            while not self.stop.wait(_WATCH_S):
                is_idle = idle_s is not None and all(
                    each.idle_s >= idle_s for each in self._runners
                )
                if is_idle or any(each.done() for each in routes):
                    self.stop.set()
        for each in routes:
            each.result()


class RouteHealth:
    """Whether routes work, and whether each delivers, as they tell it themselves.

    Parameters
    ----------
    runners
        The routes.
    clock
        The time.
    """

    def __init__(self, runners: Sequence[RouteRunner], clock: Clock) -> None:
        self._runners = runners
        self._clock = clock

    def why_stuck(self) -> list[str]:
        """Return why the process should be started again; empty where it works."""
        now_s = self._clock.monotonic_s()
        since = [(each.name, now_s - each.turned_s) for each in self._runners]
        return [
            f"route {name}: expected a turn within {TURN_S_MAX:.0f} s, the last was {ago:.0f} s ago"
            for name, ago in since
            if ago > TURN_S_MAX
        ]

    def why_not_ready(self) -> list[str]:
        """Return which routes do not deliver; empty where all do."""
        now_s, problems = self._clock.monotonic_s(), []
        for each in self._runners:
            if not each.is_assigned:
                problems.append(f"route {each.name}: the group has assigned no partition")
            if each.deliverer.failing_since_s is not None:
                ago_s = now_s - each.deliverer.failing_since_s
                problems.append(f"route {each.name}: its sink has failed for {ago_s:.0f} s")
        return problems
