"""`python -m tests.browser.picture FILE`: the page as the documentation shows it, with one of our own samples."""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.kit import ARGUMENTS, chromium, seeing
from tests.browser.server import build, serving

COLOURS = 256
"""Makes a file of half the size. The palette has the page's own colours, shades of the sample are mixed of them."""
BUDGET_MS = 100
ASKED = 3
"""Times: the first run finds caches cold."""


def picture(url: str) -> bytes:
    """The whole page, as PNG."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(chromium()), args=ARGUMENTS)
        with seeing(browser, url) as seen:
            seen.open()
            seen.page.locator("#budget").fill(str(BUDGET_MS))
            for _ in range(ASKED):
                seen.take_sample("ladybird")
                seen.page.wait_for_timeout(1000)
            seen.page.mouse.move(0, 0)
            taken: bytes = seen.page.screenshot(full_page=True)
        browser.close()
    return taken


def main(path: Path) -> None:
    """Take it and keep it small."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(build(folder / "store", "--weights", "bundled"), folder / "server") as url:
            shown = Image.open(io.BytesIO(picture(url))).convert("RGB")
    palette = shown.quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
    shown.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
