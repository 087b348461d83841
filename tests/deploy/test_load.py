"""The load generator and the health check, against servers that are there and that are not."""

import asyncio
from pathlib import Path

import pytest

from deploy import healthcheck
from deploy.load import Load, Tide, main
from service.client import NEVER, AsyncClient
from tests.fixtures import tiny_store
from tests.integration.process import serving


def test_the_tide_swells_and_ebbs_around_its_mean() -> None:
    """It starts at the mean, and comes back to it after half a swing and after a whole one."""
    tide = Tide(10.0, 60.0)
    assert [round(tide.at(passed_s), 6) for passed_s in (0, 15, 30, 45, 60)] == [10, 18, 10, 2, 10]


async def test_questions_nobody_answers_are_counted_by_what_went_wrong() -> None:
    """And end the run no earlier than its time."""
    async with AsyncClient("http://127.0.0.1:9", retries=NEVER) as client:
        load = Load([client], seed=1)
        await asyncio.wait_for(load.run(Tide(100.0, 1.0), 0.2), 60)
    assert load.ended.keys() == {"no-answer"}
    assert load.ended.total() > 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a server"),
        (["--http", "http://localhost:9", "--rate", "0"], "more than 0"),
        (["--grpc", "grpc://localhost:9", "--seconds", "-1"], "more than 0"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With a line that says why."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_is_kept_busy_and_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over both protocols; the health check says so, and says what is wrong when nothing is there."""
    with serving(tiny_store(tmp_path / "store"), tmp_path) as server:
        monkeypatch.setenv("EFFSERVE_HTTP_PORT", str(server.http_port))
        assert healthcheck.main() == 0
        addresses = ["--http", server.url, "--grpc", f"grpc://127.0.0.1:{server.grpc_port}"]
        main([*addresses, "--rate", "50", "--seconds", "1"])
        answered = [line["protocol"] for line in server.log() if line.get("event") == "request answered"]
    assert set(answered) == {"http", "grpc"}
    assert " answered" in capsys.readouterr().out
    assert healthcheck.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
