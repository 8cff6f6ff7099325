"""Every page in a browser, from a server and from a disk: whole, readable, within the screen."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import appears, arrives, complaints, forget, open_page, requests, until
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

# Pages that the build makes by itself; of listings of code one of many.
OTHER_PAGES = ("search.html", "genindex.html", "py-modindex.html", "prf-prf.html")
OTHER_PAGES += ("_modules/index.html", "_modules/srnn/motion/rollout.html")

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
return {page: document.scrollingElement.scrollWidth, wide, unreached};
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


@pytest.mark.parametrize(
    ("address", "size", "scheme"),
    [
        ("served", "desktop", "light"),
        ("served", "phone", "dark"),
        ("disk", "desktop", "dark"),
        ("disk", "phone", "light"),
    ],
    indirect=["address"],
)
def test_every_page_is_whole_and_from_the_site_alone(
    reader: Callable[..., WebDriver], address: str, pages: list[Path], size: str, scheme: str
) -> None:
    assert pages
    formulas = wide_formulas = 0
    browser = reader(size, color_scheme=scheme, reduced_motion="reduce")
    forget(browser)
    for name in (*(f"book/{page.name}" for page in pages), *OTHER_PAGES):
        open_page(browser, address, name)
        assert browser.execute_script("return document.documentElement.dataset.theme") == scheme
        asked, failed = requests(browser)
        assert asked, name
        assert failed == [], name
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        assert complaints(browser) == [], name
        found = browser.execute_script(LOOK_FOR_SOURCE)
        formulas += found.pop("formulas")
        assert found == {"bare": [], "wrong": [], "marks": [], "directives": []}, name
        if size == "phone":
            found = browser.execute_script(LOOK_FOR_WIDTH, 390)
            assert found == {"page": 390, "wide": [], "unreached": []}, name
            wide_formulas += browser.execute_script(WIDE_FORMULAS)
    assert formulas
    assert bool(wide_formulas) == (size == "phone")


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
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
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
