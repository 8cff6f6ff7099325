"""Set the address of the repository everywhere it stands, or check that it is set.

    python book/_scripts/set_address.py https://github.com/OWNER/NAME
    python book/_scripts/set_address.py https://github.com/OWNER/NAME --site https://example.org/
    python book/_scripts/set_address.py --check      # what `make release-check` calls

The setting is ``repository.url`` in ``_config.yml``. What follows from it: the buttons of the book,
the address of the published book, the setup cell of every chapter, the README, CITATION.cff, the
entry to cite on the page of references, and pyproject.toml. Each of these is a function of its own
text and the address. So the same address again changes nothing, another one replaces it everywhere,
and the placeholder takes it back.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "https://github.com/ORG/REPO"
REPOSITORY = r"https://github\.com/[\w.-]+/[\w.-]+"
BINDER = "https://mybinder.org"
COLAB = "https://colab.research.google.com"
UNSET = '""'  # an empty string in YAML


@dataclass(frozen=True)
class Address:
    """Where the repository is, and where the book made of it is published.

    Parameters
    ----------
    repository : str
        ``https://github.com/OWNER/NAME``.
    site : str, optional
        The published book, by default GitHub's pages of that repository.
    branch : str, optional
        The branch that links name.
    """

    repository: str
    site: str = ""
    branch: str = "main"

    def __post_init__(self) -> None:
        if not re.fullmatch(REPOSITORY, self.repository) or self.repository.endswith(".git"):
            raise SystemExit(
                "Expected an address of the form https://github.com/OWNER/NAME, without .git or a "
                f"slash at its end; got {self.repository}."
            )
        if self.known and not self.site:
            owner, name = self.repository.split("/")[-2:]
            home = f"{owner.lower()}.github.io"
            path = "" if name.lower() == home else f"{name}/"
            object.__setattr__(self, "site", f"https://{home}/{path}")
        if self.site and not re.fullmatch(r"https?://\S+/", self.site):
            raise SystemExit(
                f"Expected the published book at https://.../ with a slash at the end; got "
                f"{self.site}."
            )

    @property
    def known(self) -> bool:
        """Whether this is a real address, not the placeholder."""
        return self.repository != PLACEHOLDER

    def binder(self, file: str) -> str:
        """Return the link that opens a notebook of the repository on Binder."""
        owner, name = self.repository.split("/")[-2:]
        return f"{BINDER}/v2/gh/{owner}/{name}/{self.branch}?urlpath=lab/tree/{file}"

    def colab(self, file: str) -> str:
        """Return the link that opens a notebook of the repository in Colab."""
        owner, name = self.repository.split("/")[-2:]
        return f"{COLAB}/github/{owner}/{name}/blob/{self.branch}/{file}"


def replace_once(pattern: str, new: str, text: str, what: str) -> str:
    """Replace the one place that matches `pattern`; there has to be exactly one."""
    changed, count = re.subn(pattern, new, text, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"Expected one place for {what}; found {count}.")
    return changed


def config(text: str, address: Address) -> str:
    """Return _config.yml with the address, and its buttons on or off."""
    on = "true" if address.known else "false"
    settings = {
        "url": address.repository,
        "binderhub_url": BINDER if address.known else UNSET,
        "colab_url": COLAB if address.known else UNSET,
        "baseurl": address.site or UNSET,
        "use_repository_button": on,
        "use_issues_button": on,
        "use_edit_page_button": on,
        "ogp_site_url": address.site or UNSET,
    }
    for name, value in settings.items():
        text = replace_once(rf"^( *){name}: .*$", rf"\g<1>{name}: {value}", text, name)
    return text


def notebook(text: str, address: Address) -> str:
    """Return a chapter, as it is stored, whose setup cell installs from the address."""
    return replace_once(
        rf"git\+{REPOSITORY}(?=\\\")", f"git+{address.repository}", text, "the setup's address"
    )


def citation(text: str, address: Address) -> str:
    """Return CITATION.cff with the addresses of the code and of the book."""
    text = re.sub(r"^(repository-code|url): .*\n", "", text, flags=re.MULTILINE)
    lines = f'repository-code: "{address.repository}"\nurl: "{address.site}"\n'
    return replace_once(
        r"^license: MIT\n", f"license: MIT\n{lines if address.known else ''}", text, "the licence"
    )


def references(text: str, address: Address) -> str:
    """Return the page of references, where the software's entry says where it is."""
    text = re.sub(r"^  url     = .*\n", "", text, flags=re.MULTILINE)
    end = "  license = {MIT},\n"
    line = f"  url     = {{{address.repository}}},\n" if address.known else ""
    return replace_once(f"^{re.escape(end)}", end + line, text, "the software's entry")


def pyproject(text: str, address: Address) -> str:
    """Return pyproject.toml with a table of addresses, which the package index shows."""
    table = (
        "[project.urls]\n"
        f'Repository = "{address.repository}"\n'
        f'Documentation = "{address.site}"\n'
        f'Issues = "{address.repository}/issues"\n'
        f'Changelog = "{address.repository}/blob/{address.branch}/CHANGELOG.md"\n\n'
    )
    return replace_once(
        r"^(\[project\.urls\]\n(.+\n)*\n)?\[project\.scripts\]$",
        f"{table if address.known else ''}[project.scripts]",
        text,
        "[project.urls]",
    )


NOT_KNOWN = """\
The address of the repository in `_config.yml` is a placeholder, and the buttons of the book that
need it are off. `python book/_scripts/set_address.py https://github.com/OWNER/NAME` sets it
everywhere; until then `make release-check` fails."""


def readme(text: str, address: Address) -> str:
    """Return the README: launch badges beside each notebook, and a line on where the book is."""
    known = (
        f"The book is published at <{address.site}>.\n"
        "The badges open a chapter on Binder or in Colab, where nothing has to be installed.\n"
        f'The library alone: `python -m pip install "srnn @ git+{address.repository}"`.'
    )
    text = replace_once(
        r"(?<=^<!-- address -->\n)(.+\n)*?(?=<!-- end of address -->$)",
        f"{known if address.known else NOT_KNOWN}\n",
        text,
        "the block of the address",
    )
    rows = []
    table = False
    for line in text.split("\n"):
        table = line.startswith("| chapter |") or (table and line.startswith("|"))
        rows.append(_with_badges(line, address) if table else line)
    return "\n".join(rows)


def _with_badges(row: str, address: Address) -> str:
    """Return a row of the table of chapters with its third cell, or without."""
    cells = row.strip("|").split("|")[:2]
    if address.known:
        file = re.search(r"\]\((book/\S+\.ipynb)\)", cells[0])
        if row.startswith("| chapter |"):
            cells.append(" open it ")
        elif row.startswith("|---"):
            cells.append("---")
        elif file:
            cells.append(
                f" [![Open on Binder]({BINDER}/badge_logo.svg)]({address.binder(file[1])})"
                f" [![Open in Colab]({COLAB}/assets/colab-badge.svg)]({address.colab(file[1])}) "
            )
        else:
            cells.append(" ")
    return f"|{'|'.join(cells)}|"


def places(root: Path) -> dict[Path, Callable[[str, Address], str]]:
    """Return the files that name the address, with what writes it into each."""
    return {
        root / "_config.yml": config,
        root / "README.md": readme,
        root / "CITATION.cff": citation,
        root / "book" / "references.md": references,
        root / "pyproject.toml": pyproject,
        **dict.fromkeys(sorted((root / "book").glob("*.ipynb")), notebook),
    }


def read(path: Path) -> str:
    """Return a file's text with the ends of lines as they are stored."""
    return path.read_bytes().decode("utf-8")


def setting(root: Path) -> Address:
    """Return the address that _config.yml holds."""
    text = read(root / "_config.yml")
    values = {}
    for name in ("url", "baseurl", "branch"):
        found = re.search(rf"^  {name}: (.+)$", text, flags=re.MULTILINE)
        if found is None:
            raise SystemExit(f"Expected _config.yml to have a line `{name}: ...`; it has none.")
        values[name] = found[1].strip("\"'")
    return Address(values["url"], values["baseurl"], values["branch"])


def write(root: Path, address: Address) -> list[Path]:
    """Set the address in every file and return those that changed; none is half written."""
    new = {path: rewrite(read(path), address) for path, rewrite in places(root).items()}
    changed = [path for path, text in new.items() if text != read(path)]
    for path in changed:
        path.write_bytes(new[path].encode("utf-8"))
    return changed


def complaints(root: Path) -> list[str]:
    """Return what keeps the repository from a release, each with what to do about it."""
    address = setting(root)
    if not address.known:
        return [
            f"The address of the repository is still the placeholder {PLACEHOLDER}. Run\n"
            "    python book/_scripts/set_address.py https://github.com/OWNER/NAME\n"
            "with the real one, look at what it changed, and commit that."
        ]
    behind = [
        path.relative_to(root).as_posix()
        for path, rewrite in places(root).items()
        if rewrite(text := read(path), address) != text
    ]
    return [
        f"{name} does not follow the address {address.repository} of _config.yml. Run\n"
        f"    python book/_scripts/set_address.py {address.repository} --site {address.site}"
        for name in behind
    ]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description="Set or check the address of the repository.")
    parser.add_argument("repository", nargs="?", help="https://github.com/OWNER/NAME")
    parser.add_argument("--site", default="", help="the published book (default: GitHub's pages)")
    parser.add_argument("--check", action="store_true", help="fail where it is not set everywhere")
    options = parser.parse_args(arguments)
    if options.check == bool(options.repository):
        parser.error("give either an address or --check")
    if options.check:
        found = complaints(root)
        for complaint in found:
            print(complaint, file=sys.stderr)
        if not found:
            print(f"Every file names {setting(root).repository}.")
        return 1 if found else 0
    address = Address(options.repository, options.site, setting(root).branch)
    for path in write(root, address):
        print(f"changed {path.relative_to(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
