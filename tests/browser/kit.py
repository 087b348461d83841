"""The browser, and a page of it that notes what it asks for and what goes wrong in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.browser.server import ROOT

Page = Any
"""Of playwright, which is not installed where types are checked."""
Browser = Any
SAMPLES = ROOT / "service" / "page" / "samples"
PHOTO = SAMPLES / "orange.jpg"
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
"""Root may not have a sandbox; the page is our own."""
PATIENCE_MS = 60_000


def chromium() -> Path | None:
    """The system's."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return None if found is None else Path(found)


@dataclass
class Seen:
    """A page, and what was seen on it."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    """Addresses of all requests."""
    errors: list[str] = field(default_factory=list)
    """Exceptions, and what broke the content security policy."""

    @property
    def hosts(self) -> set[str]:
        """Where requests went; photos shown from memory go nowhere."""
        return {urlsplit(url).netloc for url in self.asked if not url.startswith(("blob:", "data:"))}

    def questions(self) -> list[dict[str, str]]:
        """The parameters of each photo that was asked about, and its `path`."""
        parts = [urlsplit(url) for url in self.asked]
        return [
            {"path": part.path} | {name: values[0] for name, values in parse_qs(part.query).items()}
            for part in parts
            if part.path.startswith("/classify")
        ]

    def open(self) -> None:
        """Load it, and wait for the first live state."""
        self.page.goto(self.url)
        self.page.wait_for_selector("#plot svg")

    def answered(self) -> str:
        """What was seen, once the service has said so."""
        self.page.wait_for_selector("#answer[aria-busy=false] .seen")
        return str(self.page.locator(".seen").evaluate("node => node.firstChild.textContent"))

    def problem(self) -> str:
        """The heading of what went wrong."""
        self.page.wait_for_selector("#answer[aria-busy=false] .problem")
        return str(self.page.locator(".problem h3").inner_text())

    def take_sample(self, name: str = "ladybird") -> str:
        """By its button; what was seen."""
        self.page.get_by_role("button", name=f"Sample: drawn {name}").click()
        return self.answered()


def boxes(page: Page, selector: str) -> list[dict[str, float]]:
    """Where elements are, all at one moment: the plot is drawn anew each second."""
    found: list[dict[str, float]] = page.evaluate(
        "(selector) => [...document.querySelectorAll(selector)].map((node) => node.getBoundingClientRect().toJSON())",
        selector,
    )
    return found


@contextmanager
def seeing(browser: Browser, url: str, **options: Any) -> Iterator[Seen]:  # noqa: ANN401
    """A page in a context of its own; `options` are the context's."""
    context = browser.new_context(**({"viewport": DESKTOP} | options))
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    seen = Seen(page, url)
    page.on("request", lambda request: seen.asked.append(request.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda said: _note(seen, said.text))
    yield seen
    context.close()


def _note(seen: Seen, text: str) -> None:
    if "Content Security Policy" in text or "TrustedHTML" in text:
        seen.errors.append(text)
