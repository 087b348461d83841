"""Every way for a photo to come, and what is shown of the answer."""

import base64

import pytest

from tests.browser.kit import PHOTO, Browser, Seen, seeing

FILE_OF = """([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""
GIVE = {
    "drop": "(it) => document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: it, bubbles: true }))",
    "paste": "(it) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: it }))",
}


def test_a_chosen_file_is_answered(seen: Seen) -> None:
    """What it shows, by whom, in what time, and where the time went; said aloud, too."""
    page = seen.page
    page.locator("#file").set_input_files(PHOTO)
    assert seen.answered() == "orange"
    (question,) = seen.questions()
    variant = page.locator(".why strong").inner_text()
    assert (question["path"], question["explain"]) == ("/classify", "true")
    assert page.locator(".badges").inner_text().count(f"by {variant}") == 1
    assert page.locator(".others li").count() == 4
    stages = page.locator(".stages dt").all_inner_texts()
    assert stages[:2] == ["Receive", "Wait for a lane"]
    assert stages[-1] in ("Left of the budget", "Over the budget")
    assert page.locator("#said").inner_text().startswith("orange, ")
    assert page.locator("#preview").get_attribute("alt") == "orange.jpg"


@pytest.mark.parametrize("way", GIVE)
def test_a_photo_may_be_dropped_or_pasted(seen: Seen, way: str) -> None:
    """Anywhere on the page."""
    content = base64.b64encode(PHOTO.read_bytes()).decode()
    transfer = seen.page.evaluate_handle(FILE_OF, ["x.jpg", "image/jpeg", content])
    seen.page.evaluate(GIVE[way], transfer)
    assert seen.answered() == "orange"
    assert seen.page.locator("#preview").is_visible()


def test_a_sample_is_answered(seen: Seen) -> None:
    """For who has no photo at hand; the page says that it is drawn."""
    assert seen.take_sample("ladybird") == "ladybug"
    assert "drawn" in seen.page.locator(".samples legend").inner_text()


def test_the_same_file_may_be_chosen_again(seen: Seen) -> None:
    """It is asked about twice."""
    for count in (1, 2):
        seen.page.locator("#file").set_input_files(PHOTO)
        seen.answered()
        assert len(seen.questions()) == count


def test_the_answering_network_is_marked_in_the_plot(seen: Seen) -> None:
    """And named in the words beside it."""
    seen.take_sample()
    variant = seen.page.locator(".why strong").inner_text()
    assert seen.page.locator("#plot .name.chosen").all_text_contents() == [variant]
    assert seen.page.locator("#plot .dot.chosen").count() == 1
    assert seen.page.locator("#plot .took").count() == 1


def test_what_the_networks_know_can_be_read(seen: Seen) -> None:
    """All of it; Escape leads back to where one was."""
    page = seen.page
    page.get_by_role("button", name="What it knows").click()
    page.wait_for_selector("#knows-list li")
    assert page.locator("#knows-list li").count() == 32
    assert "32 classes" in page.locator("#knows-text").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#knows").is_visible()
    assert page.evaluate("document.activeElement.id") == "knows-open"


def test_the_page_says_that_networks_are_untrained(browser: Browser, untrained: str) -> None:
    """Before any answer, and in each."""
    with seeing(browser, untrained) as seen:
        seen.open()
        assert seen.page.locator("#untrained").is_visible()
        seen.take_sample()
        assert "untrained" in seen.page.locator("#answer .notice").inner_text()
        assert "Warning: variant b0 has untrained" in seen.page.locator("#said").inner_text()
        assert "published for its architecture" in seen.page.locator(".why").inner_text()
