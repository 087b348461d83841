"""One browser and two servers for all tests of the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.kit import ARGUMENTS, Browser, Seen, chromium, seeing
from tests.browser.server import build, serving


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here; `make browser` installs it")
    path = chromium()
    if path is None:
        pytest.skip("no chromium here; `make browser` installs it where it may")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(path), args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For stores and logs."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="session")
def trained(browser: Browser, folder: Path) -> Iterator[str]:
    """The address of a server over the networks that come along."""
    with serving(build(folder / "bundled", "--weights", "bundled"), folder / "trained") as url:
        yield url


@pytest.fixture(scope="session")
def untrained(browser: Browser, folder: Path) -> Iterator[str]:
    """The address of a server over seeded weights."""
    store = build(folder / "seeded", "b0", "--weights", "untrained")
    with serving(store, folder / "untrained", "--route-untrained") as url:
        yield url


@pytest.fixture
def seen(browser: Browser, trained: str) -> Iterator[Seen]:
    """The page on a desktop. Whatever a test does, nothing is asked of another host and nothing breaks."""
    with seeing(browser, trained) as page:
        page.open()
        yield page
        assert page.hosts == {trained.split("/")[2]}
        assert page.errors == []
