"""The live page in a real browser, on a real Kafka with a running detector."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import evaluate, read_log, resize
from console_page import (
    make_memory_page,
    open_images,
    open_pumps,
    sample_record,
    send_images,
    served,
)
from selenium.webdriver import ActionChains, Chrome, Keys

from stream_detector.assembly import connect_writer, make_service
from stream_detector.cli.console import make_console
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.features import Features
from stream_detector.core.records import OutputRecord
from stream_detector.ports import Client, SystemClock
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics
from stream_detector.web.server import serve

pytestmark = pytest.mark.kafka

HOSTILE = "<img src=x onerror='window.wasRun = 1'>\u202e<b>\n"
SHOWN = "<img src=x onerror='window.wasRun = 1'>\\u202e<b>\\n"
FEATURES = Features(("<img src=y onerror='window.wasRun = 2'>",), units=("<b>V",))
APPEARS_S_MAX = 3.0
WIDTHS = (390, 1200)


@dataclass
class Live:
    """A page with a detector behind it, and how to send to both."""

    address: str
    client: Client
    topic: str

    def send(self, key: str, *levels: float) -> int:
        """Send a window of 4 s for each level, the last of which has just ended; gives its end."""
        end_ms = SystemClock().now_ms() // 4_000 * 4_000
        start_ms = end_ms - 4_000 * len(levels)
        records = [
            sample_record(key, start_ms + 4_000 * at, *[level] * 4)
            for at, level in enumerate(levels)
        ]
        self.client.produce([each._replace(topic=self.topic) for each in records])
        self.client.flush(10_000)
        return end_ms


@pytest.fixture(scope="module")
def live(
    kafka: str, module_topics: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """Serve the page while a detector runs."""
    pumps = open_pumps(tmp_path_factory.mktemp("bundle"), features=FEATURES)
    settings = load_settings(
        DetectSettings,
        bootstrap_servers=kafka,
        input_topic=module_topics(4),
        alerts_topic=module_topics(1),
        dead_letter_topic=module_topics(1),
        group=f"console-{time.time_ns()}",
    )
    service = make_service(pumps, settings, Metrics())
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        with (
            serve(make_console(pumps, settings), "127.0.0.1", 0, None) as address,
            closing(connect_writer(settings)) as client,
        ):
            live = Live(address, client, settings.input_topic)
            live.send("pump-1", *[0.5] * 30, 3.0, *[0.5] * 10)
            live.send(HOSTILE, 0.5, 5.0, 0.5, 0.5, 0.5)
            yield live
    finally:
        service.stop()
        thread.join()


@pytest.fixture
def page(browser: Chrome, live: Live) -> Iterator[Chrome]:
    """Open the page, and fail where the browser has found an error in it."""
    resize(browser, 1_200)
    browser.get("about:blank")
    read_log(browser)  # what was before
    browser.get(live.address)
    wait(lambda: text(browser, "#title") == "pumps")
    yield browser
    errors = [each for each in read_log(browser) if each["level"] != "INFO"]
    assert errors == []
    assert evaluate(browser, "window.wasRun") is None


def wait(is_done: Callable[[], Any], timeout_s: float = 15.0) -> float:
    """Wait until something is done, and return how many seconds that took."""
    start_s = time.monotonic()
    while not is_done():
        assert time.monotonic() - start_s < timeout_s
        time.sleep(0.05)
    return time.monotonic() - start_s


def text(page: Chrome, selector: str) -> str:
    """Return the text of an element as people see it."""
    return str(evaluate(page, "document.querySelector(arguments[0]).innerText", selector))


def open_view(page: Chrome, live: Live, name: str) -> None:
    """Open a view of the page by its address."""
    page.get(f"{live.address}/#{name}")


def columns(page: Chrome, name: str) -> Any:
    """Return the columns of a chart."""
    found = "document.querySelector('#chart').children.length > 0 && window.Bokeh?.documents"
    script = f"""({found} && Bokeh.documents.length > 0)
        ? Object.fromEntries(Object.entries(Bokeh.documents.at(-1).get_model_by_name(arguments[0])
            .data).map(([at, values]) => [at, [...values]])) : null"""
    return evaluate(page, script, name)


def test_a_fault_is_on_the_page_within_three_seconds(page: Chrome, live: Live) -> None:
    wait(lambda: "pump-1" in text(page, "#events"))
    key = f"late-{time.time_ns()}"
    live.send(key, 0.5, 0.5, 4.0)
    seconds = wait(lambda: key in text(page, "#open tbody"))
    assert seconds < APPEARS_S_MAX
    row = text(page, "#open tbody")
    assert "observed 4 <b>V where 2 was expected" in row
    assert "4.00" in row
    live.send(key, *[0.5] * 6)
    time.sleep(4.0)  # windows of a later time, since those above are known
    live.send(key, 0.5)
    wait(lambda: key not in text(page, "#open tbody"))


def test_figures_say_how_keys_are(page: Chrome) -> None:
    def figures() -> dict[str, str]:
        pairs = "[each.children[0].textContent, each.children[1].textContent]"
        script = f"[...document.querySelectorAll('#figures div')].map((each) => {pairs})"
        return dict(evaluate(page, script))

    wait(lambda: int(figures().get("keys with scores", "0")) >= 2)
    assert figures()["keys silent"] == "0"
    assert not page.find_element("id", "problem").is_displayed()


def test_durations_have_a_unit_in_which_they_are_read(page: Chrome) -> None:
    limits_ms = [999, 599_000, 600_000, 7_199_000, 7_200_000, 172_799_000, 172_800_000]
    page_files = resources.files("stream_detector.web").joinpath("page")
    script = page_files.joinpath("console.js").read_text("utf-8")
    words = script[: script.index("function fill(")]
    shown = page.execute_script(f"{words}; return arguments[0].map(duration)", limits_ms)
    assert shown == ["999 ms", "599.0 s", "10 min", "120 min", "2.0 h", "48.0 h", "2.0 days"]


def test_a_key_that_looks_like_markup_is_text(page: Chrome, live: Live) -> None:
    wait(lambda: SHOWN in text(page, "#events tbody"))
    open_view(page, live, "lanes")
    wait(lambda: SHOWN in text(page, "#lane-list"))
    open_view(page, live, f"key?key={quote(HOSTILE)}")
    wait(lambda: text(page, "#head-key") == SHOWN)
    wait(lambda: columns(page, "signal-0"))
    assert evaluate(page, "document.querySelectorAll('img, #head-key *, main b').length") == 0


def test_a_key_has_its_signal_its_reconstruction_and_its_scores(page: Chrome, live: Live) -> None:
    open_view(page, live, "key?key=pump-1")
    wait(lambda: columns(page, "made-0"))
    signal, made = columns(page, "signal-0"), columns(page, "made-0")
    assert max(signal["y"]) == 3.0
    assert max(made["y"]) == 1.5
    assert max(columns(page, "scores")["y"]) == 3.0
    assert len(columns(page, "alerts")["x0"]) == 1
    assert evaluate(page, "document.querySelector('#chart').offsetHeight") > 300
    assert f'"{FEATURES.names[0]}": observed 3 <b>V where 1.5 was expected' in text(page, "#words")
    # Back to a time that the console did not read as it came: half of the samples are older.
    before = text(page, "#key-note")
    page.find_element("id", "earlier").click()
    wait(lambda: text(page, "#key-note") not in (before, "Reading …"))
    wait(lambda: max(columns(page, "signal-0")["x"]) < max(signal["x"]))


def test_lanes_lead_to_a_key_and_are_searched(page: Chrome, live: Live) -> None:
    open_view(page, live, "lanes")
    wait(lambda: "pump-1" in text(page, "#lane-list"))
    page.find_element("id", "search").send_keys("PUMP-")
    wait(lambda: SHOWN not in text(page, "#lane-list"))
    assert "1 of 1 keys" in text(page, "#lanes-note")
    colours = evaluate(
        page,
        "(() => { const canvas = document.querySelector('.lane canvas'); const cells = "
        "canvas.getContext('2d').getImageData(0, 0, canvas.width, 1).data; return [...cells]; })()",
    )
    pixels = {tuple(colours[at : at + 3]) for at in range(0, len(colours), 4) if colours[at + 3]}
    assert any(red > 180 and blue < 60 for red, _, blue in pixels)  # the fault
    assert any(blue > 200 for _, _, blue in pixels)  # what is normal
    page.find_element("css selector", ".lane canvas").click()
    wait(lambda: text(page, "#head-key") == "pump-1")


def test_other_settings_are_tried(page: Chrome, live: Live) -> None:
    open_view(page, live, "whatif")
    wait(lambda: "come" in text(page, "#tries-note"))
    assert "pump-1" in text(page, "#tried tbody")
    assert "goes" not in text(page, "#tried tbody")
    factor = page.find_element("id", "factor")
    factor.clear()
    factor.send_keys("3.5" + Keys.ENTER)
    wait(lambda: "goes" in text(page, "#tried tbody"))
    assert "3.50 times the bundle's" in text(page, "#toml")
    assert "close_after_ms = 4000" in text(page, "#toml")


def test_dead_letters_are_shown_by_reason(page: Chrome, live: Live) -> None:
    value = b"<script>window.wasRun = 1</script>"
    header = ("content-type", b"<img src=z onerror='window.wasRun = 3'>")
    live.client.produce([OutputRecord(live.topic, HOSTILE.encode(), value)])
    live.client.produce([OutputRecord(live.topic, HOSTILE.encode(), value, (header,))])
    live.client.flush(10_000)

    def shown() -> str:
        open_view(page, live, "now")
        open_view(page, live, "letters")
        wait(lambda: text(page, "#letters-note"))
        return text(page, "#letters")

    wait(lambda: "RecordDecodeError" in shown())
    wait(lambda: "<img src=z" in shown())
    assert value.decode() in text(page, "#letters")
    assert SHOWN in text(page, "#letters")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("view", ["now", "lanes", "key?key=pump-1", "whatif", "letters"])
def test_every_view_fits_and_is_light_or_dark(
    page: Chrome, live: Live, width: int, is_dark: bool, view: str
) -> None:
    resize(page, width, is_dark=is_dark)
    open_view(page, live, view)
    if view.startswith("key"):
        wait(lambda: columns(page, "signal-0"))
    assert evaluate(page, "document.documentElement.scrollWidth") <= width
    colour = evaluate(page, "getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) < 3 * 60) is is_dark


def test_the_page_can_be_used_with_the_keyboard(page: Chrome) -> None:
    def press(key: str) -> None:
        ActionChains(page).send_keys(key).perform()

    def focused() -> str:
        return str(evaluate(page, "document.activeElement.innerText"))

    wait(lambda: "pump-1" in text(page, "#events"))
    for expected in ("Skip to the content", "Now", "Swim lanes"):
        press(Keys.TAB)
        assert focused() == expected
    outline = evaluate(page, "getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(Keys.ENTER)
    wait(lambda: "pump-1" in text(page, "#lane-list"))
    assert evaluate(page, "document.activeElement.id") == "main"
    press(Keys.TAB)
    assert evaluate(page, "document.activeElement.id") == "search"
    press(Keys.TAB)
    name = focused()
    time.sleep(3.5)  # lanes were drawn again meanwhile
    assert focused() == name
    press(Keys.ENTER)
    wait(lambda: text(page, "#head-key") == name)
    evaluate(page, "document.querySelector('.skip').click()")
    assert evaluate(page, "document.activeElement.id") == "main"
    assert text(page, "#head-key") == name


def test_the_focus_stays_while_alerts_come(page: Chrome, live: Live) -> None:
    wait(lambda: "pump-1" in text(page, "#events"))
    evaluate(page, "document.querySelector('#events button').focus()")
    name = evaluate(page, "document.activeElement.dataset.place")
    assert name
    live.send(f"other-{time.time_ns()}", 0.5, 3.0)
    wait(lambda: "other-" in text(page, "#open tbody"))
    assert evaluate(page, "document.activeElement.dataset.place") == name


def test_alerts_of_one_incident_are_one_row_until_it_is_opened(page: Chrome, live: Live) -> None:
    names = [f"line-{time.time_ns()}-{number}" for number in range(3)]
    for number, name in enumerate(names):
        live.send(name, 0.5, 3.0 + number)
    wait(lambda: names[2] in text(page, "#events tbody"))
    button = "'#open button[aria-expanded=false]'"
    wait(lambda: evaluate(page, f"document.querySelector({button}) !== null"))
    assert not all(name in text(page, "#open tbody") for name in names)
    evaluate(page, f"document.querySelectorAll({button}).forEach((each) => each.click())")
    wait(lambda: all(name in text(page, "#open tbody") for name in names))
    closing = "document.querySelectorAll('#open button[aria-expanded=true]')"
    evaluate(page, f"{closing}.forEach((each) => each.click())")
    wait(lambda: not all(name in text(page, "#open tbody") for name in names))


def test_images_are_shown_beside_their_heat_maps(browser: Chrome, tmp_path: Path) -> None:
    broker, images = MemoryBroker(), open_images(tmp_path)
    now_ms = SystemClock().now_ms()
    sent = send_images(broker, "camera", now_ms - 60_000, [20, 255, 30])
    resize(browser, 390)
    with served(make_memory_page(broker, images)) as address:
        browser.get(f"{address}/#key?key=camera")
        wait(lambda: evaluate(browser, "document.querySelectorAll('#images figure').length") == 3)
        assert evaluate(browser, "document.querySelectorAll('#images .anomalous').length") == 1
        pixels = """(async () => {
            const image = document.querySelectorAll('#images figure')[1].querySelector('img');
            await image.decode();
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext('2d').drawImage(image, 0, 0);
            const { data } = canvas.getContext('2d').getImageData(0, 0, 28, 28);
            return [...data].filter((_, at) => at % 4 === 0);
        })()"""
        assert evaluate(browser, pixels) == sent[1].ravel().tolist()
        assert evaluate(browser, "document.documentElement.scrollWidth") <= 390
        boxes = "[...document.querySelectorAll('#images img')].map((each) => each.offsetTop)"
        tops = evaluate(browser, boxes)
        assert tops[::2] == tops[1::2]
        assert [each for each in read_log(browser) if each["level"] != "INFO"] == []
