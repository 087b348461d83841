"""A server under load that terminates upgrades: whoever else is answered gets what it would have got alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Event
from typing import Any

import httpx
import pytest

from tests.fixtures import jpeg, write_variant
from tests.integration.process import PATIENCE_S, Server, serving

SLOW_PX = 1_200
"""A run of it takes long enough for others to come meanwhile, on any machine."""
PHOTOS = [jpeg(160 + 16 * number, 120) for number in range(6)]
ENOUGH = 5
"""Terminated runs that have to be seen."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One lane over a quick variant and a slow one."""
    folder = tmp_path_factory.mktemp("server")
    write_variant(folder / "store", "b0")
    write_variant(folder / "store", "b1", resolution=SLOW_PX)
    settings = {"EFFSERVE_LANES_COUNT": "1", "EFFSERVE_LANES_THREADS": "1", "EFFSERVE_LIMITS_PATIENCE_MS": "60000"}
    settings["EFFSERVE_ROUTING_INSURE_UNDER_LOAD"] = "false"
    with serving(folder / "store", folder, settings) as running:
        yield running


def test_terminated_runs_leave_every_other_answer_as_it_is(server: Server) -> None:
    """Bit by bit, of both variants and of those that were terminated themselves."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        rows = client.get("/variants").json()["variants"]
        slow_ms = next(row["expected_ms"] for row in rows if row["name"] == "b1")
        alone = {
            (variant, number): _asked(client, photo, variant=variant)["predictions"]
            for variant in ("b0", "b1")
            for number, photo in enumerate(PHOTOS)
        }
        answers, terminated = _under_load(client, slow_ms)
    assert terminated >= ENOUGH
    assert {answer["decision"]["variant"] for _, answer in answers} == {"b0", "b1"}
    for number, answer in answers:
        assert answer["predictions"] == alone[answer["decision"]["variant"], number]


def _under_load(client: httpx.Client, slow_ms: float) -> tuple[list[tuple[int, Any]], int]:
    """Answers with the number of their photo, and how many had been terminated: patient requests, one after the other,
    and among them urgent ones, until enough were."""
    ended = Event()

    def patient() -> list[tuple[int, Any]]:
        answers: list[tuple[int, Any]] = []
        for number in cycle(range(len(PHOTOS))):
            if ended.is_set():
                break
            answers.append((number, _asked(client, PHOTOS[number], budget_ms=20 * slow_ms)))
        return answers

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(patient)
        urgent: list[tuple[int, Any]] = []
        try:
            while _terminated(client) < ENOUGH and len(urgent) < 50 * ENOUGH and not asking.done():
                number = len(urgent) % len(PHOTOS)
                urgent.append((number, _asked(client, PHOTOS[number], budget_ms=slow_ms / 2)))
                ended.wait(slow_ms / 1e3)
        finally:
            ended.set()
        return urgent + asking.result(PATIENCE_S), _terminated(client)


def _asked(client: httpx.Client, photo: bytes, **parameters: str | float) -> Any:  # noqa: ANN401
    response = client.post("/classify", content=photo, params=parameters, headers={"Content-Type": "image/jpeg"})
    assert response.status_code == httpx.codes.OK, response.text
    return response.json()


def _terminated(client: httpx.Client) -> int:
    line = 'effserve_terminated_runs_total{variant="b1"} '
    found = [one for one in client.get("/metrics").text.splitlines() if one.startswith(line)]
    return int(float(found[0].removeprefix(line))) if found else 0
