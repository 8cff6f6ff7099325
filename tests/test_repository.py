"""The files around the library say the same things and hold what they promise."""

import ast
import configparser
import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import srnn

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUNTIME = [Requirement(text) for text in PROJECT["dependencies"]]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def read_yaml(name: str) -> Any:
    return yaml.safe_load(read(name))


def tracked() -> list[Path]:
    """Return the files under version control, or all that could be outside of a clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a clone")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def pins() -> dict[str, str]:
    """Return the tested version of each package that constraints.txt pins."""
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Versions and dependencies


def may_follow(new: Version, last: Version | None) -> bool:
    """Say whether a version is the next one after the last released, by semantic versioning."""
    if last is None:
        return new in (Version("0.1.0"), Version("1.0.0"))
    following = (
        (last.major + 1, 0, 0),
        (last.major, last.minor + 1, 0),
        (last.major, last.minor, last.micro + 1),
    )
    return new.release in following


@pytest.mark.parametrize(
    ("new", "last", "follows"),
    [
        *(("0.1.0", None, True), ("0.2.0", None, False), ("0.2.0", "0.1.3", True)),
        *(("0.1.4", "0.1.3", True), ("1.0.0", "0.1.3", True), ("0.1.3", "0.1.3", False)),
        *(("0.3.0", "0.1.3", False), ("0.2.1", "0.1.3", False), ("0.1.2", "0.1.3", False)),
    ],
)
def test_the_rule_for_the_next_version(new: str, last: str | None, follows: bool) -> None:
    assert may_follow(Version(new), Version(last) if last else None) is follows


def test_the_version_is_one() -> None:
    """It is the newest of the changelog, or while changes wait there, the one that follows."""
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "srnn/__init__.py"
    assert read_yaml("CITATION.cff")["version"] == srnn.__version__
    titles = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    released = [Version(title) for title in titles if title != "Unreleased"]
    assert "Unreleased" not in titles[1:]
    assert released == sorted(released, reverse=True)
    now, last = Version(srnn.__version__), released[0] if released else None
    assert now == last or ("Unreleased" in titles and may_follow(now, last))
    try:
        installed = version("srnn")
    except PackageNotFoundError:
        return  # the tests also run in a checkout that is not installed
    assert installed == srnn.__version__


def test_every_extension_of_the_book_comes_with_the_book_extra() -> None:
    comes_from = {"sphinx_exercise": "sphinx-exercise", "sphinx_proof": "sphinx-proof"}
    comes_from["sphinxext.opengraph"] = "sphinxext-opengraph"
    names = {Requirement(text).name for text in EXTRAS["book"]}
    for extension in read_yaml("_config.yml")["sphinx"]["extra_extensions"]:
        assert extension.startswith("sphinx.ext.") or comes_from[extension] in names


def test_bounds_are_lower_ones_and_every_pin_is_exact_and_within_them() -> None:
    for requirement in RUNTIME:
        assert [bound.operator for bound in requirement.specifier] == [">="]
    tested = {normal(name): pin for name, pin in pins().items()}
    assert "srnn" not in tested
    assert not any("+" in pin for pin in tested.values())
    for texts in ([str(requirement) for requirement in RUNTIME], *EXTRAS.values()):
        for requirement in map(Requirement, texts):
            if requirement.name != "srnn":
                assert requirement.specifier.contains(tested[normal(requirement.name)])


def test_jupyter_book_is_version_1_wherever_it_is_asked_for() -> None:
    asked = re.compile(r"jupyter[-_]book\s*(\[[^]]*\])?\s*((?:[<>=!~]=?[^\s\"'`;]+)+)")
    mentions = 0
    for path in tracked():
        if path.suffix in {".md", ".toml", ".txt", ".yml", ".ipynb", ".py", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            if path.suffix not in {".toml", ".txt", ".py"}:
                for line in text.splitlines():
                    if re.search(r"pip install .*jupyter-book", line):
                        assert "<2" in line, f"{path.name}: {line}"
            for match in asked.finditer(text):
                mentions += 1
                specifier = match[2].rstrip(".,)")
                assert "<2" in specifier or specifier.startswith("==1."), f"{path.name}: {match[0]}"
    assert mentions >= 4


def test_the_lowest_versions_are_derived_from_the_bounds() -> None:
    lowest = runpy.run_path(str(ROOT / ".ci" / "lowest.py"))["lowest"]()
    assert len(lowest) == len(RUNTIME)
    for pin, requirement in zip(lowest, RUNTIME, strict=True):
        name, number = pin.split("==")
        assert name == requirement.name
        assert requirement.specifier.contains(number)
        assert Version(number) <= Version(pins()[name])


def test_binder_reads_environment_yml_and_the_pins() -> None:
    # What conda and Binder hand to pip, as a requirements file beside environment.yml.
    (python,) = re.findall(r"^  - python=(\d+\.\d+)$", read("environment.yml"), re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    index, constraints, _ = environment_pip()
    assert index == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert constraints == "-c constraints.txt"
    assert not any((ROOT / name).exists() for name in ("binder", ".binder")), "read in its place"


def environment_requirements() -> list[Requirement]:
    """Return all that the pip section of environment.yml installs, the extra written out."""
    (package,) = re.findall(r"^-e \.\[(\w+)\]$", "\n".join(environment_pip()), re.MULTILINE)
    return RUNTIME + [Requirement(text) for text in EXTRAS[package]]


def environment_pip() -> list[str]:
    found: list[str] = read_yaml("environment.yml")["dependencies"][2]["pip"]
    return found


def imported(source: str) -> set[str]:
    """Return the packages that a piece of Python imports, lines of IPython left out."""
    code = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("%"))
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_environment_has_every_package_that_the_chapters_and_the_library_import() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "srnn").rglob("*.py")]
    for path in (ROOT / "book").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        sources += [cell.source for cell in cells if cell.cell_type == "code"]
    names = set().union(*map(imported, sources)) - set(sys.stdlib_module_names) - {"srnn"}
    assert names >= {"torch", "numpy", "scipy", "matplotlib"}
    has = {normal(requirement.name) for requirement in environment_requirements()}
    # These come with others. `distributed` is for a cluster and `pandas` for tables, and both are
    # asked for by name.
    comes_with = {"IPython": "ipykernel", "cycler": "matplotlib", "PIL": "matplotlib"}
    assert {name for name in names if normal(comes_with.get(name, name)) not in has} == {
        *("distributed", "pandas"),
    }


def test_the_environment_can_install_the_tested_versions() -> None:
    """Each requirement is pinned by the constraints that it names, within its own bounds."""
    tested = {normal(name): pin for name, pin in pins().items()}
    for requirement in environment_requirements():
        assert requirement.specifier.contains(tested[normal(requirement.name)]), requirement


@pytest.mark.slow
def test_binder_takes_python_3_11_and_copies_the_repository_first(tmp_path: Path) -> None:
    """Let Binder's own program write the recipe of its image; the image itself is not built."""
    for path in tracked():
        if "_vendor" not in path.parts and path.suffix != ".safetensors":
            copy = tmp_path / "clone" / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."],
        cwd=tmp_path / "clone",
        capture_output=True,
        text=True,
        check=True,
    )
    recipe = done.stdout + done.stderr
    # The Python is that of the list of packages, `environment.py-3.11-...lock`, its name escaped.
    assert re.findall(r"environment-2epy-2d(\d+)-2e(\d+)-", recipe) == [("3", "11")]
    copied = recipe.index("COPY --chown=0:0 src/ ${REPO_DIR}/")
    made = recipe.index('env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"')
    assert copied < made, "pip could not read constraints.txt and pyproject.toml"


# Commands and workflows


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE))
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "book/testing.md",
        ".ci/run",
        *map(str, WORKFLOWS),
    ):
        text = read(name)
        named = set(re.findall(r"(?:`|run: |^)make ([a-z-]+)", text, flags=re.MULTILINE))
        assert named <= targets, name


def commands(target: str, **variables: str) -> str:
    """Return what `make target` would run in a checkout where nothing is installed yet."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    for name in ("CONSTRAINTS", "SRNN_SITE", "CHAPTER"):
        environment.pop(name, None)
    done = subprocess.run(
        ["make", "-n", "VENV=not-made-yet", target],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_make_installs_the_tested_versions_or_those_it_is_told() -> None:
    tested, newest = commands("lint"), commands("lint", CONSTRAINTS="/dev/null")
    assert '-c constraints.txt -e ".[dev]"' in tested
    assert '-c /dev/null -e ".[dev]"' in newest
    stamps = [set(re.findall(r"not-made-yet/installed-\d\S+", text)) for text in (tested, newest)]
    assert all(stamps), "no stamp is made"
    assert not stamps[0] & stamps[1], "one set would be taken for the other"


@pytest.mark.parametrize(
    ("stored", "compared"),
    [
        ("the period is 0.9 s, a beat 5 ms", "the period is 0.9 s, a beat 5 ms"),
        ("<srnn.Model at 0x7f52d1f1c950>", "<srnn.Model at ADDRESS>"),
        ('alt="two curves" src="data:image/png;base64,iVB/+s=="', 'alt="two curves" src="PICTURE"'),
    ],
)
def test_nothing_but_what_is_random_is_left_out_of_the_comparison(
    stored: str, compared: str
) -> None:
    rules = configparser.RawConfigParser()
    rules.read(ROOT / "tests" / "nbval.cfg")
    for name in rules.sections():
        stored = re.sub(rules[name]["regex"], rules[name]["replace"], stored)
    assert stored == compared


def test_a_chapter_is_compared_once_and_a_site_that_is_there_is_not_rendered_again() -> None:
    alone, after_book = commands("test"), commands("test", SRNN_SITE="_build/html")
    assert "render_book.py --output _build/stored\n" in alone.replace(" ||", "\n")
    assert "render_book.py" not in after_book
    for run, site in ((alone, "_build/stored/html"), (after_book, "_build/html")):
        assert run.count(" book --nbval ") == 1
        assert f"SRNN_SITE={site} " in run
        assert "--fresh" not in run
        assert "--cov=srnn" in run


def test_the_book_is_made_afresh_as_a_whole_or_in_one_chapter() -> None:
    assert commands("book").endswith("--output _build --fresh \n")
    one = commands("book", CHAPTER="02-integrators")
    assert one.endswith("--output _build --fresh 02-integrators\n")


def test_the_quick_run_leaves_out_what_takes_long() -> None:
    run = commands("quick")
    assert "--ignore=tests/site" in run
    assert '-m "not slow"' in run
    assert not re.search("render_book|nbval|--cov", run)


def test_the_ci_script_installs_proves_the_book_on_one_chapter_and_calls_the_test() -> None:
    script = read(".ci/run")
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    calls = re.findall(r"^make (.*)", script, flags=re.MULTILINE)
    chapter = calls[1].removeprefix("book CHAPTER=")
    assert (ROOT / "book" / f"{chapter}.ipynb").exists()
    # The site that is tested is the one that `make book` has left.
    assert calls == ["install", f"book CHAPTER={chapter}", "test SRNN_SITE=_build/html"]
    assert "SRNN_NO_SKIP=1" in script
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_whole(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True]
    assert workflow["permissions"]
    assert workflow["jobs"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"[a-z-]+/[a-z-]+@v\d+", step["uses"])
            else:
                for script in re.findall(r"(?:bash|python) (\.?[\w/.]+/[\w.]+)", step["run"]):
                    assert (ROOT / script).exists() or script.startswith(".venv"), script


def test_no_machine_path_or_unfinished_text_is_tracked() -> None:
    here = re.compile(r"/(?:home|Users|root|work|tmp)/[A-Za-z]")
    for path in tracked():
        if path.suffix in {".md", ".toml", ".txt", ".yml", ".ipynb", ".py", ".cff", ".bib", ".cfg"}:
            found = here.search(path.read_text(encoding="utf-8"))
            assert found is None or path == Path(__file__), f"{path}: {found}"


def test_no_tracked_file_is_large() -> None:
    sizes = {path: path.stat().st_size for path in tracked() if "_vendor" not in path.parts}
    large = [path.name for path, size in sizes.items() if size > 1_000_000]
    # The paper's network for three bodies has a million weights.
    assert large == ["three-body-srnn-paper.safetensors"]
    assert max(sizes.values()) < 5_000_000


# Words


def test_the_book_says_how_to_cite_it_as_the_citation_file_does() -> None:
    page, citation = read("book/references.md"), read_yaml("CITATION.cff")
    entries = dict(re.findall(r"^@(\w+)\{(.*?)^\}", page, flags=re.MULTILINE | re.DOTALL))
    assert set(entries) == {"software", "inproceedings"}
    for value in (citation["title"], citation["version"], citation["license"]):
        assert f"{{{value}}}" in entries["software"]
    (paper,) = citation["references"]
    for value in (paper["title"], str(paper["year"]), paper["url"]):
        assert f"{{{value}}}" in entries["inproceedings"]
    assert entries["inproceedings"].strip() in read("README.md")


def test_the_glossary_has_each_word_once_and_says_where_it_comes_from() -> None:
    (text,) = re.findall(
        r"```\{glossary\}\n:sorted:\n\n(.*?)```", read("book/glossary.md"), re.DOTALL
    )
    entries = [entry.split("\n", 1) for entry in text.strip().split("\n\n")]
    words = [word for word, _ in entries]
    assert len(words) == len(set(words)) >= 25
    for word, meaning in entries:
        assert re.search(r"\{doc\}`(\d\d-[a-z-]+|notation)`", meaning), word


def test_what_the_page_on_tests_names_exists() -> None:
    page = read("book/testing.md")
    for name in re.findall(r"`(tests/[\w/.]+)`", page):
        assert (ROOT / name).exists(), name


def test_buttons_are_off_while_the_address_is_a_placeholder() -> None:
    """How an address is set and what then follows is in test_launch.py."""
    config = read_yaml("_config.yml")
    known = "ORG/REPO" not in config["repository"]["url"]
    assert config["repository"]["branch"] == "main"
    for button in ("use_repository_button", "use_issues_button", "use_edit_page_button"):
        assert config["html"][button] is known
    for button in ("binderhub_url", "colab_url"):
        assert bool(config["launch_buttons"][button]) is known
    assert ("placeholder" in read("README.md")) is not known


def test_the_table_of_contents_names_files_that_exist_and_all_chapters() -> None:
    toc = read_yaml("_toc.yml")
    assert toc["format"] == "jb-book"
    files = [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
    for name in files:
        assert any((ROOT / f"{name}{suffix}").exists() for suffix in (".ipynb", ".md")), name
    chapters = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.ipynb")}
    assert chapters <= set(files)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_to_files(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", read(name)):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_readme_leads_to_every_page_of_the_book() -> None:
    linked = set(re.findall(r"\]\((book/[^)]+)\.(?:md|ipynb)\)", read("README.md")))
    pages = {c["file"] for part in read_yaml("_toc.yml")["parts"] for c in part["chapters"]}
    assert linked == pages


# The quickstart


def quickstart(name: str) -> str:
    """Return the code block of a page that trains a model."""
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", read(name), re.DOTALL) if "fit" in c]
    return code


def test_the_quickstart_is_the_same_everywhere() -> None:
    assert quickstart("README.md") == quickstart("book/intro.md")


def test_the_quickstart_has_ten_lines_and_names_that_exist() -> None:
    code = quickstart("README.md")
    assert len(code.strip().splitlines()) == 10
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if re.fullmatch(r"srnn(\.\w+)+", text):
                names.add(text)
    assert len(names) >= 4
    for name in names:
        value: Any = importlib.import_module("srnn")
        for part in name.split(".")[1:]:
            value = getattr(value, part)


@pytest.mark.slow
def test_the_quickstart_runs_when_it_is_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = quickstart("README.md")
    for long, short in (
        ("masses=20", "masses=3"),
        ("dim=20", "dim=3"),
        ("hidden=256", "hidden=16"),
        ("trajectories=1000", "trajectories=40"),
        ("steps=199", "steps=19"),
        ("iso=True)  ", "iso=True, epochs=2)  "),
    ):
        assert long in code
        code = code.replace(long, short)
    exec(compile(code, "README.md", "exec"), {})
    assert "tensor(" in capsys.readouterr().out
    assert (tmp_path / "chain.srnn").exists()
