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


# A phone widens its window to the widest thing on a page, so the window is not what to compare
# with. What is cut off or scrolls within a box of its own does not count, and is to be in reach of
# the keyboard where it scrolls.
LOOK_FOR_WIDTH = """
const screen_ = arguments[0];
const wide = [];
const unreached = [];
for (const node of document.querySelectorAll(".bd-article-container *")) {
  const style = getComputedStyle(node);
  if (node.scrollWidth > node.clientWidth + 1 && ["auto", "scroll"].includes(style.overflowX)
      && node.clientWidth && node.tabIndex < 0 && !node.querySelector("a, button, [tabindex='0']"))
    unreached.push(node.outerHTML.slice(0, 100));
  if (node.getBoundingClientRect().right <= screen_ + 1) continue;
  let box = node.parentElement;
  while (box !== document.body && getComputedStyle(box).overflowX === "visible")
    box = box.parentElement;
  if (box === document.body) wide.push(node.outerHTML.slice(0, 100));
}
return {wider: document.scrollingElement.scrollWidth - screen_, wide, unreached};
"""

# A number of pictures of the screen later; what moves has then moved.
WAIT_FRAMES = """
const done = arguments[arguments.length - 1];
let left = arguments[0];
const next = () => left-- ? requestAnimationFrame(next) : done();
next();
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


def frames(browser: WebDriver, number: int = 12) -> None:
    """Wait until the browser has drawn the page a number of times."""
    browser.execute_async_script(WAIT_FRAMES, number)


def theme(browser: WebDriver) -> str:
    """Return the colours that a page has, ``light`` or ``dark``."""
    return str(browser.execute_script("return document.documentElement.dataset.theme"))


def strangers(asked: list[str], address: str) -> list[str]:
    """Return those of the addresses asked for that lie outside of the site."""
    return [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def until(browser: WebDriver, condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait for at most ten seconds, or another time."""
    try:
        return bool(WebDriverWait(browser, seconds, 0.05).until(lambda _: condition()))
    except TimeoutException:
        return False


def appears(browser: WebDriver, selector: str) -> bool:
    """Wait until a page has what a selector names."""
    return until(browser, lambda: bool(browser.find_elements(By.CSS_SELECTOR, selector)))


def arrives(browser: WebDriver, part: str) -> bool:
    """Wait until the address of the page has a part."""
    return until(browser, lambda: part in browser.current_url)


def width(browser: WebDriver, size: str) -> dict[str, object]:
    """Return by how much a page is wider than the screen, what is, and what only a mouse scrolls.

    The page puts what scrolls in reach a moment after it has its width.
    """
    beside_bar = browser.execute_script("return document.documentElement.clientWidth")
    found: dict[str, object] = {}

    def clean() -> bool:
        found.update(browser.execute_script(LOOK_FOR_WIDTH, 390 if size == "phone" else beside_bar))
        return not any(found.values())

    until(browser, clean)
    return found
