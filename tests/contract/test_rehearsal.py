"""The first request is the service's own: it goes the whole way before anybody can ask, and nobody counts it."""

import re
from pathlib import Path

import httpx
import pytest

from service.edges.http.rehearsal import rehearse
from tests.contract.http_kit import real
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, serving


@pytest.mark.parametrize(("image", "status"), [(jpeg(), 200), (b"no image", 422)])
async def test_a_photo_goes_the_way_of_everybody(tmp_path: Path, image: bytes, status: int) -> None:
    """Through the application that servers run; what it is answered is told."""
    async with real(tiny_store(tmp_path / "store")) as kit:
        assert await rehearse(kit.app, image) == status
        assert len(kit.seen.answered) + len(kit.seen.failed) == 1


def test_nobody_counts_it(tmp_path: Path) -> None:
    """Neither metrics nor the table of variants nor the log have seen a request when the service is ready."""
    with serving(tiny_store(tmp_path / "store"), tmp_path) as server:
        metrics = httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
        table = httpx.get(f"{server.url}/variants", timeout=PATIENCE_S).json()["variants"]
        assert server.stop() == 0
        assert [line for line in server.log() if str(line["event"]).startswith("request")] == []
    assert re.findall(r"^effserve_(?:requests|budgets|answers)_total\{.*", metrics, re.MULTILINE) == []
    assert {row["answers"] for row in table} == {0}
