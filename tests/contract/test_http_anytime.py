"""`POST /classify/anytime` over a real socket: events as answers come, what ends them early, who may ask."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from service.core.errors import EffserveError, ErrorKind
from service.edges.status import STATUS
from tests.builders import TIMES_S, latency
from tests.contract.grpc_kit import IMAGE_BYTES, JPEG
from tests.contract.http_kit import Kit, gated

PATH = "/classify/anytime"
JPEG_TYPE = {"Content-Type": "image/jpeg"}
ENOUGH = "budget_ms=500000"
"""For the slowest variant."""


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    data: dict[str, Any]

    @property
    def variant(self) -> str:
        """Who answered."""
        return str(self.data["decision"]["variant"])


@pytest_asyncio.fixture
async def kit() -> AsyncIterator[Kit]:
    """One lane, which holds its runs back."""
    async with gated() as serving:
        serving.gate.open = False
        yield serving


async def begin(kit: Kit, query: str = ENOUGH, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx has the types
    """The response, once it has begun."""
    sent = {"content": JPEG, "headers": JPEG_TYPE} | request
    return await kit.client.send(kit.client.build_request("POST", f"{PATH}?{query}", **sent), stream=True)


async def begun(kit: Kit, query: str = ENOUGH) -> AsyncIterator[Event]:
    """The events of a request whose first run has ended; the others are held."""
    response = asyncio.create_task(begin(kit, query))
    await kit.gate.until_held(1)
    kit.gate.step()
    return events(await response)


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """Each as it comes."""
    assert response.status_code == 200, await response.aread()
    lines = response.aiter_lines()
    async for line in lines:
        name, data = line.removeprefix("event: "), (await anext(lines)).removeprefix("data: ")
        assert await anext(lines) == ""
        yield Event(name, json.loads(data))


async def all_of(response: httpx.Response) -> list[Event]:
    """All events, to the end of the response."""
    return [event async for event in events(response)]


async def test_the_cheapest_answers_while_a_better_one_runs(kit: Kit) -> None:
    """The first event is there before the second run has ended."""
    answers = await begun(kit)
    first = await anext(answers)
    assert (first.name, first.variant, first.data["decision"]["reason"]) == ("answer", "b0", "insures")
    assert first.data["final"] is False
    kit.gate.release()
    final = await anext(answers)
    assert (final.name, final.variant, final.data["decision"]["reason"]) == ("final", "b4", "upgrades")
    assert (final.data["final"], final.data["budget"]["met"]) == (True, True)
    assert [event async for event in answers] == []


async def test_answers_get_better_and_better(kit: Kit) -> None:
    """The budget buys b2 at first; once the machine is as quick as in the paper, it buys b4 on top."""
    assert kit.scheduler is not None
    answers = await begun(kit, "budget_ms=60000")
    seen = [await anext(answers)]
    kit.scheduler.latency = latency(TIMES_S)
    kit.gate.release()
    seen += [event async for event in answers]
    assert [(event.name, event.variant) for event in seen] == [("answer", "b0"), ("answer", "b2"), ("final", "b4")]
    accuracies = [event.data["decision"]["expected_top1"] for event in seen]
    assert accuracies == sorted(set(accuracies))
    assert [event.data["request_id"] for event in seen] == [seen[0].data["request_id"]] * 3


async def test_stages_add_up_in_every_answer(kit: Kit) -> None:
    """A later answer counts what came before it as waiting."""
    answers = await begun(kit)
    seen = [await anext(answers)]
    kit.gate.release()
    seen += [event async for event in answers]
    for event in seen:
        timing = event.data["timing_ms"]
        assert sum(timing.values()) == pytest.approx(2 * timing["total"], abs=0.01)
        assert min(timing.values()) >= 0


async def test_the_same_answer_ends_the_stream_when_nothing_better_came(kit: Kit) -> None:
    """The better one failed: what was in hand is final, and was held meanwhile."""
    answers = await begun(kit)
    first = await anext(answers)
    kit.gate.error = RuntimeError("broken session")
    kit.gate.release()
    (final,) = [event async for event in answers]
    assert (final.name, final.variant) == ("final", first.variant)
    assert final.data["predictions"] == first.data["predictions"]
    assert final.data["timing_ms"]["hold"] > first.data["timing_ms"]["hold"] == 0
    assert len(kit.seen.answered) == 1
    assert kit.seen.failed == []


@pytest.mark.parametrize(
    ("query", "variant", "reason"),
    [
        ("variant=b1", "b1", "named_by_request"),
        ("min_accuracy=0.8", "b2", "cheapest_at_min_accuracy"),
        ("policy=p2&budget_ms=20000", "b0", "insures"),
        ("budget_ms=1", "b0", "cheapest_none_fits"),
    ],
)
async def test_where_nothing_better_can_follow_the_first_answer_is_final(
    kit: Kit, query: str, variant: str, reason: str
) -> None:
    """A variant or an accuracy that is asked for, and a budget for no more than the cheapest."""
    kit.gate.release()
    (event,) = await all_of(await begin(kit, query))
    assert (event.name, event.variant, event.data["decision"]["reason"]) == ("final", variant, reason)


async def test_the_response_is_an_event_stream_that_nobody_keeps_back(kit: Kit) -> None:
    """With the request's id; the figures of an answer stand in its event."""
    kit.gate.release()
    response = await begin(kit, headers=JPEG_TYPE | {"X-Request-Id": "my-id-1"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in response.headers
    assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-store", "no")
    assert response.headers["x-request-id"] == "my-id-1"
    assert {event.data["request_id"] for event in await all_of(response)} == {"my-id-1"}


@pytest.mark.parametrize(
    "upload",
    [
        {"content": JPEG, "headers": JPEG_TYPE},
        {"content": None, "headers": {}, "files": {"image": ("a.jpg", JPEG, "image/jpeg")}},
        {"content": None, "headers": {}, "json": {"image": base64.b64encode(JPEG).decode()}},
    ],
    ids=["raw", "multipart", "json"],
)
async def test_an_image_comes_in_the_forms_of_classify(kit: Kit, upload: dict[str, Any]) -> None:
    """Three envelopes."""
    kit.gate.release()
    assert [event.variant for event in await all_of(await begin(kit, **upload))] == ["b0", "b4"]


async def test_the_budget_may_come_as_a_header(kit: Kit) -> None:
    """As for `/classify`."""
    kit.gate.release()
    found = await all_of(await begin(kit, "", headers=JPEG_TYPE | {"X-Latency-Budget-Ms": "60000"}))
    assert [(event.variant, event.data["budget"]["requested_ms"]) for event in found] == [("b0", 60000), ("b2", 60000)]


@pytest.mark.parametrize(
    ("query", "body", "kind"),
    [
        ("policy=k1", JPEG, ErrorKind.INVALID_PARAMETER),
        ("top_k=0", JPEG, ErrorKind.INVALID_PARAMETER),
        ("variant=b9", JPEG, ErrorKind.UNKNOWN_VARIANT),
        ("mode=strict&budget_ms=1", JPEG, ErrorKind.INFEASIBLE_BUDGET),
        ("", b"", ErrorKind.EMPTY_IMAGE),
        ("", b"no image at all", ErrorKind.UNDECODABLE_IMAGE),
        ("", bytes(IMAGE_BYTES + 1), ErrorKind.IMAGE_TOO_LARGE),
    ],
)
async def test_a_failure_before_the_first_answer_is_a_problem(
    kit: Kit, query: str, body: bytes, kind: ErrorKind
) -> None:
    """With its status, as for `/classify`; told once."""
    response = await kit.client.post(f"{PATH}?{query}", content=body, headers=JPEG_TYPE)
    assert (response.status_code, response.json()["kind"]) == (STATUS[kind].http, kind)
    assert response.headers["content-type"] == "application/problem+json"
    assert [failed.kind for failed in kit.seen.failed] == [kind]


async def test_a_first_run_that_fails_is_a_problem(kit: Kit) -> None:
    """No answer is in hand then."""
    kit.gate.error = EffserveError(ErrorKind.UNDECODABLE_IMAGE, "cut short")
    kit.gate.release()
    response = await kit.client.post(PATH, content=JPEG, headers=JPEG_TYPE)
    assert (response.status_code, response.json()["kind"]) == (400, "undecodable-image")


async def test_the_other_policy_is_refused_in_a_sentence(kit: Kit) -> None:
    """It says what would do."""
    problem = (await kit.client.post(f"{PATH}?policy=k1", content=JPEG, headers=JPEG_TYPE)).json()
    assert problem["parameter"] == "policy"
    assert problem["detail"] == "policy: k1 gives one answer; here it is p2 or p3, and p2 when none is named"


async def test_a_failure_after_the_first_answer_is_an_event(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is sent already; the problem is data, shows nothing of the inside, and the connection lives on."""
    answers = await begun(kit)
    await anext(answers)

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    with monkeypatch.context() as patched:
        patched.setattr("service.dataplane.response.top_k", broken)
        kit.gate.release()
        (error,) = [event async for event in answers]
    assert (error.name, error.data["kind"], error.data["status"]) == ("error", "internal", 500)
    assert "secret" not in str(error.data)
    assert [(failed.kind, failed.request_id) for failed in kit.seen.failed] == [
        (ErrorKind.INTERNAL, error.data["request_id"])
    ]
    assert kit.seen.answered == []
    assert [event.name for event in await all_of(await begin(kit))] == ["answer", "final"]


@pytest.mark.parametrize("answers", [0, 1])
async def test_a_client_that_leaves_is_worked_for_no_longer(kit: Kit, answers: int) -> None:
    """Before its first answer, or while a better one runs; counted once, and the lane serves the next."""
    _, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    head = (
        f"POST {PATH}?{ENOUGH} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(JPEG)}\r\n\r\n"
    )
    writer.write(head.encode() + JPEG)
    await kit.gate.until_held(1)
    for _ in range(answers):
        kit.gate.step()
        await kit.gate.until_held(1)
    writer.close()
    await kit.seen.until(failed=1)
    now = kit.dataplane.health().statistics
    assert (now.running, now.waiting, now.insured, now.cancelled) == (0, 0, 0, 1)
    kit.gate.release()
    assert [event.name for event in await all_of(await begin(kit))] == ["answer", "final"]
    assert [failed.kind for failed in kit.seen.failed] == [ErrorKind.CANCELLED]


async def test_many_clients_all_get_a_last_answer() -> None:
    """One event for each variant at most, one outcome for each request."""
    async with gated(lanes=2) as kit:
        found = await asyncio.gather(*(_asked_once(kit) for _ in range(50)))
        assert [one[-1].name for one in found] == ["final"] * 50
        assert len(kit.seen.answered) == 50


async def _asked_once(kit: Kit) -> list[Event]:
    return await all_of(await begin(kit))


async def test_while_draining_the_stream_is_the_last_on_its_connection(kit: Kit) -> None:
    """As for `/classify`."""
    kit.gate.release()
    kit.dataplane.ready, kit.dataplane.draining = False, True
    response = await begin(kit)
    assert response.headers["connection"] == "close"
    assert [event.name for event in await all_of(response)] == ["answer", "final"]


async def test_the_openapi_page_says_what_comes(kit: Kit) -> None:
    """Events, and the same problems and forms of upload as for `/classify`."""
    paths = (await kit.client.get("/openapi.json")).json()["paths"]
    one, anytime = paths["/classify"]["post"], paths[PATH]["post"]
    assert list(anytime["responses"]["200"]["content"]) == ["text/event-stream"]
    assert anytime["responses"].keys() == one["responses"].keys()
    assert anytime["requestBody"] == one["requestBody"]
    assert anytime["parameters"] == one["parameters"]


async def test_another_method_does_not_apply(kit: Kit) -> None:
    """A problem, as everywhere."""
    assert (await kit.client.get(PATH)).status_code == 405
