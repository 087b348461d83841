"""What is asked when the budget or the way to answer changes, and that the page promises what the service does."""

import json
from urllib.request import urlopen

import pytest

from tests.browser.kit import Seen, boxes

ENOUGH_MS = 60_000
ASKING_MS = 10


def test_another_budget_asks_about_the_same_photo_again(seen: Seen) -> None:
    """Once it has settled, with the figure that is shown."""
    seen.take_sample()
    with seen.page.expect_response("**/classify?*") as answer:
        seen.page.locator("#budget").fill("1234")
    assert seen.questions()[-1]["budget_ms"] == "1234"
    assert answer.value.json()["budget"]["requested_ms"] == 1234
    seen.answered()
    assert seen.page.locator("#plot text.limit").text_content() == "1,234 ms"
    assert seen.page.locator("#slider").get_attribute("aria-valuetext").startswith("1,234 ms, buys ")


def test_the_slider_moves_the_budget(seen: Seen) -> None:
    """From its end to its beginning, by keys; the figure beside it follows."""
    slider, figure = seen.page.locator("#slider"), seen.page.locator("#budget")
    slider.focus()
    seen.page.keyboard.press("End")
    most = float(figure.input_value())
    seen.page.keyboard.press("Home")
    least = float(figure.input_value())
    seen.page.keyboard.press("ArrowRight")
    assert least <= float(figure.input_value()) < most
    assert least < most / 10


def test_the_slider_stands_below_its_budget_in_the_plot(seen: Seen) -> None:
    """One axis for both: the line and the middle of the thumb differ by less than a pixel and a half."""
    page = seen.page
    page.locator("#slider").focus()
    for key in ("Home", "End", "PageDown"):
        page.keyboard.press(key)
        line, slider = boxes(page, "#slider, #plot line.limit")
        thumb = page.evaluate("parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--thumb'))")
        share = int(page.locator("#slider").input_value()) / 240
        middle = slider["x"] + thumb / 2 + share * (slider["width"] - thumb)
        # The budget is rounded to two figures, which moves the line a little.
        assert line["x"] + line["width"] / 2 == pytest.approx(middle, abs=1.5 if key != "PageDown" else 6)


def test_other_budgets_promise_what_the_service_plans(seen: Seen) -> None:
    """Each step names what `/plan` names for that budget, of which asking takes a part, or for a little more."""
    labels = [rung.get_attribute("aria-label") for rung in seen.page.locator(".rung").all()]
    assert len(labels) >= 5
    for label in labels:
        budget_ms = float(label.partition(" ms")[0].replace(",", ""))
        promised = label.partition(" buys ")[2].partition(",")[0]
        assert promised in {_planned(seen, budget_ms), _planned(seen, budget_ms + ASKING_MS)}, label


def _planned(seen: Seen, budget_ms: float) -> str:
    """The variant; nothing when none fits."""
    with urlopen(f"{seen.url}plan?budget_ms={budget_ms}") as answer:
        decision = json.load(answer)["decision"]
    return str(decision["variant"]) if decision["fits"] else ""


def test_a_step_takes_its_budget(seen: Seen) -> None:
    """And stays pressed; the focus stays where it is."""
    seen.take_sample()
    last = seen.page.locator(".rung").last
    last.focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector(".rung:last-child[aria-pressed=true]")
    seen.answered()
    assert seen.page.evaluate("document.activeElement.matches('.rung:last-child')")
    budget = seen.page.locator("#budget").input_value()
    assert seen.page.locator(".rung").last.get_attribute("aria-label").replace(",", "").startswith(f"{budget} ms")


def test_an_impossible_budget_is_not_asked_for(seen: Seen) -> None:
    """The field says so; the last one stays."""
    seen.take_sample()
    seen.page.locator("#budget").fill("-5")
    assert not seen.page.evaluate("document.querySelector('#budget').checkValidity()")
    seen.page.wait_for_timeout(400)
    assert len(seen.questions()) == 1


def test_rough_answers_come_first(seen: Seen) -> None:
    """As server-sent events; the last one stays."""
    seen.take_sample()
    seen.page.locator("#budget").fill(str(ENOUGH_MS))
    seen.page.get_by_role("radio", name="Rough, then better").check()
    seen.page.locator("#answer-body", has_text="of 60,000 ms").wait_for()
    assert seen.answered() == "ladybug"
    assert seen.questions()[-1]["path"] == "/classify/anytime"
    assert "a better one may follow" not in seen.page.locator(".badges").inner_text()


def test_an_early_answer_says_that_a_better_one_may_follow(seen: Seen) -> None:
    """Until it comes."""
    with urlopen(f"{seen.url}plan") as answer:
        decision = json.load(answer)["decision"]
    early = _answer(decision, final=False)
    seen.page.route("**/classify/anytime?*", lambda route: route.fulfill(content_type="text/event-stream", body=early))
    seen.page.get_by_role("radio", name="Rough, then better").check()
    assert seen.take_sample() == "first sight"
    assert "a better one may follow" in seen.page.locator(".badges").inner_text()
    assert seen.page.locator("#said").inner_text().startswith("first sight, 50 %. First answer by ")


def test_a_better_answer_says_what_came_before_it(seen: Seen) -> None:
    """What looks like waiting for a lane is the first answer's run, and waiting for a core that nobody else needs."""
    with urlopen(f"{seen.url}plan") as answer:
        decision = json.load(answer)["decision"]
    late = _answer(decision | {"reason": "upgrades"}, final=True)
    seen.page.route("**/classify/anytime?*", lambda route: route.fulfill(content_type="text/event-stream", body=late))
    seen.page.get_by_role("radio", name="Rough, then better").check()
    seen.take_sample()
    assert seen.page.locator(".stages dt").nth(1).inner_text() == "First answer, then wait for an idle core"


def _answer(decision: dict[str, object], *, final: bool) -> str:
    """An event of one answer."""
    timing = {"receive": 1, "queue": 1, "decode": 1, "inference": 10, "hold": 0, "respond": 1, "total": 14}
    answer = {
        "request_id": "x", "final": final, "decision": decision, "timing_ms": timing, "warnings": [], "members": ["b0"],
        "predictions": [{"index": 0, "wnid": "", "label": "first sight, glimpse", "probability": 0.5}],
        "budget": {"requested_ms": 100, "spent_ms": 14, "met": True},
        "image": {"format": "JPEG", "width_px": 1, "height_px": 1, "bytes": 1},
    }  # fmt: skip
    return f"event: answer\ndata: {json.dumps(answer)}\n\n"
