"""The pages for readers who do not see them, or use no mouse: axe-core, and the keyboard."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import appears, open_page, until
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

AXE = Path(__file__).parent / "axe" / "axe.min.js"

# A formula is hundreds of nodes in the colour of its line. For axe, which looks at each of them,
# its letters stand in as text.
PLAIN_FORMULAS = """
for (const formula of document.querySelectorAll("mjx-container"))
  formula.replaceWith(formula.textContent);
"""

# Hidden code and solutions.
OPEN_ALL = """
for (const code of document.querySelectorAll("article details")) code.open = true;
for (const button of document.querySelectorAll(".dropdown.toggle-hidden button.toggle-button"))
  button.click();
"""

# Of each rule that is broken: how badly, and where first.
RUN_AXE = """
const done = arguments[arguments.length - 1];
const say = rule => `${rule.impact} ${rule.id} (${rule.nodes.length}): ` +
  rule.nodes[0].html.slice(0, 150) + " " + rule.nodes[0].failureSummary;
axe.run(document, {resultTypes: ["violations"], preload: false})
  .then(found => done(found.violations.map(say)), error => done([`critical ${error}`]));
"""


def broken(browser: WebDriver) -> list[str]:
    """Return what axe calls a serious or critical fault of the page."""
    faults = browser.execute_async_script(RUN_AXE)
    return [fault for fault in faults if fault.startswith(("serious", "critical"))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing_serious(
    reader: Callable[..., WebDriver], served: str, pages: list[Path], size: str, scheme: str
) -> None:
    browser = reader(size, color_scheme=scheme, reduced_motion="reduce")
    for name in (*(f"book/{page.name}" for page in pages), "search.html", "genindex.html"):
        open_page(browser, served, name)
        assert browser.execute_script("return document.documentElement.dataset.theme") == scheme
        browser.execute_script(OPEN_ALL)
        browser.execute_script(PLAIN_FORMULAS)
        browser.execute_script(AXE.read_text(encoding="utf-8"))
        time.sleep(0.3)  # what opens does so slowly
        assert broken(browser) == [], name


def has_seen_focus(browser: WebDriver, wanted: WebElement) -> bool:
    """Go to an element from the one before it by the tabulator key; say whether that is seen."""
    browser.execute_script("arguments[0].focus()", wanted)
    browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    assert browser.switch_to.active_element != wanted
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element == wanted, "the keyboard does not reach it"
    style = "const s = getComputedStyle(arguments[0]); return [s.outlineStyle, s.outlineWidth]"
    shape, width = browser.execute_script(style, wanted)
    return bool(shape != "none" and float(width.removesuffix("px")) >= 2)


def first_shown(browser: WebDriver, selector: str) -> WebElement:
    return next(e for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed())


def test_solutions_open_by_the_keyboard(browser: WebDriver, served: str, pages: list[Path]) -> None:
    chapters = [page for page in pages if "solution dropdown" in page.read_text(encoding="utf-8")]
    assert len(chapters) >= 7
    for page in chapters:
        open_page(browser, served, f"book/{page.name}")
        solution = browser.find_element(By.CSS_SELECTOR, ".solution.dropdown")
        button = solution.find_element(By.TAG_NAME, "button")
        content = solution.find_element(By.CSS_SELECTOR, "section")
        assert has_seen_focus(browser, button), page.name
        assert not content.is_displayed(), page.name
        for key, opened in ((Keys.ENTER, True), (Keys.SPACE, False)):
            button.send_keys(key)
            assert until(browser, lambda c=content, o=opened: c.is_displayed() is o), page.name
            assert button.get_attribute("aria-expanded") == str(opened).lower()


def test_hidden_code_opens_by_the_keyboard(browser: WebDriver, served: str) -> None:
    open_page(browser, served, "book/01-hamiltonians.html")
    summary = browser.find_element(By.CSS_SELECTOR, "article details > summary")
    code = browser.find_element(By.CSS_SELECTOR, "article details pre")
    assert has_seen_focus(browser, summary)
    for opened in (True, False):
        summary.send_keys(Keys.ENTER)
        assert until(browser, lambda o=opened: code.is_displayed() is o)


def test_figures_are_reached_by_the_keyboard(
    browser: WebDriver, served: str, pages: list[Path]
) -> None:
    wanted = 'article input[type="range"], .srnn-ball button'
    reached = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if 'type="range"' not in text and 'class="srnn-ball' not in text:
            continue
        open_page(browser, served, f"book/{page.name}")
        for control in browser.find_elements(By.CSS_SELECTOR, wanted):
            assert has_seen_focus(browser, control), page.name
            reached += 1
    assert reached


def test_sidebars_and_colours_change_by_the_keyboard(
    reader: Callable[..., WebDriver], served: str
) -> None:
    browser = reader("phone", color_scheme="light", reduced_motion="reduce")
    open_page(browser, served, "book/intro.html")
    menu = first_shown(browser, ".primary-toggle")
    assert has_seen_focus(browser, menu)
    menu.send_keys(Keys.ENTER)
    shown = "dialog[open] a[href='01-hamiltonians.html']"
    assert appears(browser, shown)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert until(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, shown))

    switch = first_shown(browser, ".theme-switch-button")
    assert has_seen_focus(browser, switch)
    seen = set()
    for _ in range(3):
        switch.send_keys(Keys.ENTER)
        seen.add(browser.execute_script("return document.documentElement.dataset.mode"))
    browser.execute_script("localStorage.clear()")  # the other tests' reader has chosen nothing
    assert seen == {"light", "dark", "auto"}
