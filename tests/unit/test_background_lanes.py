"""How many background lanes a service has: as told, never more than lanes, and none where upgrades would not yield."""

import pytest

from service import preparing
from service.core.layout import Layout
from service.pipeline.session import ExecutionProvider
from service.settings import Settings, load

THREE = Layout(3, 1)


def _settings(**lanes: object) -> Settings:
    return load(None, {"lanes": lanes})


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has idle priority."""
    monkeypatch.setattr(preparing, "can_yield", lambda: True)


@pytest.mark.parametrize(("wanted", "lanes"), [(None, 3), (0, 0), (2, 2), (9, 3)])
def test_there_are_as_many_as_wanted_and_at_most_as_many_as_lanes(wanted: int | None, lanes: int) -> None:
    """More could not run at a time."""
    assert preparing.background_lanes(_settings(background=wanted), THREE) == lanes


@pytest.mark.parametrize(
    ("provider", "chosen"), [(ExecutionProvider.CPU, Layout(3, 2)), (ExecutionProvider.CUDA, Layout(3, 1))]
)
def test_there_are_none_where_runs_leave_their_thread(provider: ExecutionProvider, chosen: Layout) -> None:
    """Its priority would not go with them."""
    assert preparing.background_lanes(_settings(provider=provider), chosen) == 0


def test_there_are_none_where_threads_cannot_yield(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says so."""
    monkeypatch.setattr(preparing, "can_yield", lambda: False)
    assert preparing.background_lanes(_settings(), THREE) == 0
