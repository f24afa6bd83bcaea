"""A real headless Chromium, driven as a reader would: by what is written on the page."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.helpers.services import wait_until

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
DESKTOP = (1280, 860)
PHONE = (390, 844)
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars", "--lang=en-US"),
    "--force-prefers-reduced-motion",
)


def require_chromium() -> None:
    """Skip where Chromium or its driver is missing; where all must be tested, fail."""
    missing = [path for path in (CHROMIUM, DRIVER) if shutil.which(path) is None]
    if missing:
        reason = f"{' and '.join(missing)} not installed: `make browser` does that on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class Browser:
    """One window of a Chromium with a profile and, where given, flags of its own."""

    def __init__(self, profile: Path, *flags: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        self.downloads = profile / "downloads"
        save = {"behavior": "allow", "downloadPath": str(self.downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", save)
        self.resize(DESKTOP)

    def close(self) -> None:
        self.driver.quit()

    def open(self, url: str) -> None:
        self.driver.get(url)

    def resize(self, size: tuple[int, int]) -> None:
        """Give the page a width and height in CSS pixels, below what a window may have, too."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Be a system that likes `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Return the element of a selector, once there is one that can be seen."""
        found: list[WebElement] = []

        def visible() -> bool:
            found[:] = [element for element in self.all(selector) if element.is_displayed()]
            return bool(found)

        self.until(visible, what=f"{selector} shown")
        return found[0]

    def click(self, selector: str) -> None:
        self.until(lambda: self.one(selector).is_enabled(), what=f"{selector} enabled")
        self.one(selector).click()

    def text(self, selector: str) -> str:
        """Return what can be read in the first element of a selector; nothing where there is none."""
        return (self.texts(selector) or [""])[0]

    def texts(self, selector: str) -> list[str]:
        """Return what can be read in each element of a selector, all at one moment."""
        read = "e => e.text ?? (e.checkVisibility() ? e.innerText.trim() : '')"  # An option has its text at all times.
        code = f"return [...document.querySelectorAll(arguments[0])].map({read})"
        return [str(text) for text in cast(list[object], self.script(code, selector))]

    def type(self, selector: str, text: str) -> None:
        """Replace what a field says, as its reader would see it."""
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, each on what has the focus then."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    @property
    def focused(self) -> str:
        """Return the name of what has the focus, as a screen reader tells it."""
        return self.driver.switch_to.active_element.accessible_name.strip()

    def downloaded(self, name: str) -> str:
        """Return the text of a file once it is saved."""
        path = self.downloads / name
        self.until(path.exists, what=f"{name} saved")
        return path.read_text()

    def script(self, code: str, *arguments: object) -> object:
        result: object = self.driver.execute_script(code, *arguments)
        return result

    def until(self, condition: Callable[[], object], *, seconds: float = 20.0, what: str = "") -> None:
        def holds() -> object:
            try:
                return condition()
            except StaleElementReferenceException:
                return False

        wait_until(holds, seconds=seconds, what=what)

    def complaints(self) -> list[str]:
        """Return what the console has as errors since the last call: script errors and policy violations."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
