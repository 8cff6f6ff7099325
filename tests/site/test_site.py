"""The built site as files: complete, without a dead link, every picture described."""

import functools
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from bs4 import BeautifulSoup

import srnn

# In one process, which parses each page once.
pytestmark = pytest.mark.xdist_group("files")

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = re.compile(r"^[a-z]+:|^//")


@functools.cache
def soup(page: Path) -> BeautifulSoup:
    """Return a parsed page; pages have megabytes of markup, and each of several tests reads all."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def public_modules() -> list[str]:
    """Return the rooms, and the modules by their short addresses; `rollout` is a function."""
    found = {info.name for info in pkgutil.iter_modules(srnn.__path__)} | set(srnn._ADDRESSES)
    return [f"srnn.{name}" for name in sorted(found - {"rollout"}) if not name.startswith("_")]


def test_every_page_of_the_table_of_contents_is_there(site: Path) -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
    for name in files:
        assert (site / f"{name}.html").stat().st_size > 1000
    assert "book/intro.html" in (site / "index.html").read_text(encoding="utf-8")


def test_every_picture_is_described(pages: list[Path]) -> None:
    for page in pages:
        for picture in soup(page).select("article img"):
            alt = picture.get("alt", "")
            assert len(alt.split()) >= 5, f"{page.name}: {picture['src'][:80]}"
            assert not re.search(r"\.(png|jpe?g|svg)\b", alt), f"{page.name}: {alt}"


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    identifiers: dict[Path, set[str]] = {}

    def ids(page: Path) -> set[str]:
        if page not in identifiers:
            identifiers[page] = {tag["id"] for tag in soup(page).select("[id]")}
        return identifiers[page]

    broken = []
    for page in sorted(site.rglob("*.html")):
        if "_static" in page.parts:
            continue  # templates of the theme
        for tag in soup(page).select("a[href], link[href], img[src], script[src]"):
            address = tag.get("href") or tag.get("src") or ""
            if OUTSIDE.match(address):
                continue
            file, fragment = urldefrag(address)
            target = (page.parent / unquote(file.split("?")[0])).resolve() if file else page
            # A listing of code leads back to the name of a thing that it has itself, which for a
            # thing with two names may be the other one.
            if "_modules" in page.parts:
                fragment = ""
            if not target.is_file() or (fragment and unquote(fragment) not in ids(target)):
                broken.append(f"{page.relative_to(site)}: {address}")
    assert broken == []


def test_mathematics_and_scripts_come_with_the_site(site: Path, pages: list[Path]) -> None:
    for page in pages:
        for script in soup(page).select("script[src]"):
            assert not OUTSIDE.match(script["src"]), f"{page.name}: {script['src']}"
        files = [script["src"].split("?")[0] for script in soup(page).select("script[src]")]
        assert len(files) == len(set(files)), f"{page.name}: a script stands twice"
        for sheet in soup(page).select("link[rel=stylesheet]"):
            assert not OUTSIDE.match(sheet["href"]), f"{page.name}: {sheet['href']}"
    assert (site / "_static" / "mathjax" / "tex-mml-chtml.js").is_file()
    assert list((site / "_static" / "mathjax").rglob("*.woff"))


def test_sliders_have_a_name(pages: list[Path]) -> None:
    for page in pages:
        parsed = soup(page)
        labelled = {label.get("for") for label in parsed.select("label[for]")}
        for slider in parsed.select("input[type=range]"):
            assert slider.get("aria-label") or slider.get("id") in labelled, page.name


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    """Return what the pages of the reference have a place for."""
    reference = [soup(page) for page in (site / "book").glob("api*.html")]
    return {tag["id"] for page in reference for tag in page.select("[id]")}


@pytest.mark.parametrize("module", ["srnn", *public_modules()])
def test_every_public_name_is_in_the_reference(documented: set[str], module: str) -> None:
    namespace = importlib.import_module(module)
    parts = module.split(".")
    packages = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    missing = []
    for name in namespace.__all__:
        value = getattr(namespace, name)
        if inspect.ismodule(value):
            wanted = {f"module-{value.__name__}", f"module-{module}.{name}"}
        else:
            wanted = {f"{package}.{name}" for package in packages}
        if not wanted & documented:
            missing.append(name)
    assert missing == []
