"""Every page in a browser, from a server and from a disk: whole, readable, within the screen."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from accessibility import faults
from browsing import (
    appears,
    arrives,
    complaints,
    forget,
    open_page,
    requests,
    strangers,
    theme,
    until,
    width,
)
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

TOC = (Path(__file__).resolve().parents[2] / "_toc.yml").read_text(encoding="utf-8")
BOOK = [f"{name}.html" for name in re.findall(r"^(?:root| +- file): (\S+)", TOC, re.MULTILINE)]
# Pages that the build makes by itself; of listings of code one of many.
OTHER_PAGES = ["search.html", "genindex.html", "py-modindex.html", "prf-prf.html"]
OTHER_PAGES += ["_modules/index.html", "_modules/srnn/motion/rollout.html"]

# What of a page a reader should not see: formulas left alone, in its sidebars too, those with an
# error in them, marks of TeX and of MyST in the text outside of code.
LOOK_FOR_SOURCE = r"""
const article = document.querySelector(".bd-article-container");
const formulas = [...document.querySelectorAll(".math")];
const copy = article.cloneNode(true);
copy.querySelectorAll("pre, code, script, style, mjx-container").forEach(node => node.remove());
const text = copy.textContent;
const roles = "cite|code|doc|download|eq|figure|glue|image|math|numref|prf|py|ref|sub|sup|term";
return {
  formulas: formulas.length,
  bare: formulas.filter(node => !node.querySelector("mjx-container")).map(node => node.textContent),
  wrong: [...document.querySelectorAll("mjx-merror")].map(node => node.dataset.mjxError),
  marks: text.match(/.{0,30}(\$|\\[(\[]|\\begin).{0,30}/g) || [],
  directives: text.match(
    new RegExp(".{0,30}(:::|```|~~~|\\{[a-z:-]+\\}`|\\{(" + roles + ")[:a-z-]*\\}).{0,30}", "g")
  ) || [],
};
"""

# Formulas in sentences that are wider than the screen; they scroll by themselves.
WIDE_FORMULAS = "return document.querySelectorAll('mjx-container.srnn-wide').length"

# What the page was when it was printed, or None.
ON_PAPER = "return window.onPaper || null"
WATCH_PRINTING = """
addEventListener("beforeprint", () => {
  window.onPaper = {
    theme: document.documentElement.dataset.theme,
    closed: document.querySelectorAll("article details:not([open])").length,
  };
});
"""


def look(browser: WebDriver, address: str, name: str, size: str) -> dict[str, object]:
    """Open a page and return what there is to say of it: of what is not wrong, nothing or 0."""
    forget(browser)
    open_page(browser, address, name)
    asked, failed = requests(browser)
    assert asked
    found = {"failed": failed, "outside": strangers(asked, address)}
    found |= browser.execute_script(LOOK_FOR_SOURCE)
    found |= width(browser, size)
    return found | {"theme": theme(browser), "console": complaints(browser)}


@pytest.mark.parametrize("name", [*BOOK, *OTHER_PAGES])
def test_a_page_is_whole_and_for_everyone_and_from_the_site_alone(
    reader: Callable[..., WebDriver], served: str, site: Path, name: str
) -> None:
    """As a server gives it on a desktop in the light, and from a disk on a phone in the dark."""
    text = (site / name).read_text(encoding="utf-8")
    formulas = len(re.findall(r"class=\"math ", text))
    for address, size, scheme in (
        (site.as_uri(), "phone", "dark"),
        (served, "desktop", "light"),
    ):
        browser = reader(size, color_scheme=scheme, reduced_motion="reduce")
        found = look(browser, address, name, size)
        assert (found.pop("theme"), found.pop("formulas")) == (scheme, formulas)
        assert {what: told for what, told in found.items() if told} == {}
    # The page as it is now, and then in the other sizes and colours.
    if not name.startswith("_modules"):
        assert faults(reader) == {}


def test_a_formula_that_is_wider_than_a_phone_scrolls(
    reader: Callable[..., WebDriver], served: str
) -> None:
    browser = reader("phone", color_scheme="light", reduced_motion="reduce")
    open_page(browser, served, "book/05-iso-convexity.html")
    assert until(browser, lambda: browser.execute_script(WIDE_FORMULAS) > 0)
    reader("desktop", color_scheme="light", reduced_motion="reduce")
    assert until(browser, lambda: browser.execute_script(WIDE_FORMULAS) == 0)


def test_the_first_page_leads_to_the_book(browser: WebDriver, address: str) -> None:
    browser.get(f"{address}/index.html")
    assert arrives(browser, "/book/intro.html")
    # The address is there before the page is.
    assert appears(browser, "article")


def test_a_page_on_paper_is_light_and_has_its_text_alone(
    reader: Callable[..., WebDriver], served: str
) -> None:
    browser = reader("desktop", color_scheme="dark", reduced_motion="reduce")
    open_page(browser, served, "book/01-hamiltonians.html")

    # Hidden code is opened, and afterwards all is as before.
    closed = "return document.querySelectorAll('article details:not([open])').length"
    before = browser.execute_script(closed)
    assert before
    browser.execute_script(WATCH_PRINTING)
    assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert browser.execute_script(ON_PAPER) == {"theme": "light", "closed": 0}
    assert theme(browser) == "dark"
    assert browser.execute_script(closed) == before

    # Solutions are shown, and what is for a screen is not.
    solution = browser.find_element(By.CSS_SELECTOR, ".solution.dropdown section")
    sidebar = browser.find_element(By.CSS_SELECTOR, ".bd-sidebar-primary")
    assert sidebar.is_displayed()
    assert not solution.is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert until(browser, solution.is_displayed)
        assert not sidebar.is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
