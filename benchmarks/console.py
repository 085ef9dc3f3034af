"""What the live page and its server use with 10,000 keys and 100 alerts a second.

A real Kafka, a fleet of keys that send a record of 20 samples every 20 seconds each, one in five of
which is a fault, `stream-detector detect`, which opens and closes an alert of each, and
`stream-detector console` with Chromium on it: one window with the view Now, one with the swim lanes
and one with a key. Each minute the resident memory of the server and of the windows' processes, the
JavaScript heap after a collection, the nodes of the documents, the longest time that a script held
a window up, and how long the page takes to answer a click are read. The first quarter of the run is
warm-up; the last is compared with the second. Ends with 1 where the least of memory or nodes has
grown by more than 10 %: a reading while an answer is made has tens of MiB more. Needs Linux and
Chromium.

    python benchmarks/console.py [--minutes 30] [--keys 10000] [--alerts 100] [--client confluent]
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common  # puts tests/support on the path
import orjson
from browser import evaluate, open_browser, resize
from command_line import CommandLine, RunningCommand
from confluent_kafka import Producer
from halving_bundle import make_bundle_of_samples

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

N_STEPS = 20  # samples of a record, of a window and between two windows; one a second
TICK_MS = 100
CLOSE_AFTER_MS = 8_000
RULES: dict[str, Any] = {
    "close_after_ms": CLOSE_AFTER_MS,
    "no_data_after_ms": None,
    "cooldown_ms": 0,
    "flood_alerts_max": 1_000,
    "flood_window_ms": 60_000,
}
CALM, FAULT = 0.5, 3.0
GROWTH_MAX = 0.1
VIEWS = ("now", "lanes", "key?key=pump-00000")
ROUND = ("letters", "now")
IS_SHOWN = "!document.querySelector('#view-%s').hidden"
ANSWER_S_MAX = 60.0

WATCH_TASKS = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
}).observe({ type: 'longtask' });
"""
"""Counts how long a script held the page up, of those that took 50 ms or more."""

CLICK = """
const [selector, isAnswered, done] = arguments;
const check = new Function('before', `return ${isAnswered}`);
const before = document.querySelector('#key-note').textContent;
const start = performance.now();
document.querySelector(selector).click();
const look = () => (check(before) ? requestAnimationFrame(() => done(performance.now() - start))
  : requestAnimationFrame(look));
requestAnimationFrame(look);
"""
"""Clicks, and gives the milliseconds until the answer is drawn."""

SEARCH = """
const [text, done] = [arguments[0], arguments[1]];
const search = document.querySelector('#search');
const before = document.querySelector('#lanes-note').textContent;
const start = performance.now();
search.value = text;
search.dispatchEvent(new Event('input'));
const look = () => (document.querySelector('#lanes-note').textContent !== before
  ? requestAnimationFrame(() => done(performance.now() - start)) : requestAnimationFrame(look));
requestAnimationFrame(look);
"""


class Load:
    """Sends records of all keys at a steady rate, a share of them faults, until it is stopped.

    Parameters
    ----------
    servers, topic
        Where to.
    n_keys
        Number of keys; each sends one record in `N_STEPS` seconds.
    n_alerts
        Faults a second.
    """

    def __init__(self, servers: str, topic: str, n_keys: int, n_alerts: int) -> None:
        self.n_records = 0
        self._topic, self._n_keys = topic, n_keys
        self._every = max(1, round(n_keys / N_STEPS / n_alerts))
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
        self._values = {
            level: orjson.dumps([[level]] * N_STEPS).decode() for level in (CALM, FAULT)
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush(10)

    def _run(self) -> None:
        """Send what is due, ten times a second; the keys take turns."""
        start_s = time.monotonic()
        start_ms = time.time_ns() // 1_000_000
        n_ticks = N_STEPS * 1_000 // TICK_MS
        tick = 0
        while not self._stop.wait(max(0.0, start_s + tick * TICK_MS / 1_000 - time.monotonic())):
            cycle, place = divmod(tick, n_ticks)
            # The samples of a record end when it is sent.
            first_ms = start_ms + tick * TICK_MS - (N_STEPS - 1) * 1_000
            for key in range(place, self._n_keys, n_ticks):
                is_fault = (key // n_ticks + cycle) % self._every == 0
                values = self._values[FAULT if is_fault else CALM]
                value = f'{{"timestamp_ms":{first_ms},"values":{values}}}'
                self._producer.produce(self._topic, value, f"pump-{key:05}")
                self.n_records += 1
            self._producer.poll(0)
            tick += 1


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in a minute; memory in MiB, times in ms."""

    at_s: float
    server_mib: float
    windows_mib: float
    heap_mib: float
    n_nodes: int
    longest_ms: float
    view_ms: float
    search_ms: float
    key_ms: float
    n_alerts: int
    n_open: int
    lag_records: int


@dataclass(slots=True)
class Windows:
    """The windows of a browser, one a view."""

    browser: "Chrome"
    address: str
    handles: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Open the page in three windows, each with its view."""
        for number, view in enumerate(VIEWS):
            if number:
                self.browser.switch_to.new_window("window")
            self.handles.append(self.browser.current_window_handle)
            resize(self.browser, 1_280)
            # None of them is hidden behind another one.
            self.browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
            self.browser.execute_cdp_cmd("Performance.enable", {})
            self.browser.get(f"{self.address}/#{view}")
            self.browser.execute_script(WATCH_TASKS)
        self.browser.set_script_timeout(ANSWER_S_MAX)

    def each(self) -> Iterator[str]:
        """Go to one window after the other; gives its view."""
        for handle, view in zip(self.handles, VIEWS, strict=True):
            self.browser.switch_to.window(handle)
            yield view.partition("?")[0]

    def read(self) -> dict[str, float]:
        """Return what all windows use, and how long they take to answer."""
        found: dict[str, float] = {"heap_mib": 0.0, "n_nodes": 0, "longest_ms": 0.0}
        for view in self.each():
            longest = evaluate(self.browser, "[window.longest, window.longest = 0][0]")
            found["longest_ms"] = max(found["longest_ms"], longest)
            found |= self._answer_times(view)
            self.browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
            metrics = self.browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            named = {each["name"]: each["value"] for each in metrics}
            found["heap_mib"] += named["JSHeapUsedSize"] / 2**20
            found["n_nodes"] += int(named["Nodes"])
        found["windows_mib"] = sum(map(resident_mib, renderers(self.browser)))
        return found

    def _answer_times(self, view: str) -> dict[str, float]:
        """Return how long a window takes to answer what people do in its view."""
        if view == "now":
            there, back = (self._click(f"nav a[href='#{each}']", IS_SHOWN % each) for each in ROUND)
            return {"view_ms": max(there, back)}
        if view == "lanes":
            times = [self.browser.execute_async_script(SEARCH, each) for each in ("pump-0123", "")]
            return {"search_ms": max(times)}
        is_other = (
            "![before, 'Reading …'].includes(document.querySelector('#key-note').textContent)"
        )
        return {"key_ms": max(self._click(f"#{each}", is_other) for each in ("earlier", "newest"))}

    def _click(self, selector: str, is_answered: str) -> float:
        """Click something, and return how long the answer took."""
        return float(self.browser.execute_async_script(CLICK, selector, is_answered))


def renderers(browser: "Chrome") -> list[int]:
    """Return the processes that draw the windows of a browser."""
    driver = browser.service.process
    found, waiting = [], [driver.pid]
    while waiting:
        pid = waiting.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            waiting += map(int, task.read_text().split())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"--type=renderer" in words and b"--top-chrome-webui" not in words:
            found.append(pid)
    return found


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith("VmRSS:")]
    return int(line.split()[1]) / 1_024


@contextmanager
def running(folder: Path, servers: str, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Run `detect` and `console` under the load; gives the page's address and its process."""
    topics = {name: f"console-{name}" for name in ("input", "alerts", "dead-letter")}
    common.make_topics(servers, *topics.values())
    make_bundle_of_samples(folder / "pumps", N_STEPS, **RULES)
    words = [f"--{name}-topic={topic}" for name, topic in topics.items()]
    command_line = CommandLine(folder)
    try:
        bundle = [folder / "pumps", "--bootstrap-servers", servers, *words]
        command_line.start("detect", *bundle, "--group", "console").wait_for("ready")
        console = command_line.start("console", *bundle, "--port", 0, "--client", options.client)
        console.wait_for("console on")
        with Load(servers, topics["input"], options.keys, options.alerts):
            yield address_of(console), console.process.pid
    finally:
        command_line.close()


def address_of(console: RunningCommand) -> str:
    """Return where a console serves its page."""
    return console.output.partition("console on ")[2].partition(",")[0]


def picture_of(address: str) -> dict[str, Any]:
    """Return what the page shows now."""
    from console_page import pictures

    return next(pictures(address))


def measure(folder: Path, servers: str, options: argparse.Namespace) -> list[Reading]:
    """Run for some time, and return what was read each minute."""
    readings: list[Reading] = []
    with running(folder, servers, options) as (address, pid), open_browser() as browser:
        windows = Windows(browser, address)
        windows.open()
        start_s = time.monotonic()
        while len(readings) < options.minutes:
            time.sleep(max(0.0, start_s + 60 * (len(readings) + 1) - time.monotonic()))
            found, picture = windows.read(), picture_of(address)
            alerts = picture["alerts"]
            readings.append(
                Reading(
                    at_s=round(time.monotonic() - start_s, 1),
                    server_mib=resident_mib(pid),
                    n_alerts=alerts["n_alerts"],
                    n_open=alerts["n_open"],
                    lag_records=picture["topics"][1]["lag_records"],
                    **found,  # type: ignore[arg-type]
                )
            )
            print(readings[-1], file=sys.stderr, flush=True)
    return readings


def parts(readings: Sequence[Reading]) -> tuple[Sequence[Reading], Sequence[Reading]]:
    """Return the second and the last quarter of a run."""
    quarter = max(1, len(readings) // 4)
    return readings[quarter : 2 * quarter] or readings[-1:], readings[-quarter:]


ROWS: tuple[tuple[str, str, int], ...] = (
    ("server, resident MiB", "server_mib", 0),
    ("windows, resident MiB", "windows_mib", 0),
    ("JavaScript heap, MiB", "heap_mib", 1),
    ("nodes of the documents", "n_nodes", 0),
    ("longest task of a minute, ms", "longest_ms", 0),
    ("another view, ms", "view_ms", 0),
    ("a search in the lanes, ms", "search_ms", 0),
    ("a key at another time, ms", "key_ms", 0),
)
BOUNDED = ("server_mib", "windows_mib", "heap_mib", "n_nodes")


def show(readings: Sequence[Reading]) -> None:
    """Print the table, as Markdown takes it too."""
    chosen = parts(readings)
    spans = [f"minutes {each[0].at_s / 60:.0f} - {each[-1].at_s / 60:.0f}" for each in chosen]
    print(f"\n| median (least - most) | {' | '.join(spans)} |\n| --- | --- | --- |")
    for title, name, digits in ROWS:
        cells = [
            common.tell(common.spread([getattr(each, name) for each in part]), digits)
            for part in chosen
        ]
        print(f"| {title} | {' | '.join(cells)} |")
    last = readings[-1]
    print(f"\n{last.n_alerts:,} alerts in {last.at_s / 60:.0f} minutes; {last.n_open:,} open")


def grown(readings: Sequence[Reading]) -> list[str]:
    """Return what has grown by more than `GROWTH_MAX`."""
    second, last = parts(readings)
    found = []
    for name in BOUNDED:
        before, after = (min(getattr(each, name) for each in part) for part in (second, last))
        if after > (1 + GROWTH_MAX) * before:
            found.append(f"{name} {after / before - 1:+.1%}")
    return found


def main() -> None:
    """Run, print the table and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--alerts", type=int, default=100, help="opened a second")
    parser.add_argument("--client", default="kafka-python", help="of the console")
    parser.add_argument("--json", type=Path, help="also write all that was read to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, common.running_broker() as servers:
        readings = measure(Path(folder), servers, options)
    show(readings)
    if options.json:
        rows = [{name: getattr(one, name) for name in Reading.__slots__} for one in readings]
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    growth = grown(readings)
    print("not bounded: " + ", ".join(growth) if growth else "bounded")
    sys.exit(bool(growth))


if __name__ == "__main__":
    main()
