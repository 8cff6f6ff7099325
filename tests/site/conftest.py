"""The built site, where it is served, and one browser for all tests."""

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZES = {"desktop": (1200, 1000), "phone": (390, 844)}


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


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def served(site: Path) -> Iterator[str]:
    """Serve the site on a free port of this machine."""
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["served", "disk"])
def address(request: pytest.FixtureRequest, site: Path) -> str:
    """Return the address of the site as a server gives it, or as a folder on a disk."""
    return request.getfixturevalue("served") if request.param == "served" else site.as_uri()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Start Chromium without a window."""
    program = os.environ.get("SRNN_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), "")
    driver = shutil.which(os.environ.get("SRNN_BROWSER_DRIVER", "chromedriver"))
    if not program or not driver:
        pytest.skip("no chromium with chromedriver is installed")
    options = Options()
    options.binary_location = program
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage"),
        *("no-first-run", "disable-background-networking", "disable-component-update"),
        *("disable-sync", f"user-data-dir={tmp_path_factory.mktemp('browser')}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_script_timeout(100)
    yield started
    started.quit()


def emulate(browser: WebDriver, size: str, **media: str) -> None:
    """Let the browser be a desktop or a phone, of a reader who prefers what `media` says."""
    width, height = SIZES[size]
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [
        {"name": f"prefers-{name.replace('_', '-')}", "value": value}
        for name, value in media.items()
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture
def reader(chromium: WebDriver) -> Callable[..., WebDriver]:
    """Return what makes the browser one of a kind: `reader("phone", color_scheme="dark")`."""

    def as_seen_by(size: str, **media: str) -> WebDriver:
        emulate(chromium, size, **media)
        return chromium

    return as_seen_by


@pytest.fixture
def browser(reader: Callable[..., WebDriver]) -> WebDriver:
    """Return the browser on a desktop in light mode, where nothing moves by itself."""
    return reader("desktop", color_scheme="light", reduced_motion="reduce")
