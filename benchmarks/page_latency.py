"""Milliseconds from a record sent to its alert on the live page, and what part is whose.

Each record completes an anomalous window of a key of its own, so it opens an alert. `detect` and
`console` are processes of their own, on a real Kafka. Taken are the times at which the alert was
made, came as a server-sent event, and stood in the page of a Chromium. Sent are some alerts a
second, at irregular times. Needs Chromium.

    python benchmarks/page_latency.py [--rates 2 20] [--seconds 50] [--rounds 2]
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common  # puts tests/support on the path
import numpy as np
from browser import evaluate, open_browser, resize
from command_line import CommandLine
from confluent_kafka import Producer
from console_page import pictures, sample_record
from halving_bundle import make_bundle_of_samples

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

N_STEPS = 10  # samples of a record and of a window, one a second
FAULT = 3.0
SETTLE_S = 3.0
N_PERCENTILES = (50, 99)

WATCH = """
window.seen = {};
new MutationObserver(() => {
  const now = Date.now();
  for (const each of document.querySelectorAll('#events button.key')) {
    window.seen[each.textContent] ??= now;
  }
}).observe(document.querySelector('#events tbody'), { childList: true });
"""
"""Keeps when the name of each key was first in the table of the last events."""

Times = dict[str, float]
"""Times by key, milliseconds since 1970."""


class Sender:
    """Sends records that open an alert each, at irregular times.

    Parameters
    ----------
    servers, topic
        Where to.
    """

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
        self._topic = topic
        self._random = np.random.default_rng(0)

    def send(self, rate: float, seconds: float, name: str) -> Times:
        """Send so many a second for so long; gives when each was sent."""
        sent: Times = {}
        n_records = round(rate * seconds)
        gaps_s = self._random.exponential(1 / rate, n_records)
        start_s = time.monotonic()
        for number, due_s in enumerate(np.cumsum(gaps_s).tolist()):
            time.sleep(max(0.0, start_s + due_s - time.monotonic()))
            key, now_ms = f"{name}-{number:04}", time.time_ns() / 1e6
            end_ms = round(now_ms)
            record = sample_record(key, end_ms - 1_000 * (N_STEPS - 1), *[FAULT] * N_STEPS)
            sent[key] = now_ms
            self._producer.produce(self._topic, record.value, key)
            self._producer.poll(0)
        self._producer.flush(10)
        return sent


class Listener:
    """A client of the page's events, which keeps when an alert of a key first came."""

    def __init__(self, address: str) -> None:
        self.came: Times = {}
        self.made: Times = {}
        self._pictures = pictures(address)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Read until the connection ends."""
        for picture in self._pictures:
            now_ms = time.time_ns() / 1e6
            for each in picture["alerts"]["events"]:
                if each["key"] not in self.came:
                    self.came[each["key"]], self.made[each["key"]] = now_ms, each["detected_ms"]


@contextmanager
def running(folder: Path, servers: str) -> Iterator[tuple[str, str]]:
    """Run `detect` and `console`; gives the page's address and the input topic."""
    stamp = f"page-{time.time_ns()}"
    topics = {name: f"{stamp}-{name}" for name in ("input", "alerts", "dead-letter")}
    common.make_topics(servers, *topics.values())
    make_bundle_of_samples(folder / "pumps", N_STEPS, flood_alerts_max=1_000, no_data_after_ms=None)
    words = [f"--{name}-topic={topic}" for name, topic in topics.items()]
    command_line = CommandLine(folder)
    try:
        bundle = [folder / "pumps", "--bootstrap-servers", servers, *words]
        command_line.start("detect", *bundle, "--group", stamp).wait_for("ready")
        console = command_line.start("console", *bundle, "--port", 0)
        console.wait_for("console on")
        yield console.output.partition("console on ")[2].partition(",")[0], topics["input"]
    finally:
        command_line.close()


def measure(
    browser: "Chrome", sender: Sender, address: str, rate: float, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return the figures of each round at a rate."""
    found = []
    for number in range(options.rounds):
        listener = Listener(address)
        browser.get("about:blank")
        browser.get(f"{address}/#now")
        browser.execute_script(WATCH)
        time.sleep(SETTLE_S)
        sent = sender.send(rate, options.seconds, f"rate-{rate:g}-{number}")
        time.sleep(SETTLE_S)
        seen = evaluate(browser, "window.seen")
        parts = {"alert made": listener.made, "event came": listener.came, "in the page": seen}
        found.append({name: figures(sent, times) for name, times in parts.items()})
        print(f"{rate:g}/s round {number + 1}: {found[-1]}", flush=True)
    return found


def figures(sent: Times, times: Times) -> dict[str, float]:
    """Return how long after a record was sent something was so."""
    waits_ms = [times[key] - sent_ms for key, sent_ms in sent.items() if key in times]
    percentiles = np.percentile(waits_ms, N_PERCENTILES).round(1).tolist()
    return {
        "n_alerts": len(waits_ms),
        "n_records": len(sent),
        **{f"p{at}": each for at, each in zip(N_PERCENTILES, percentiles, strict=True)},
    }


def show(rounds: dict[float, list[dict[str, Any]]]) -> None:
    """Print the table."""
    print("\n| alerts a second | from the record sent to | p50 ms | p99 ms | alerts |")
    print("|---|---|---|---|---|")
    for rate, each in rounds.items():
        for name in each[0]:
            columns = [
                common.tell(common.spread([one[name][at] for one in each])) for at in ("p50", "p99")
            ]
            n_alerts, n_records = (
                sum(one[name][at] for one in each) for at in ("n_alerts", "n_records")
            )
            print(f"| {rate:g} | {name} | {' | '.join(columns)} | {n_alerts} of {n_records} |")


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[2.0, 20.0])
    parser.add_argument("--seconds", type=float, default=50.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        common.running_broker() as servers,
        running(Path(folder), servers) as (address, topic),
        open_browser() as browser,
    ):
        resize(browser, 1_280)
        sender = Sender(servers, topic)
        rounds = {rate: measure(browser, sender, address, rate, options) for rate in options.rates}
    show(rounds)
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
