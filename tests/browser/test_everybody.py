"""The page for everybody: keyboard, screen readers, phones, dark rooms, and who minds motion."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.kit import DESKTOP, PHONE, Browser, Seen, boxes, seeing
from tests.browser.states import DOMINATED, PUBLISHED, published

SMALL_PHONE = {"width": 320, "height": 640}
"""What 1280 columns are at 400 %, too."""
STOPS = ("knows-open", "file", "slider", "budget", "strict")
SHIFT = """() => new Promise((done) => {
  let total = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) total += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(total), 300);
})"""


def violations(seen: Seen) -> list[str]:
    """What axe-core has to say, as rule and place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(seen.page).response["violations"]
    return [f"{one['id']} ({one['impact']}): {node['html'][:120]}" for one in found for node in one["nodes"]]


def focused(seen: Seen) -> str:
    """What has the focus: its id, class or name."""
    return str(seen.page.evaluate("(n => n.id || n.className || n.name || n.tagName)(document.activeElement)"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(browser: Browser, trained: str, scheme: str, viewport: dict[str, int]) -> None:
    """On the empty page, with an answer, with the table and the list open, and with a failure."""
    with seeing(browser, trained, color_scheme=scheme, viewport=viewport, reduced_motion="reduce") as seen:
        seen.open()
        assert violations(seen) == []
        seen.take_sample()
        seen.page.locator("#table summary").click()
        assert violations(seen) == []
        seen.page.get_by_role("button", name="What it knows").click()
        seen.page.wait_for_selector("#knows-list li")
        assert violations(seen) == []
        seen.page.keyboard.press("Escape")
        seen.page.locator("#file").set_input_files({"name": "x", "mimeType": "text/plain", "buffer": b"x"})
        seen.problem()
        assert violations(seen) == []


def test_everything_can_be_done_with_the_keyboard(seen: Seen) -> None:
    """A sample, another budget, another way, a step; every stop shows that it has the focus."""
    page, reached = seen.page, list[str]()
    for _ in range(40):
        page.keyboard.press("Tab")
        here = focused(seen)
        reached.append(here)
        if here == "BODY":
            break
        assert page.evaluate(FOCUS_SHOWS), here
        if here == "sample" and reached.count("sample") == 2:
            page.keyboard.press("Enter")
            assert seen.answered() == "ladybug"
        if here == "slider":
            with page.expect_request("**/classify?*"):
                page.keyboard.press("ArrowLeft")
        if here == "how":
            with page.expect_request("**/classify/anytime?*"):
                page.keyboard.press("ArrowRight")
        if here == "strict":
            with page.expect_request("**/classify/anytime?*mode=strict*"):
                page.keyboard.press("Space")
    assert [stop for stop in reached if stop in STOPS] == list(STOPS)
    assert sum(stop.startswith("rung") for stop in reached) >= 5


FOCUS_SHOWS = """() => {
  const node = document.activeElement;
  const shown = [node, node.parentElement, node.nextElementSibling].filter(Boolean);
  return shown.some((one) => getComputedStyle(one).outlineStyle !== "none");
}"""


def test_what_was_seen_is_said_aloud_once(seen: Seen) -> None:
    """In a polite region; the state that changes every second is not in one."""
    seen.take_sample()
    assert seen.page.locator("#said").get_attribute("aria-live") == "polite"
    live = seen.page.locator("[aria-live]:not([aria-live=off]), [role=status], [role=alert]")
    assert sorted(node.get_attribute("id") for node in live.all()) == ["pill", "said"]


def test_the_plot_is_told_in_words(seen: Seen) -> None:
    """Every network with its figures."""
    words = seen.page.get_by_role("img", name="Accuracy against latency").get_attribute("aria-label")
    assert [name for name in ("b0", "b1", "b2", "b0-g16") if f" {name}: " in words] == ["b0", "b1", "b2", "b0-g16"]


@pytest.fixture
def phone(browser: Browser, trained: str) -> Iterator[Seen]:
    """A phone with a touch screen."""
    with seeing(browser, trained, viewport=PHONE, has_touch=True, is_mobile=True) as seen:
        seen.open()
        yield seen


def test_a_phone_takes_photos_and_scrolls_one_way(phone: Seen) -> None:
    """There is a button for its camera, nothing is cut off at the side, and fingers hit what they aim at."""
    page = phone.page
    assert page.locator(".camera").is_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    phone.take_sample()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for control in boxes(page, ".button, .rung, .sample, .switch label, #budget"):
        assert control["height"] >= 36


def test_a_dark_room_gets_a_dark_page(browser: Browser, trained: str) -> None:
    """Background darker than text; the other way round by day."""
    for scheme, darker in (("dark", "background-color"), ("light", "color")):
        with seeing(browser, trained, color_scheme=scheme) as seen:
            seen.open()
            light = {name: _lightness(seen.page, name) for name in ("background-color", "color")}
            assert min(light, key=lambda name: light[name]) == darker


def _lightness(page: Any, name: str) -> int:  # noqa: ANN401
    colour = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('{name}')")
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))


def test_who_minds_motion_sees_none(browser: Browser, trained: str) -> None:
    """While an answer is awaited."""
    with seeing(browser, trained, reduced_motion="reduce") as seen:
        seen.open()
        name = seen.page.evaluate("getComputedStyle(document.querySelector('#progress'), '::after').animationName")
        assert name == "none"


def test_nothing_jumps(seen: Seen) -> None:
    """From the first paint to an answer and another budget: what is called good is a shift below a tenth."""
    seen.take_sample()
    seen.page.locator(".rung").last.click()
    seen.answered()
    assert seen.page.evaluate(SHIFT) < 0.05


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, SMALL_PHONE], ids=["desktop", "phone", "small phone"])
def test_names_in_the_plot_do_not_cover_each_other(browser: Browser, trained: str, viewport: dict[str, int]) -> None:
    """Twelve networks, eight of them on the steps, as they were published; nor do the figures of an axis, or its title
    the budget's figure, wherever that stands."""
    with seeing(browser, trained, viewport=viewport) as seen:
        seen.page.route("**/events", lambda route: route.fulfill(content_type="text/event-stream", body=published()))
        seen.open()
        names = seen.page.locator("#plot .name")
        assert sorted(names.all_text_contents()) == sorted([*PUBLISHED, *DOMINATED])
        for kind in ("#plot .name", "#plot .tick"):
            found = boxes(seen.page, kind)
            assert [pair for pair in itertools.combinations(found, 2) if _cover(*pair)] == []
        for budget in (20, 50, 100, 180, 1000):
            seen.page.locator("#budget").fill(str(budget))
            found = boxes(seen.page, "#plot .title, #plot text.limit")
            assert [pair for pair in itertools.combinations(found, 2) if _cover(*pair)] == []


def _cover(one: dict[str, float], other: dict[str, float]) -> bool:
    """By more than the room above and below letters."""
    across = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    down = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return across > 0.5 and down > 3


def test_the_live_figures_follow_what_happens(seen: Seen) -> None:
    """An answer is counted within seconds."""
    seen.take_sample()
    counted = seen.page.locator("#figures dd small", has_text=re.compile(r"^\d+ of \d+$"))
    counted.wait_for()
    before = counted.inner_text()
    seen.take_sample("mountain")
    seen.page.locator("#figures > div:first-child small").filter(has_not_text=before).wait_for()
    assert seen.page.locator("#pill").inner_text() == "live"


def test_a_page_that_nobody_sees_does_not_watch(seen: Seen) -> None:
    """The stream is closed with the tab in the background, and opened anew."""
    page = seen.page
    before = sum(url.endswith("/events") for url in seen.asked)
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_timeout(2500)
    assert sum(url.endswith("/events") for url in seen.asked) == before
    with page.expect_request("**/events"):
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { value: false, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
