"""The search finds: a word of one chapter leads to that chapter, with and without a server."""

import re
from pathlib import Path

import pytest
import snowballstemmer
from browsing import (
    appears,
    arrives,
    complaints,
    forget,
    open_page,
    requests,
    strangers,
    until,
)
from bs4 import BeautifulSoup
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

WORD = re.compile(r"(?<![\w-])[a-z]{6,}(?![\w-])")


@pytest.fixture(scope="module")
def own_words(pages: list[Path]) -> dict[str, str]:
    """Return for each chapter a long word of its prose whose stem is on no other page."""
    stem = snowballstemmer.stemmer("porter").stemWord  # the index of the search has stems
    prose, stems = {}, {}
    for page in pages:
        parsed = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        paragraphs = " ".join(part.get_text() for part in parsed.select("section > p"))
        prose[page.name] = set(WORD.findall(paragraphs))
        everything = parsed.select_one("article").get_text().lower()
        stems[page.name] = set(map(stem, re.findall(r"[a-z]+", everything)))
    found = {}
    for chapter in filter(re.compile(r"\d\d-").match, prose):
        others = set().union(*(stems[name] for name in stems if name != chapter))
        own = [word for word in prose[chapter] if stem(word) not in others]
        found[chapter] = min(own, key=lambda word: (-len(word), word))
    assert len(found) == 8
    return found


def test_a_word_of_one_chapter_leads_to_it(
    browser: WebDriver, address: str, own_words: dict[str, str]
) -> None:
    """By the field on a page and on to the chapter for one of them; the others by the address."""
    forget(browser)
    for number, (chapter, word) in enumerate(own_words.items()):
        if number == 0:
            open_page(browser, address, "book/intro.html")
            browser.find_element(By.CSS_SELECTOR, ".search-button-field").click()
            field = browser.find_element(By.CSS_SELECTOR, "dialog input[name=q]")
            assert until(browser, field.is_displayed)
            field.send_keys(word, Keys.ENTER)
            assert arrives(browser, "search.html?q=")
        else:
            browser.get(f"{address}/search.html?q={word}")
        assert appears(browser, "#search-results ul.search a"), word
        assert until(browser, lambda: "found" in browser.find_element(By.ID, "search-results").text)
        first = browser.find_element(By.CSS_SELECTOR, "#search-results ul.search a")
        assert f"/book/{chapter}" in str(first.get_attribute("href")), word
        if address.startswith("http"):
            # Where the browser allows it the page is quoted beneath.
            assert appears(browser, "#search-results p.context")
        if number == 0:
            first.click()
            assert arrives(browser, f"/book/{chapter}")
        asked, failed = requests(browser)
        assert failed == [], word
        assert strangers(asked, address) == []
        assert complaints(browser) == [], word
