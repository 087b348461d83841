"""A server that loses requests to load: who comes then has an answer in hand before anything better is tried."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.core.policy import MOST_LOST
from service.pipeline.priority import can_yield
from tests.fixtures import jpeg, write_variant
from tests.integration.process import PATIENCE_S, Server, serving

SLOW_PX = 600
AT_ONCE = 40
PHOTO = jpeg(160, 120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One lane over a quick variant and one that takes longer."""
    folder = tmp_path_factory.mktemp("server")
    write_variant(folder / "store", "b0")
    write_variant(folder / "store", "b1", resolution=SLOW_PX)
    with serving(folder / "store", folder, {"EFFSERVE_LANES_COUNT": "1", "EFFSERVE_LANES_THREADS": "1"}) as running:
        yield running


@pytest.mark.skipif(not can_yield(), reason="no threads of idle priority here, so no background lanes")
def test_who_comes_after_losses_is_insured(server: Server) -> None:
    """The best there is alone before; afterwards the cheapest first, and what follows says that it does."""
    limits = httpx.Limits(max_connections=AT_ONCE)
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S, limits=limits) as client:
        rows = client.get("/variants").json()["variants"]
        slow_ms = next(row["tail_ms"] for row in rows if row["name"] == "b1")
        assert _asked(client, budget_ms=20 * slow_ms) == ("b1", "most_accurate_that_fits")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = [pool.submit(_named, client, 2 * slow_ms) for _ in range(AT_ONCE)]
            served = sum(answer.result(PATIENCE_S) for answer in answers)
        assert 0 < served < AT_ONCE
        assert _lost(client) > MOST_LOST
        assert _asked(client, budget_ms=20 * slow_ms) in {("b1", "upgrades"), ("b0", "insures_under_load")}


def _named(client: httpx.Client, budget_ms: float) -> bool:
    """Whether a lane was free in time for the slow variant."""
    asked: dict[str, str | float] = {"variant": "b1", "mode": "strict", "budget_ms": budget_ms}
    return client.post("/classify", content=PHOTO, params=asked).status_code == httpx.codes.OK


def _asked(client: httpx.Client, budget_ms: float) -> tuple[str, str]:
    response = client.post("/classify", content=PHOTO, params={"budget_ms": budget_ms, "explain": True})
    assert response.status_code == httpx.codes.OK, response.text
    decision = response.json()["decision"]
    return decision["variant"], decision["reason"]


def _lost(client: httpx.Client) -> float:
    line = "effserve_lost_requests_ratio "
    return next(
        float(one.removeprefix(line)) for one in client.get("/metrics").text.splitlines() if one.startswith(line)
    )
