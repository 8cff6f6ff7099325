"""The repository's address is one setting, and every button leads to a file that is there."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zipfile import ZipFile

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from packaging.version import Version

import render_book
import set_address

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = "https://github.com/Some-Body/srnn.book"
SITE = "https://some-body.github.io/srnn.book/"
FILES = ("_config.yml", "_toc.yml", "README.md", "CITATION.cff", "pyproject.toml")
CHAPTERS = sorted(path.name for path in (ROOT / "book").glob("*.ipynb"))
# The script beside lowest.py, which it imports.
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / ".ci"))
    HOSTED: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "hosted.py"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what names the address, set to the placeholder."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "book").mkdir()
    for path in (ROOT / "book").glob("*.*"):
        shutil.copy(path, tmp_path / "book")
    set_address.write(tmp_path, set_address.Address(set_address.PLACEHOLDER))
    return tmp_path


def contents(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


# One setting


def test_everything_follows_a_sample_address(tree: Path) -> None:
    before = contents(tree)
    assert set_address.main([SAMPLE], tree) == 0
    config = yaml.safe_load((tree / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"] == {"url": SAMPLE, "branch": "main", "path_to_book": ""}
    assert config["launch_buttons"]["binderhub_url"] == "https://mybinder.org"
    assert config["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
    assert config["sphinx"]["config"]["ogp_site_url"] == config["html"]["baseurl"] == SITE
    for button in ("repository", "issues", "edit_page"):
        assert config["html"][f"use_{button}_button"] is True

    for name in CHAPTERS:
        assert f'"srnn @ git+{SAMPLE}"' in HOSTED["setup_cell"](tree / "book" / name)
        stored = before[f"book/{name}"].decode()
        assert (tree / "book" / name).read_text(encoding="utf-8") == stored.replace(
            set_address.PLACEHOLDER, SAMPLE
        )

    citation = yaml.safe_load((tree / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["repository-code"], citation["url"]) == (SAMPLE, SITE)
    references = (tree / "book" / "references.md").read_text(encoding="utf-8")
    assert f"  url     = {{{SAMPLE}}},\n}}\n" in references, "the entry of the software"
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Repository"] == SAMPLE
    assert project["urls"]["Documentation"] == SITE
    assert all(url.startswith((SAMPLE, SITE)) for url in project["urls"].values())

    readme = (tree / "README.md").read_text(encoding="utf-8")
    assert "placeholder" not in readme
    assert SITE in readme
    for name in CHAPTERS:
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| [{Path(name).stem}]")]
        assert row.count(f"book/{name})") == 3, "the chapter itself, Binder and Colab"


def test_no_other_file_names_the_address() -> None:
    """A file that does would be left behind."""
    listed = subprocess.run(
        ["git", "grep", "-lI", r"github\.com/ORG"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode > 1:
        pytest.skip("this is not a clone")
    follow = {path.relative_to(ROOT).as_posix() for path in set_address.places(ROOT)}
    script = {"book/_scripts/set_address.py"}
    assert set(listed.stdout.split()) <= follow | script


def test_an_address_is_set_again_changed_and_taken_back(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placeholder = contents(tree)
    set_address.main([SAMPLE], tree)
    once = contents(tree)
    capsys.readouterr()
    set_address.main([SAMPLE], tree)
    assert contents(tree) == once
    assert capsys.readouterr().out == ""
    other = "https://github.com/else/where"
    set_address.main([other, "--site", "https://book.example.org/"], tree)
    for text in contents(tree).values():
        assert b"ome-Body" not in text
        assert b"some-body" not in text
    assert set_address.setting(tree) == set_address.Address(other, "https://book.example.org/")
    set_address.main([SAMPLE], tree)
    assert contents(tree) == once
    set_address.main([set_address.PLACEHOLDER], tree)
    assert contents(tree) == placeholder


def test_the_book_is_on_the_pages_of_the_repository() -> None:
    for address, site in (
        ("https://github.com/Ab/c", "https://ab.github.io/c/"),
        ("https://github.com/Ab/ab.github.io", "https://ab.github.io/"),
        (set_address.PLACEHOLDER, ""),
    ):
        assert set_address.Address(address).site == site


def test_an_address_that_links_cannot_be_made_of_is_refused(tree: Path) -> None:
    before = contents(tree)
    for address in (
        *("github.com/a/b", "https://github.com/a", "https://github.com/a/b/"),
        *("https://github.com/a/b.git", "https://example.org/a/b", "git@github.com:a/b"),
    ):
        with pytest.raises(SystemExit, match="Expected an address of the form"):
            set_address.main([address], tree)
    with pytest.raises(SystemExit, match="slash at the end"):
        set_address.main([SAMPLE, "--site", "https://example.org"], tree)
    assert contents(tree) == before


# Before a release


def test_a_release_is_refused_while_the_address_is_a_placeholder(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_address.main(["--check"], tree) == 1
    said = capsys.readouterr().err
    assert "placeholder" in said
    assert "python book/_scripts/set_address.py https://github.com/OWNER/NAME" in said
    set_address.main([SAMPLE], tree)
    assert set_address.main(["--check"], tree) == 0


def test_a_release_is_refused_when_one_file_is_left_behind(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tree)
    set_address.main([SAMPLE], tree)
    for name in (*FILES[2:], *(f"book/{name}" for name in CHAPTERS)):
        new = (tree / name).read_bytes()
        (tree / name).write_bytes(before[name])
        assert set_address.main(["--check"], tree) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"{name} does not follow the address {SAMPLE}")
        assert said.count("does not follow") == 1
        (tree / name).write_bytes(new)


def test_a_release_is_refused_when_one_setting_is_left_behind(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_address.main([SAMPLE], tree)
    config = tree / "_config.yml"
    text = config.read_text(encoding="utf-8")
    for line, left in (
        ("use_edit_page_button: true", "use_edit_page_button: false"),
        ("use_issues_button: true", "use_issues_button: false"),
        ("use_repository_button: true", "use_repository_button: false"),
        ("binderhub_url: https://mybinder.org", 'binderhub_url: ""'),
        ("colab_url: https://colab.research.google.com", 'colab_url: ""'),
        (f"ogp_site_url: {SITE}", 'ogp_site_url: ""'),
    ):
        assert text.count(line) == 1
        config.write_text(text.replace(line, left), encoding="utf-8")
        assert set_address.main(["--check"], tree) == 1
        assert capsys.readouterr().err.startswith("_config.yml does not follow")


# Links


def github_file(address: str) -> str | None:
    """Return the file of the sample repository's main branch that a link leads to, if it does."""
    parts = urlsplit(address)
    if parts.netloc == "mybinder.org" and parts.path.startswith("/v2/"):
        assert parts.path == "/v2/gh/Some-Body/srnn.book/main", address
        ((shown,),) = parse_qs(parts.query, strict_parsing=True).values()
        assert shown.startswith("lab/tree/"), address
        return shown.removeprefix("lab/tree/")
    if parts.netloc == "colab.research.google.com" and parts.path.startswith("/github/"):
        begin = "/github/Some-Body/srnn.book/blob/main/"
        assert parts.path.startswith(begin), address
        return unquote(parts.path.removeprefix(begin))
    if address.startswith(f"{SAMPLE}/edit/") or address.startswith(f"{SAMPLE}/blob/"):
        begin, kind = address.removeprefix(f"{SAMPLE}/").split("/main/", 1)
        assert begin in ("edit", "blob"), address
        return unquote(kind)
    return None


def test_the_badges_of_the_readme_open_chapters(tree: Path) -> None:
    set_address.main([SAMPLE], tree)
    readme = (tree / "README.md").read_text(encoding="utf-8")
    files = [file for link in re.findall(r"\]\(([^)]+)\)", readme) if (file := github_file(link))]
    assert sorted(files) == sorted(2 * [f"book/{name}" for name in CHAPTERS])


def shorten(book: Path) -> None:
    """Leave of each page its title: what a page's buttons lead to does not depend on the rest."""
    for path in book.glob("*.md"):
        path.write_text("# A page\n", encoding="utf-8")
    for path in book.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [nbformat.v4.new_markdown_cell("# A chapter")]
        nbformat.write(notebook, path)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the text and the address of each link of a page's header."""
    for link in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select(
        ".article-header-buttons a[href]"
    ):
        yield link.get_text(strip=True), link["href"]


@pytest.mark.slow
def test_every_launch_link_of_the_built_pages_names_a_file_that_exists(tree: Path) -> None:
    set_address.main([SAMPLE], tree)
    for folder in (ROOT / "book").iterdir():
        if folder.is_dir() and folder.name not in ("_scripts", "__pycache__"):
            shutil.copytree(folder, tree / "book" / folder.name)
    source = tree / "source"
    render_book.stage(tree, source)
    shorten(source / "book")
    site = render_book.build(source, tree / "output").parent
    pages = sorted((site / "book").glob("*.html"))
    assert len(pages) >= len(CHAPTERS) + 4
    for page in pages:
        (stored,) = [p for p in (ROOT / "book").glob(f"{page.stem}.*") if p.suffix != ".bib"]
        found = dict(links(page))
        file = f"book/{stored.name}"
        leads = {text: target for text, link in found.items() if (target := github_file(link))}
        wanted = {"Suggest edit"} | ({"Binder", "Colab"} if stored.suffix == ".ipynb" else set())
        assert leads == dict.fromkeys(wanted, file)
        assert found["Repository"] == SAMPLE
        assert found["Open issue"].startswith(f"{SAMPLE}/issues/new?")
        (download,) = [link for text, link in found.items() if text == stored.suffix]
        assert (page.parent / download).resolve() == site / "_sources" / file
        assert (page.parent / download).read_bytes() == (source / file).read_bytes()


# The setup cell on a hosted notebook service


def repack(name: str, folder: Path) -> None:
    """Make a wheel of an installed package, for an index without a network."""
    package = distribution(name)
    files = [f for f in package.files or [] if ".." not in f.parts and f.suffix != ".pyc"]
    with ZipFile(folder / f"{name}-{package.version}-py3-none-any.whl", "w") as wheel:
        for file in files:
            wheel.write(str(package.locate_file(file)), str(file))


def describe(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def write_empty_wheel(name: str, version: str, folder: Path) -> None:
    """Make a wheel with nothing in it, of a version that pip would prefer to any other."""
    info = f"{name}-{version}.dist-info"
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", describe(name, version))
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that stands for the package index: srnn, what it lacks, and temptations."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", folder, ROOT], check=True, env=offline(folder))
    for name in ("jaxtyping", "wadler_lindig"):
        repack(name, folder)
    for name in ("numpy", "torch"):
        write_empty_wheel(name, "99.0", folder)
    return folder


def offline(wheels: Path) -> dict[str, str]:
    """Return the environment of a pip that knows no index but a folder, and no settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return kept | own | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@dataclass(frozen=True)
class Service:
    """An interpreter that has the packages of this one, but srnn and what comes with it."""

    python: Path
    prefix: Path
    versions: dict[str, str]

    def added(self) -> dict[str, str]:
        (site,) = self.prefix.glob("lib/python*/site-packages")
        return {d.name: d.version for d in distributions(path=[str(site)])}


def service(folder: Path, *, without: Iterable[str] = (), **versions: str) -> Service:
    """Make a service that tells pip of the lowest allowed versions, or of others that are given.

    The code of the packages is that of this environment, by links. Only what is said of the
    versions of those that srnn needs is another: it is what pip decides by.
    """
    lowest = dict(pin.split("==") for pin in HOSTED["lowest"]())
    versions = {n: v for n, v in (lowest | versions).items() if n not in {"jaxtyping", *without}}
    absent = {"srnn", "jaxtyping", "wadler_lindig", *without}
    machine = folder / "machine"
    machine.mkdir()
    for entry in Path(distribution("pip").locate_file("")).iterdir():
        name = entry.name.partition("-")[0] if entry.suffix == ".dist-info" else entry.name
        described_anew = entry.suffix == ".dist-info" and name in versions
        if name not in absent and entry.suffix != ".pth" and not described_anew:
            (machine / entry.name).symlink_to(entry)
    for name, version in versions.items():
        info = machine / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(describe(name, version), encoding="utf-8")
    prefix = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    # What stands in a folder that is named in this way pip sees, and may not change.
    (site / "machine.pth").write_text(f"{machine}\n", encoding="utf-8")
    return Service(prefix / "bin" / "python", prefix, versions)


# A service may have a build of PyTorch of its own, which its version names.
@pytest.mark.slow
@pytest.mark.parametrize("build", ["", "+cu126"])
def test_the_setup_cell_brings_what_is_missing_and_keeps_the_lowest_numpy_and_torch(
    tmp_path: Path, wheels: Path, build: str
) -> None:
    (wheel,) = wheels.glob("srnn-*.whl")
    lowest = dict(pin.split("==") for pin in HOSTED["lowest"]())
    for number, cell in enumerate({HOSTED["setup_cell"](ROOT / "book" / n) for n in CHAPTERS}):
        folder = tmp_path / str(number)
        folder.mkdir()
        machine = service(folder, torch=f"{lowest['torch']}{build}")
        told = Version(machine.versions["torch"])
        here = Version(Version(distribution("torch").version).base_version)  # without +cpu
        assert told <= here
        outcome = HOSTED["run"](
            machine.python, HOSTED["from_wheel"](cell, wheel), offline(wheels), folder
        )
        assert HOSTED["complaint"](outcome, machine.versions, machine.prefix) is None
        assert set(machine.added()) == {"srnn", "jaxtyping", "wadler_lindig"}


@pytest.mark.slow
def test_the_setup_cell_fails_where_torch_is_too_old_and_still_keeps_it(
    tmp_path: Path, wheels: Path
) -> None:
    (wheel,) = wheels.glob("srnn-*.whl")
    machine = service(tmp_path, torch="1.0")
    cell = HOSTED["from_wheel"](HOSTED["setup_cell"](ROOT / "book" / CHAPTERS[0]), wheel)
    outcome = HOSTED["run"](machine.python, cell, offline(wheels), tmp_path)
    assert "No module named 'srnn'" in outcome.error
    assert "torch==1.0" in outcome.output
    assert machine.added() == {}
    assert HOSTED["complaint"](outcome, machine.versions, machine.prefix)


@pytest.mark.slow
def test_the_setup_cell_installs_torch_where_there_is_none(tmp_path: Path, wheels: Path) -> None:
    (wheel,) = wheels.glob("srnn-*.whl")
    machine = service(tmp_path, without=["torch"])
    cell = HOSTED["from_wheel"](HOSTED["setup_cell"](ROOT / "book" / CHAPTERS[0]), wheel)
    HOSTED["run"](machine.python, cell, offline(wheels), tmp_path)
    assert machine.added()["torch"] == "99.0"
    assert "numpy" not in machine.added()
