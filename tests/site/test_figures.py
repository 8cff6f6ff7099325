"""Sliders and animations in a browser: by mouse and by keyboard, on a desktop and on a phone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import complaints, forget, frames, open_page, theme, until
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

TO_THE_MIDDLE = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"


def having(pages: list[Path], mark: str) -> list[Path]:
    found = [page for page in pages if mark in page.read_text(encoding="utf-8")]
    assert found, f"no page has {mark}"
    return found


def sliders(browser: WebDriver) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "article input[type=range]")


def picture(slider: WebElement) -> str:
    """Return the one picture beside a slider that is to be seen now."""
    around = slider.find_element(By.XPATH, "ancestor::*[.//img][1]")
    every = around.find_elements(By.TAG_NAME, "img")
    (shown,) = [p for p in every if p.is_displayed()]
    assert shown.get_attribute("alt")
    assert every.index(shown) == int(slider.get_property("value"))
    label = shown.get_attribute("data-label")
    assert around.find_element(By.TAG_NAME, "output").text == label
    assert slider.get_attribute("aria-valuetext") == label
    return shown.screenshot_as_base64


def by_mouse(browser: WebDriver, slider: WebElement) -> list[str]:
    """Click on the left end of the track, then drag to the right end."""
    browser.execute_script(TO_THE_MIDDLE, slider)
    reach = slider.size["width"] // 2 - 10
    ActionChains(browser, 50).move_to_element_with_offset(slider, -reach, 0).click().perform()
    assert slider.get_property("value") == slider.get_attribute("min")
    seen = [picture(slider)]
    browser.execute_script(TO_THE_MIDDLE, slider)
    mouse = ActionChains(browser, 50).move_to_element_with_offset(slider, -reach, 0)
    mouse.click_and_hold().move_by_offset(reach, 0).move_by_offset(reach, 0).release().perform()
    assert slider.get_property("value") == slider.get_attribute("max")
    return [*seen, picture(slider)]


def by_keyboard(browser: WebDriver, slider: WebElement) -> list[str]:
    """Go to the beginning, then on by one step."""
    seen = []
    for key in (Keys.HOME, Keys.ARROW_RIGHT):
        slider.send_keys(key)
        seen.append(picture(slider))
    return seen


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_sliders_change_the_picture(
    reader: Callable[..., WebDriver], site: Path, pages: list[Path], size: str, scheme: str
) -> None:
    browser = reader(size, color_scheme=scheme, reduced_motion="reduce")
    forget(browser)
    for page in having(pages, 'type="range"'):
        open_page(browser, site.as_uri(), f"book/{page.name}")
        assert theme(browser) == scheme
        assert sliders(browser), page.name
        for slider in sliders(browser):
            # A finger needs 24 pixels at least.
            assert slider.size["height"] >= 24, page.name
            assert slider.size["width"] >= 150, page.name
            for way in (by_mouse, by_keyboard):
                seen = way(browser, slider)
                assert seen[0] != seen[1], f"{page.name}: the picture stays"
        assert complaints(browser) == [], page.name


def places(moving: WebElement) -> list[str]:
    """Return where what moves in an animation is."""
    marks = moving.find_elements(By.CSS_SELECTOR, ".srnn-mark")
    assert marks
    return [str(mark.get_attribute("transform")) for mark in marks]


def animations(browser: WebDriver) -> list[tuple[WebElement, WebElement]]:
    """Return the animations of a page, each with its button."""
    found = browser.find_elements(By.CSS_SELECTOR, ".srnn-ball")
    assert found
    return [(moving, moving.find_element(By.TAG_NAME, "button")) for moving in found]


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_animations_run_by_themselves_and_stop_at_the_button(
    reader: Callable[..., WebDriver], address: str, pages: list[Path], size: str, scheme: str
) -> None:
    browser = reader(size, color_scheme=scheme, reduced_motion="no-preference")
    forget(browser)
    for page in having(pages, 'class="srnn-ball'):
        open_page(browser, address, f"book/{page.name}")
        for moving, button in animations(browser):
            browser.execute_script(TO_THE_MIDDLE, moving)
            assert button.size["height"] >= 24
            begin = places(moving)
            assert until(browser, lambda m=moving, b=begin: places(m) != b), page.name
            assert button.text == "Pause"
            button.send_keys(Keys.ENTER)  # by the keyboard
            stopped = places(moving)
            assert button.text == "Play"
            frames(browser)
            assert places(moving) == stopped, f"{page.name}: it goes on"
            button.send_keys(Keys.SPACE)
            assert until(browser, lambda m=moving, b=stopped: places(m) != b), page.name
        assert complaints(browser) == [], page.name


def test_animations_wait_where_less_motion_is_asked_for(
    reader: Callable[..., WebDriver], site: Path, pages: list[Path]
) -> None:
    browser = reader("desktop", color_scheme="light", reduced_motion="reduce")
    for page in having(pages, 'class="srnn-ball'):
        open_page(browser, site.as_uri(), f"book/{page.name}")
        for moving, button in animations(browser):
            assert button.text == "Play"
            begin = places(moving)
            frames(browser)
            assert places(moving) == begin, f"{page.name}: it moves"
            button.click()
            assert until(browser, lambda m=moving, b=begin: places(m) != b), page.name
