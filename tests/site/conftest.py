"""Where the built site is."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site() -> Path:
    """Return the folder of the built site: that of `make book`, or the one in SRNN_SITE."""
    folder = ROOT / os.environ.get("SRNN_SITE", "_build/html")
    if not (folder / "index.html").is_file():
        pytest.skip(f"no site in {folder}: run `make book` first")
    return folder.resolve()


@pytest.fixture(scope="session")
def pages(site: Path) -> list[Path]:
    """Return the pages of the book itself, without search and index."""
    return sorted((site / "book").glob("*.html"))
