"""The pages for readers who use no mouse. What axe-core says of a page is in test_pages.py."""

from collections.abc import Callable
from pathlib import Path

from browsing import appears, open_page, until
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement


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
