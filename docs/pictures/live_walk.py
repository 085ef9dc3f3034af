"""Take the pictures of the live page, and print what the walk of docs/tutorials/live.md prints.

The steps are those of the page, on a real Apache Kafka, with a real Chromium and a real Prometheus:
train on the pumps' normal hours, `detect`, `console`, the pumps, until two faults are open; then
other settings are tried, and records of another program come until a rule of deploy/ fires. Takes
three minutes. Needs all extras, and what `make system-deps` installs.

python docs/pictures/live_walk.py
"""

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from browser import evaluate, open_browser, resize  # noqa: E402
from command_line import CommandLine  # noqa: E402
from local_kafka import LocalKafka  # noqa: E402

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FOLDER = Path(__file__).parent
TOPICS = {"telemetry": 4, "alerts": 1, "dead-letters": 1}
N_PUMPS = 6
UNITS = '{temperature="°C", pressure="bar", vibration="mm/s"}'
PROMETHEUS = "127.0.0.1:19090"
RULES = ROOT / "deploy" / "prometheus" / "stream-detector.rules.yml"
WIDE, NARROW = 1_000, 390
FACTOR = 1.5
INCIDENT = "#open button:not(.key)"
"""Opens the row of an incident, of several keys."""

SETTLE_S = 2.0
N_COLOURS = 128
"""Of a picture: enough for text and lines, and a third of the bytes."""

CONFIG = """\
global: {{scrape_interval: 5s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: pumps
    static_configs: [{{targets: ["{target}"]}}]
"""


def main() -> None:
    """Walk, and take the pictures."""
    with tempfile.TemporaryDirectory() as name, LocalKafka() as kafka:
        folder, servers = Path(name), kafka.bootstrap_servers
        make_topics(servers)
        train(folder)
        commands = CommandLine(folder)
        try:
            bundle = [folder / "pumps", "--bootstrap-servers", servers]
            detector = commands.start("detect", *bundle, "--group", "pumps", "--metrics-port", 0)
            detector.wait_for(" ready ")
            console = commands.start("console", *bundle, "--port", 0)
            console.wait_for("console on")
            (address,) = re.findall(r"console on (\S+),", console.output)
            (target,) = re.findall(r"metrics address=(\S+)", detector.output)
            with open_browser() as browser, prometheus(folder, target):
                with pumps("--pumps", N_PUMPS, "--bootstrap-servers", servers):
                    look(browser, address)
                words = ["--from-beginning", "--stop-when-idle", "1s"]
                words += ["--bootstrap-servers", servers]
                sys.stdout.write(commands.run("alerts", *words).stdout)
                send_another_program(servers)
                wait(lambda: "AllRejected" in firing())
                sys.stdout.write(firing())
        finally:
            commands.close()


def make_topics(servers: str) -> None:
    """Make the topics."""
    admin = AdminClient({"bootstrap.servers": servers})
    made = admin.create_topics([NewTopic(*each) for each in TOPICS.items()])
    for each in made.values():
        each.result(timeout=30)


def train(folder: Path) -> None:
    """Make the bundle."""
    with pumps("--normal", folder / "normal.csv", "--pumps", N_PUMPS) as program:
        program.wait()
    words = ["train", ROOT / "models" / "telemetry.toml", "--out", folder / "pumps"]
    words += ["--set", "data.name=csv", "--set", f"data.path={folder / 'normal.csv'}"]
    words += ["--set", f"data.units={UNITS}", "--set", "name=pumps"]
    command = [sys.executable, "-m", "stream_detector", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


@contextmanager
def pumps(*words: object) -> "Iterator[subprocess.Popen[bytes]]":
    """Run the producer while the block lasts."""
    command = [sys.executable, str(ROOT / "producers" / "live_pumps.py"), *map(str, words)]
    with subprocess.Popen(command) as program:  # noqa: S603
        try:
            yield program
        finally:
            program.terminate()


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[None]:
    """Run a Prometheus that scrapes the detector while the block lasts."""
    (folder / "prometheus.yml").write_text(CONFIG.format(rules=RULES, target=target))
    command = ["prometheus", f"--web.listen-address={PROMETHEUS}", "--log.level=error"]
    command += ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with subprocess.Popen(command, cwd=folder) as program:  # noqa: S603
        try:
            yield
        finally:
            program.terminate()


def firing() -> str:
    """Return what Prometheus says of alerts."""
    command = ["promtool", "query", "instant", f"http://{PROMETHEUS}", "ALERTS"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout


def send_another_program(servers: str) -> None:
    """Send what another program writes."""
    producer = Producer({"bootstrap.servers": servers})
    for _ in range(200):
        producer.produce("telemetry", '{"temp": "131.2 F", "press": "62 psi"}', "pump-03")
    producer.flush()


def look(browser: "Chrome", address: str) -> None:
    """Wait for the faults and take the pictures."""
    show(browser, address, "now", WIDE)
    wait(lambda: count(browser, INCIDENT))
    browser.execute_script("document.querySelector(arguments[0]).click()", INCIDENT)
    wait(lambda: count(browser, "#open button.key") > 1)
    take(browser, "console-now")
    show(browser, address, "key?key=pump-04", WIDE)
    wait(lambda: count(browser, "#words li"))
    time.sleep(SETTLE_S)
    take(browser, "console-key")
    show(browser, address, "lanes", NARROW, is_dark=True)
    wait(lambda: count(browser, ".lane") == N_PUMPS)
    take(browser, "console-lanes")
    show(browser, address, "whatif", WIDE, is_dark=True)
    wait(lambda: "come" in text(browser, "#tries-note"))
    browser.execute_script(f"document.querySelector('#factor').value = '{FACTOR}'")
    browser.execute_script("document.querySelector('#tries button').click()")
    wait(lambda: f"{FACTOR}0 times" in text(browser, "#toml"))
    take(browser, "console-what-if")


def count(browser: "Chrome", selector: str) -> int:
    """Return how many elements there are."""
    return int(evaluate(browser, "document.querySelectorAll(arguments[0]).length", selector))


def text(browser: "Chrome", selector: str) -> str:
    """Return what an element says."""
    return str(evaluate(browser, "document.querySelector(arguments[0]).innerText", selector))


def show(browser: "Chrome", address: str, view: str, width: int, *, is_dark: bool = False) -> None:
    """Open a view."""
    resize(browser, width, is_dark=is_dark)
    browser.get("about:blank")
    browser.get(f"{address}/#{view}")


def take(browser: "Chrome", name: str) -> None:
    """Save the whole page as a picture."""
    size = evaluate(browser, "[innerWidth, document.body.offsetHeight]")
    changes = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", changes)
    time.sleep(1)
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    small = picture.quantize(N_COLOURS, dither=Image.Dither.NONE)
    small.save(FOLDER / f"{name}.png", optimize=True)


def wait(is_done: Callable[[], Any], timeout_s: float = 150.0) -> None:
    """Wait until something is so."""
    until_s = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > until_s:
            raise TimeoutError
        time.sleep(0.2)


if __name__ == "__main__":
    main()
