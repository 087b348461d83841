"""What goes wrong is said so that a person can act on it."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.kit import PHOTO, Seen

BUSY = """{"type": "/problems/queue-full", "title": "Too much work is waiting", "status": 503, "kind": "queue-full",
"detail": "2 lanes have more than 2 s of work", "request_id": "id-7", "retry_after_ms": 1200}"""


@pytest.mark.parametrize(
    ("name", "content", "heading"),
    [
        ("notes.txt", b"no image at all", "That is not a photo we can read"),
        ("cut.jpg", PHOTO.read_bytes()[:9000], "That is not a photo we can read"),
        ("empty.jpg", b"", "That file is empty"),
        ("scan.tiff", b"II*\x00" + bytes(60), "That kind of image is not supported"),
        ("large.jpg", PHOTO.read_bytes() + bytes(20_000_000), "That photo is too large"),
    ],
)
def test_a_file_that_cannot_be_answered(seen: Seen, tmp_path: Path, name: str, content: bytes, heading: str) -> None:
    """In plain words, with the service's own below; another photo is answered right after."""
    (tmp_path / name).write_bytes(content)
    seen.page.locator("#file").set_input_files(tmp_path / name)
    assert seen.problem() == heading
    assert seen.page.locator(".problem").get_attribute("role") == "alert"
    assert "Request id" in seen.page.locator(".problem details").text_content()
    assert seen.take_sample() == "ladybug"
    assert seen.page.locator(".problem").count() == 0


def test_a_budget_that_is_too_small_names_one_that_would_do(seen: Seen) -> None:
    """Strictly, and two ways out of it: that budget, or a late answer."""
    seen.page.locator("#budget").fill("0.5")
    seen.page.get_by_label("Refuse if late").check()
    seen.page.locator("#file").set_input_files(PHOTO)
    assert seen.problem() == "The budget is too small"
    assert seen.questions()[-1]["mode"] == "strict"
    words = seen.page.locator(".problem .button").first.inner_text()
    seen.page.locator(".problem .button").last.click()
    assert seen.answered() == "orange"
    assert seen.page.locator(".badge.missed").inner_text().startswith("late: ")
    assert "Over the budget" in seen.page.locator(".stages").inner_text()
    assert words.startswith("Use ")


def test_the_budget_that_would_do_can_be_taken(seen: Seen) -> None:
    """With one press."""
    seen.page.locator("#budget").fill("0.5")
    seen.page.get_by_label("Refuse if late").check()
    seen.page.locator("#file").set_input_files(PHOTO)
    seen.problem()
    button = seen.page.locator(".problem .button").first
    budget = button.inner_text().removeprefix("Use ").removesuffix(" ms")
    with seen.page.expect_request(f"**/classify?budget_ms={budget}&*"):
        button.click()


def test_a_busy_service_can_be_asked_again(seen: Seen) -> None:
    """Which helps once it is less busy."""
    refusal: dict[str, Any] = {"status": 503, "content_type": "application/problem+json", "body": BUSY}
    seen.page.route("**/classify?*", lambda route: route.fulfill(**refusal))
    seen.page.locator("#file").set_input_files(PHOTO)
    assert seen.problem() == "Too busy right now"
    assert "id-7" in seen.page.locator(".problem details").text_content()
    seen.page.unroute("**/classify?*")
    seen.page.get_by_role("button", name="Try again").click()
    assert seen.answered() == "orange"


def test_a_service_that_is_gone_is_said_to_be(seen: Seen) -> None:
    """In the corner and in place of an answer; both come back with it, and the photo is still there."""
    seen.page.context.set_offline(True)
    seen.page.route("**/events", lambda route: route.abort())
    seen.page.locator("#file").set_input_files(PHOTO)
    assert seen.problem() == "The service does not answer"
    seen.page.context.set_offline(False)
    seen.page.unroute("**/events")
    seen.page.get_by_role("button", name="Try again").click()
    assert seen.answered() == "orange"


def test_a_lost_live_state_is_found_again(seen: Seen) -> None:
    """The corner says so meanwhile."""
    seen.page.route("**/events", lambda route: route.abort())
    # Hidden pages do not watch; coming back opens the stream anew.
    seen.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    seen.page.wait_for_selector("#pill[data-state=away]")
    assert seen.page.locator("#pill").inner_text() == "away, trying again"
    seen.page.unroute("**/events")
    seen.page.wait_for_selector("#pill[data-state=ready]")


def test_a_failure_that_nobody_foresaw_is_shown_in_the_services_words(seen: Seen) -> None:
    """Rather than not at all."""
    body = '{"title": "Something new", "status": 418, "kind": "teapot", "detail": "short and stout"}'
    seen.page.route("**/classify?*", lambda route: route.fulfill(status=418, body=body))
    seen.page.locator("#file").set_input_files(PHOTO)
    assert seen.problem() == "Something new"
    assert "short and stout" in seen.page.locator(".problem p").first.inner_text()
