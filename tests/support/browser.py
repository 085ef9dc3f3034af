"""A Chromium without a window, driven by selenium, which asks nobody for programs or figures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRIVER = "chromedriver"


class NoBrowserError(Exception):
    """This machine has no browser that can be driven."""


@contextmanager
def open_browser() -> Iterator["Chrome"]:
    """Open a browser while the block lasts.

    Raises
    ------
    NoBrowserError
        If there is none, or no driver for it.
    """
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    driver = shutil.which(DRIVER)
    if not found or driver is None:
        message = f"no browser: none of {', '.join(BROWSERS)}, or no {DRIVER}; make system-deps"
        raise NoBrowserError(message)
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = found[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser: "Chrome", width: int, *, is_dark: bool = False) -> None:
    """Set the width of the page, and whether it is light or dark."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def evaluate(browser: "Chrome", script: str, *arguments: Any) -> Any:
    """Return what a script gives on the page."""
    return browser.execute_script(f"return {script}", *arguments)


def read_log(browser: "Chrome") -> list[dict[str, Any]]:
    """Return what the browser's console was told since it was read last."""
    lines: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return lines
