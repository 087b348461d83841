"""The Python clients against a server on real sockets: the same questions and answers over both protocols."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import Answer, AsyncClient, Client, ClientError, ErrorKind, LocalKind
from tests.contract.client_kit import FORMS, all_asked, asked, failure
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

PHOTO = jpeg(160, 120)
ENOUGH_MS = 60_000.0
"""For every variant, however busy the machine is."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server over two small variants, and a damaged one."""
    folder = tmp_path_factory.mktemp("server")
    store = tiny_store(folder / "store", ["b0", "b1", "b2"])
    (store / "b2" / "1" / "model.onnx").write_bytes(b"damaged")
    with serving(store, folder) as running:
        yield running


def url_of(server: Server, form: str) -> str:
    """For the form's protocol."""
    return server.url if form.startswith("http") else f"grpc://127.0.0.1:{server.grpc_port}"


def comparable(answer: Answer) -> dict[str, Any]:
    """What does not depend on when and how it was asked."""
    said = asdict(answer)
    for name in ("request_id", "timing_ms", "budget"):
        del said[name]
    for name in ("expected_ms", "tail_ms", "remaining_ms", "why"):
        del said["decision"][name]
    for candidate in said["decision"]["candidates"] or ():
        del candidate["expected_ms"], candidate["tail_ms"]
    return said


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_has_all_that_the_server_says(server: Server, form: str) -> None:
    """Variant, reason, budget, times, and the caller's own id."""
    answer = asked(form, url_of(server, form), PHOTO, budget_ms=ENOUGH_MS, top_k=3, request_id="mine")
    assert (answer.variant, answer.reason, answer.met, answer.trained) == ("b1", "most_accurate_that_fits", True, True)
    assert (answer.request_id, answer.final, len(answer.predictions), answer.warnings) == ("mine", True, 3, ())
    assert answer.budget.requested_ms == ENOUGH_MS
    assert answer.timing_ms.total == pytest.approx(answer.budget.spent_ms)


@pytest.mark.parametrize("form", FORMS[1:])
def test_both_protocols_give_the_same_answer(server: Server, form: str) -> None:
    """To the last field, when explained."""
    ask: dict[str, Any] = {"budget_ms": ENOUGH_MS, "explain": True, "top_k": 4}
    one = asked(FORMS[0], url_of(server, FORMS[0]), PHOTO, **ask)
    other = asked(form, url_of(server, form), PHOTO, **ask)
    assert comparable(one) == comparable(other)


def test_an_answer_is_the_document_of_http(server: Server) -> None:
    """By the same names: nothing is lost on the way."""
    query: dict[str, str | float] = {"budget_ms": ENOUGH_MS, "explain": "true"}
    document = httpx.post(f"{server.url}/classify", params=query, content=PHOTO, timeout=PATIENCE_S).json()
    answer = asdict(asked("http", server.url, PHOTO, budget_ms=ENOUGH_MS, explain=True))
    read = json.loads(json.dumps(answer))
    assert _shape(read) == _shape(document)


def test_the_tables_are_the_documents_of_http(server: Server) -> None:
    """Over either protocol."""
    document = httpx.get(f"{server.url}/variants", timeout=PATIENCE_S).json()
    with Client(server.url) as over_http, Client(url_of(server, "grpc")) as over_grpc:
        tables = [asdict(client.variants()) for client in (over_http, over_grpc)]
    for table in tables:
        assert _shape(json.loads(json.dumps(table))) == _shape(document)
        assert [row["name"] for row in table["variants"]] == ["b0", "b1"]
        assert [row["name"] for row in table["refused"]] == ["b2"]


def _shape(value: object) -> object:
    """Names and types, without figures."""
    if isinstance(value, dict):
        return {name: _shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.mark.parametrize("form", FORMS)
def test_better_answers_come_one_after_the_other(server: Server, form: str) -> None:
    """The last one is final."""
    answers = all_asked(form, url_of(server, form), PHOTO, budget_ms=ENOUGH_MS)
    assert [(one.variant, one.final) for one in answers] == [("b0", False), ("b1", True)]


@pytest.mark.parametrize("form", FORMS)
def test_every_option_reaches_the_server(server: Server, form: str) -> None:
    """Each by its own effect."""
    url = url_of(server, form)
    assert asked(form, url, PHOTO, budget_ms=ENOUGH_MS, variant="b0").reason == "named_by_request"
    assert asked(form, url, PHOTO, budget_ms=ENOUGH_MS, min_accuracy=0.5).reason == "cheapest_at_min_accuracy"
    assert asked(form, url, PHOTO, budget_ms=ENOUGH_MS, policy="p2").reason in ("upgrades", "insures")
    with pytest.raises(ClientError) as caught:
        asked(form, url, PHOTO, budget_ms=0.01, mode="strict")
    assert caught.value.kind == ErrorKind.INFEASIBLE_BUDGET
    assert float(caught.value.facts["smallest_feasible_budget_ms"]) > 0.01


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"image": b"text"}, ErrorKind.UNDECODABLE_IMAGE),
        ({"image": b""}, ErrorKind.EMPTY_IMAGE),
        ({"variant": "b9"}, ErrorKind.UNKNOWN_VARIANT),
        ({"mode": "slow"}, ErrorKind.INVALID_PARAMETER),
        ({"budget_ms": 0.0, "deadline_s": 60.0}, ErrorKind.INVALID_PARAMETER),
        ({"top_k": -1}, ErrorKind.INVALID_PARAMETER),
    ],
)
def test_a_refusal_has_the_servers_name(server: Server, form: str, options: dict[str, Any], kind: ErrorKind) -> None:
    """The same over both protocols."""
    assert failure(form, url_of(server, form), **{"image": PHOTO, **options}).kind == kind


@pytest.mark.parametrize("form", FORMS)
def test_an_anytime_question_may_be_refused(server: Server, form: str) -> None:
    """Before its first answer."""
    with pytest.raises(ClientError) as caught:
        all_asked(form, url_of(server, form), PHOTO, policy="k1")
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_an_image_may_be_a_file(server: Server, form: str, tmp_path: Path) -> None:
    """Named by a path or a string; one that is not there is Python's own error."""
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    url = url_of(server, form)
    with Client(url) as client:
        for path in (tmp_path / "photo.jpg", str(tmp_path / "photo.jpg")):
            assert client.classify(path, budget_ms=ENOUGH_MS).variant == "b1"
        with pytest.raises(FileNotFoundError):
            client.classify(tmp_path / "nowhere.jpg")

    async def ask() -> Answer:
        async with AsyncClient(url) as client:
            return await client.classify(tmp_path / "photo.jpg", budget_ms=ENOUGH_MS)

    assert asyncio.run(ask()).variant == "b1"


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_a_plan_and_readiness(server: Server, form: str) -> None:
    """What a budget buys, and whether to come here at all; for asyncio too."""
    url = url_of(server, form)
    with Client(url) as client:
        assert (client.plan(budget_ms=ENOUGH_MS).decision.variant, client.ready()) == ("b1", True)

    async def ask() -> tuple[str, bool, int]:
        async with AsyncClient(url) as client:
            plan, table = await client.plan(budget_ms=ENOUGH_MS), await client.variants()
            return plan.decision.variant, await client.ready(), len(table.variants)

    assert asyncio.run(ask()) == ("b1", True, 2)


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_many_questions_share_connections(server: Server, form: str) -> None:
    """At once on one client; answers find their questions."""

    async def ask() -> list[Answer]:
        async with AsyncClient(url_of(server, form)) as client:
            return await asyncio.gather(
                *(client.classify(PHOTO, budget_ms=ENOUGH_MS, request_id=str(number)) for number in range(20))
            )

    assert [answer.request_id for answer in asyncio.run(ask())] == [str(number) for number in range(20)]


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_who_leaves_half_way_leaves_nothing_behind(server: Server, form: str) -> None:
    """An iterator that is closed, a task that is cancelled: the client works on."""
    url = url_of(server, form)
    with Client(url) as client:
        answers = client.classify_anytime(PHOTO, budget_ms=ENOUGH_MS)
        assert next(answers).variant == "b0"
        answers.close()
        assert client.classify(PHOTO, budget_ms=ENOUGH_MS).variant == "b1"

    async def ask() -> str:
        async with AsyncClient(url) as client:
            task = asyncio.create_task(client.classify(PHOTO, budget_ms=ENOUGH_MS))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await client.classify(PHOTO, budget_ms=ENOUGH_MS)).variant

    assert asyncio.run(ask()) == "b1"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://localhost:abc",
        "grpc://localhost",
        "grpc://localhost:1/x",
    ],
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    """With what one looks like."""
    for make in (Client, AsyncClient):
        with pytest.raises(ValueError, match="is not a URL"):
            make(url)


def test_the_other_protocols_port_is_somebody_else(server: Server) -> None:
    """gRPC asked over HTTP says nothing that is HTTP/1.1; HTTP asked over gRPC likewise."""
    over_http = failure("http", f"http://127.0.0.1:{server.grpc_port}", budget_ms=50.0)
    over_grpc = failure("grpc", f"grpc://127.0.0.1:{server.http_port}", budget_ms=50.0)
    assert {over_http.kind, over_grpc.kind} == {LocalKind.NO_ANSWER}
