"""What the tests in a browser share: opening pages, and what the browser had to say of them."""

import json
from collections.abc import Callable

from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SET_MATHEMATICS = """
const done = arguments[arguments.length - 1];
if (window.MathJax && MathJax.startup) MathJax.startup.promise.then(() => done(true));
else done(false);
"""


def open_page(browser: WebDriver, address: str, name: str) -> None:
    """Open a page of the site and wait until its mathematics is set."""
    browser.get(f"{address}/{name}")
    browser.execute_async_script(SET_MATHEMATICS)


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
        if entry["level"] == "SEVERE" and "favicon.ico" not in entry["message"]
    ]


def forget(browser: WebDriver) -> None:
    """Drop what the browser has recorded so far."""
    browser.get_log("performance")
    browser.get_log("browser")


def until(browser: WebDriver, condition: Callable[[], bool]) -> bool:
    """Wait for at most ten seconds."""
    try:
        return bool(WebDriverWait(browser, 10, 0.05).until(lambda _: condition()))
    except TimeoutException:
        return False


def appears(browser: WebDriver, selector: str) -> bool:
    """Wait until a page has what a selector names."""
    return until(browser, lambda: bool(browser.find_elements(By.CSS_SELECTOR, selector)))


def arrives(browser: WebDriver, part: str) -> bool:
    """Wait until the address of the page has a part."""
    return until(browser, lambda: part in browser.current_url)
