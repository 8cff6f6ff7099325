"""The built site in a browser: nothing fails to load, mathematics is set, figures move."""

import functools
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# The theme's extension for live code declares its constants twice on every page. It does no harm.
KNOWN_COMPLAINT = "THEBE_JS_URL"

SET_MATHEMATICS = """
const done = arguments[arguments.length - 1];
if (window.MathJax && MathJax.startup) MathJax.startup.promise.then(() => done(true));
else done(false);
"""
# What of a page's mathematics is not set: formulas left alone, those with an error in them, and
# marks of TeX in the text outside of code.
LOOK_FOR_MATHEMATICS = """
const article = document.querySelector("article");
const formulas = [...article.querySelectorAll(".math")];
const copy = article.cloneNode(true);
copy.querySelectorAll("pre, code, script, style, mjx-container").forEach(node => node.remove());
return {
  formulas: formulas.length,
  bare: formulas.filter(node => !node.querySelector("mjx-container")).map(node => node.textContent),
  wrong: [...document.querySelectorAll("mjx-merror")].map(node => node.dataset.mjxError),
  marks: copy.textContent.match(/.{0,30}(\\$|\\\\[(\\[]|\\\\begin).{0,30}/g) || [],
};
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serve the site on a free port of this machine."""
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Start Chromium without a window."""
    program = os.environ.get("SRNN_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), "")
    driver = shutil.which(os.environ.get("SRNN_BROWSER_DRIVER", "chromedriver"))
    if not program or not driver:
        pytest.skip("no chromium with chromedriver is installed")
    options = Options()
    options.binary_location = program
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage"),
        *("no-first-run", "disable-background-networking", "disable-component-update"),
        *("disable-sync", f"user-data-dir={tmp_path_factory.mktemp('browser')}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_window_size(1200, 1600)
    yield started
    started.quit()


def requests(browser: WebDriver) -> tuple[list[str], list[str]]:
    """Return the addresses that pages asked for since the last call, and the failures of them.

    What the browser asks for its own first page is left out.
    """
    asked: dict[str, str] = {}
    failed = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        parameters = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            if not parameters["documentURL"].startswith(("chrome:", "chrome-untrusted:")):
                asked[parameters["requestId"]] = parameters["request"]["url"]
        elif parameters.get("requestId") not in asked:
            continue
        elif message["method"] == "Network.loadingFailed" and not parameters.get("canceled"):
            failed.append(f"{asked[parameters['requestId']]}: {parameters['errorText']}")
        elif message["method"] == "Network.responseReceived":
            response = parameters["response"]
            # The browser asks for favicon.ico by itself.
            if response["status"] >= 400 and not response["url"].endswith("/favicon.ico"):
                failed.append(f"{response['url']}: status {response['status']}")
    return list(asked.values()), failed


def complaints(browser: WebDriver) -> list[str]:
    """Return the errors in the browser's console since the last call."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE"
        and KNOWN_COMPLAINT not in entry["message"]
        and "favicon.ico" not in entry["message"]
    ]


def open_page(browser: WebDriver, address: str, page: Path) -> None:
    browser.get(f"{address}/book/{page.name}")
    assert browser.execute_async_script(SET_MATHEMATICS) in (True, False)


def test_every_page_loads_without_a_complaint_and_from_the_site_alone(
    browser: WebDriver, address: str, pages: list[Path]
) -> None:
    assert pages
    for page in pages:
        open_page(browser, address, page)
        asked, failed = requests(browser)
        assert asked, page.name
        assert failed == [], page.name
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        assert complaints(browser) == [], page.name


def test_the_first_page_leads_to_the_book(browser: WebDriver, address: str) -> None:
    browser.get(f"{address}/index.html")
    for _ in range(50):
        if browser.find_elements(By.TAG_NAME, "article"):
            break
        browser.implicitly_wait(0.1)
    assert "/book/intro.html" in browser.current_url


def test_mathematics_is_set(browser: WebDriver, address: str, pages: list[Path]) -> None:
    formulas = 0
    for page in pages:
        open_page(browser, address, page)
        found = browser.execute_script(LOOK_FOR_MATHEMATICS)
        formulas += found.pop("formulas")
        assert found == {"bare": [], "wrong": [], "marks": []}, page.name
    assert formulas


def shown(around: WebElement) -> WebElement:
    """Return the one picture beside a slider that is to be seen now."""
    (picture,) = [p for p in around.find_elements(By.TAG_NAME, "img") if p.is_displayed()]
    return picture


def test_sliders_change_the_picture(browser: WebDriver, address: str, pages: list[Path]) -> None:
    for page in pages:
        open_page(browser, address, page)
        for slider in browser.find_elements(By.CSS_SELECTOR, "input[type=range]"):
            around = slider.find_element(By.XPATH, "ancestor::*[.//img][1]")
            seen = []
            for key in (Keys.HOME, Keys.END):
                slider.send_keys(key)
                picture = shown(around)
                assert picture.get_attribute("alt"), page.name
                seen.append(picture.screenshot_as_base64)
            assert seen[0] != seen[1], f"{page.name}: the picture stays"
            assert complaints(browser) == [], page.name


def places(moving: WebElement) -> list[str]:
    """Return where the balls of an animation are."""
    marks = moving.find_elements(By.CSS_SELECTOR, ".srnn-mark")
    return [str(mark.get_attribute("transform")) for mark in marks]


def until(browser: WebDriver, condition: Callable[[], bool]) -> bool:
    """Wait for at most ten seconds."""
    try:
        return bool(WebDriverWait(browser, 10, 0.05).until(lambda _: condition()))
    except TimeoutException:
        return False


@pytest.fixture
def motion(browser: WebDriver) -> Iterator[Callable[[str], None]]:
    """Tell pages what the reader prefers, until the test ends."""

    def prefer(value: str) -> None:
        feature = {"name": "prefers-reduced-motion", "value": value}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    yield prefer
    prefer("")


def with_balls(pages: list[Path]) -> list[Path]:
    found = [page for page in pages if "srnn-ball" in page.read_text(encoding="utf-8")]
    assert found, "no page has an animation"
    return found


def test_balls_move_by_themselves_and_stop_at_the_button(
    browser: WebDriver, address: str, pages: list[Path], motion: Callable[[str], None]
) -> None:
    motion("no-preference")
    for page in with_balls(pages):
        open_page(browser, address, page)
        for moving in browser.find_elements(By.CSS_SELECTOR, ".srnn-ball"):
            button = moving.find_element(By.TAG_NAME, "button")
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", moving)
            begin = places(moving)
            assert until(browser, lambda m=moving, b=begin: places(m) != b), page.name
            assert button.text == "Pause"
            button.send_keys(Keys.ENTER)  # by the keyboard
            stopped = places(moving)
            assert button.text == "Play"
            time.sleep(0.5)
            assert places(moving) == stopped, f"{page.name}: the ball goes on"
            button.send_keys(Keys.SPACE)
            assert until(browser, lambda m=moving, b=stopped: places(m) != b), page.name
        assert complaints(browser) == [], page.name


def test_balls_wait_where_less_motion_is_asked_for(
    browser: WebDriver, address: str, pages: list[Path], motion: Callable[[str], None]
) -> None:
    motion("reduce")
    for page in with_balls(pages):
        open_page(browser, address, page)
        for moving in browser.find_elements(By.CSS_SELECTOR, ".srnn-ball"):
            button = moving.find_element(By.TAG_NAME, "button")
            assert button.text == "Play"
            begin = places(moving)
            time.sleep(0.5)
            assert places(moving) == begin, f"{page.name}: the ball moves"
            button.click()
            assert until(browser, lambda m=moving, b=begin: places(m) != b), page.name
