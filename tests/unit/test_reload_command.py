"""What `effserve reload` ends with."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from service import cli
from service.client.values import Change, Changes
from service.commands import client


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize(("became", "status"), [("loaded", 0), ("refused", 1)])
def test_the_status_says_whether_everything_is_served(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], became: str, status: int
) -> None:
    """A script that deploys has to know."""
    changes = Changes((Change("kept", "b0", "1", ""), Change(became, "b1", "2", "")))

    @contextmanager
    def asking(url: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(reload=lambda: changes)

    monkeypatch.setattr(client, "_asking", asking)
    result = CliRunner().invoke(cli.app, ["reload", *flags])
    assert result.exit_code == status
    assert "b1" in result.stdout
