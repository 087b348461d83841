"""What the Python clients do when there is no answer: what is repeated, what is not, and how long it takes."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from service.client import NEVER, Client, ClientError, ErrorKind, LocalKind
from service.edges.status import STATUS
from tests.contract.client_kit import (
    ANSWER,
    FORMS,
    HANG,
    PATIENCE_S,
    Refusal,
    all_asked,
    asked,
    endless,
    failure,
    scripted,
    unreliable,
)
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import Server, serving

PHOTO = jpeg(160, 120)
ENOUGH_MS = 60_000.0
NO_DEADLINE_S = 1e9
LIBRARY_PAUSE_S = 1.5
"""After less than that gRPC connects again; with its jitter, in 1.2 s at most."""
FULL = Refusal(503, grpc.StatusCode.UNAVAILABLE, "queue-full", retry_after_s=0.05)
DRAINING = Refusal(503, grpc.StatusCode.UNAVAILABLE, "draining")


pytestmark = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server over two small variants."""
    folder = tmp_path_factory.mktemp("server")
    with serving(tiny_store(folder / "store"), folder) as running:
        yield running


def port_of(server: Server, form: str) -> int:
    """That of the form's protocol."""
    return server.http_port if form.startswith("http") else server.grpc_port


def address(form: str, port: int) -> str:
    """On this machine."""
    return f"{form[:4]}://127.0.0.1:{port}"


def test_a_refused_connection_is_tried_again_and_then_named(form: str) -> None:
    """Nothing was sent, so nothing can have happened."""
    with socket.socket() as silent:  # bound and not listening: the port is nobody else's meanwhile
        silent.bind(("127.0.0.1", 0))
        error = failure(form, address(form, silent.getsockname()[1]))
    assert (error.kind, error.retryable, len(error.request_id)) == (LocalKind.NO_ANSWER, True, 32)


@pytest.mark.parametrize("fault", ["reset", "half"])
def test_a_connection_that_breaks_is_made_again(form: str, fault: str, server: Server) -> None:
    """Before and within the answer: answering a question changes nothing, so it may be asked twice."""
    with unreliable(port_of(server, form), [fault]) as (port, came):
        answer = asked(form, address(form, port), PHOTO, budget_ms=ENOUGH_MS)
    assert (answer.variant, len(came)) == ("b1", 2)


def test_a_connection_that_breaks_each_time_is_given_up(form: str, server: Server) -> None:
    """After as many attempts as are allowed, each with a connection of its own."""
    with unreliable(port_of(server, form), ["reset"] * 9) as (port, came):
        error = failure(form, address(form, port), budget_ms=ENOUGH_MS)
    assert (error.kind, len(came)) == (LocalKind.NO_ANSWER, 3)


def test_who_keeps_a_failure_keeps_no_connection(form: str, server: Server) -> None:
    """gRPC would go on connecting, a second after it failed for the first time, for as long as a channel is held."""
    if form.startswith("http"):
        pytest.skip("httpx connects when it is asked")
    with unreliable(port_of(server, form), ["reset"] * 9) as (port, came):
        error = failure(form, address(form, port), budget_ms=ENOUGH_MS)
        with pytest.raises(ClientError) as caught:
            all_asked(form, address(form, port), budget_ms=ENOUGH_MS)
        attempts = len(came)
        time.sleep(LIBRARY_PAUSE_S)
    assert (error.kind, caught.value.kind, len(came)) == (LocalKind.NO_ANSWER, LocalKind.NO_ANSWER, attempts)


def test_a_client_that_is_closed_asks_no_more(form: str) -> None:
    """A call in flight, of another thread, ends without an answer, and is not asked again on a new connection."""
    if form != "grpc":
        pytest.skip("of httpx, and of tasks, who closes the client while it is used has to take care")
    with scripted(form, HANG) as server:
        client = Client(server.url)
        with ThreadPoolExecutor(1) as pool:
            asked_there = pool.submit(client.classify, b"image")
            while not server.seen:
                time.sleep(0.005)
            client.close()
            error = asked_there.exception(PATIENCE_S)
    assert isinstance(error, ClientError)
    assert (error.kind, len(server.seen)) == (LocalKind.NO_ANSWER, 1)


def test_without_retries_the_first_failure_is_told(form: str, server: Server) -> None:
    """For callers who have a rule of their own."""
    with unreliable(port_of(server, form), ["reset"]) as (port, came):
        error = failure(form, address(form, port), retries=NEVER, budget_ms=ENOUGH_MS)
    assert (error.kind, len(came)) == (LocalKind.NO_ANSWER, 1)


def test_an_anytime_question_is_asked_again_before_its_first_answer(form: str, server: Server) -> None:
    """And not after: who has an answer would get it twice."""
    with unreliable(port_of(server, form), ["reset"]) as (port, _):
        answers = all_asked(form, address(form, port), PHOTO, budget_ms=ENOUGH_MS)
    assert [(one.variant, one.final) for one in answers] == [("b0", False), ("b1", True)]


@pytest.mark.parametrize("refusal", [FULL, DRAINING], ids=lambda one: one.kind)
def test_a_server_that_is_busy_or_ends_is_asked_again(form: str, refusal: Refusal) -> None:
    """After the pause it names, if it names one."""
    with scripted(form, refusal, refusal) as server:
        assert asked(form, server.url) == ANSWER
    assert len(server.seen) == 3


def test_a_pause_beyond_the_deadline_is_not_waited_for(form: str) -> None:
    """The failure says how long it would have been."""
    with scripted(form, Refusal(503, grpc.StatusCode.UNAVAILABLE, "queue-full", retry_after_s=100)) as server:
        error = failure(form, server.url, budget_ms=50.0, deadline_s=60.0)
    assert (error.kind, error.retry_after_s, len(server.seen)) == (ErrorKind.QUEUE_FULL, 100, 1)


def test_an_answer_that_does_not_come_ends_with_the_deadline(form: str) -> None:
    """It is not asked again: there is no time left."""
    with scripted(form, HANG) as server:
        error = failure(form, server.url, budget_ms=50.0, deadline_s=0.2)
    assert (error.kind, error.retryable) == (LocalKind.DEADLINE_OVER, False)
    assert len(server.seen) <= 1  # none where the machine was too busy to send it in time


def test_the_deadline_holds_without_a_budget(form: str) -> None:
    """Over gRPC it does not go to the server then, which would take it for the budget."""
    with scripted(form, HANG) as server:
        error = failure(form, server.url, deadline_s=0.5)
    assert error.kind == LocalKind.DEADLINE_OVER
    for seen in server.seen:
        assert float(seen.get("left", NO_DEADLINE_S)) >= NO_DEADLINE_S
        assert "budget_ms" not in seen


def test_a_connection_that_is_silent_ends_with_the_deadline(form: str, server: Server) -> None:
    """Also where no server ever sees the question."""
    with unreliable(port_of(server, form), ["hang"]) as (port, _):
        error = failure(form, address(form, port), budget_ms=50.0, deadline_s=0.2)
    assert error.kind == LocalKind.DEADLINE_OVER


def test_the_deadline_holds_between_answers(form: str) -> None:
    """A server that goes on and on is left, with the answers that it gave."""
    with endless(form) as url, pytest.raises(ClientError) as caught:
        all_asked(form, url, budget_ms=50.0, deadline_s=0.5)
    assert caught.value.kind == LocalKind.DEADLINE_OVER


def test_a_server_is_not_asked_for_more_time_than_the_caller_has(form: str) -> None:
    """What is left of the deadline, where that is less than the budget."""
    with scripted(form) as server:
        asked(form, server.url, budget_ms=60_000.0, deadline_s=30.0)
        asked(form, server.url, budget_ms=1.5)
    assert float(server.seen[0]["budget_ms"]) <= 30_000
    assert float(server.seen[1]["budget_ms"]) == 1.5


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind not in ("queue-full", "draining", "not-resident")])
def test_what_the_server_refuses_for_good_is_not_asked_again(form: str, kind: ErrorKind) -> None:
    """Kind, sentence, figures and id are the server's."""
    refusal = Refusal(STATUS[kind].http, STATUS[kind].grpc, kind, "so be it", facts={"limit_bytes": 7})
    with scripted(form, refusal) as server:
        error = failure(form, server.url)
    assert (error.kind, error.detail, error.facts, error.request_id) == (kind, "so be it", {"limit_bytes": 7}, "its")
    assert len(server.seen) == 1


def test_a_kind_of_a_newer_server_is_a_name(form: str) -> None:
    """Kinds are added, never changed."""
    with scripted(form, Refusal(400, grpc.StatusCode.INVALID_ARGUMENT, "too-blue")) as server:
        assert failure(form, server.url).kind == "too-blue"


def test_somebody_elses_server_is_recognised(form: str) -> None:
    """By an answer without a kind."""
    with scripted(form, Refusal(418, grpc.StatusCode.UNKNOWN)) as server:
        error = failure(form, server.url)
    assert (error.kind, len(server.seen)) == (LocalKind.NOT_EFFSERVE, 1)


def test_a_gateway_without_a_server_is_asked_again(form: str) -> None:
    """A proxy's 502, and gRPC's UNAVAILABLE, say nothing but that there was no answer."""
    with scripted(form, Refusal(502, grpc.StatusCode.UNAVAILABLE)) as server:
        assert asked(form, server.url) == ANSWER
    assert len(server.seen) == 2
