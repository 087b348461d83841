"""How many lanes with how many threads a service has: as the operator says, or by what is measured."""

from pathlib import Path

import pytest

from service import preparing
from service.core.layout import Choice, Layout
from service.pipeline import trials
from service.pipeline.session import ExecutionProvider
from service.pipeline.store import StoreScan
from service.settings import Overrides, load
from service.startup import check
from tests.fixtures import tiny_store

EMPTY = StoreScan((), ())


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine."""
    monkeypatch.setattr(preparing, "usable_cores", lambda: 4)


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        ({"count": 2}, Layout(2, 1)),
        ({"threads": 2}, Layout(2, 2)),
        ({"threads": 3}, Layout(1, 3)),
        ({"threads": 8}, Layout(1, 8)),
        ({"count": 3, "threads": 2}, Layout(3, 2)),
    ],
)
def test_what_is_set_holds(lanes: dict[str, int], expected: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured then; what is left out follows from the other."""
    monkeypatch.setattr(trials, "choice", None)
    assert preparing.layout(load(None, {"lanes": lanes}), EMPTY) == Choice(expected, "as set")


def test_other_providers_have_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the CPU say nothing about them."""
    monkeypatch.setattr(trials, "choice", None)
    settings = load(None, {"lanes": {"provider": ExecutionProvider.CUDA}})
    assert preparing.layout(settings, EMPTY) == Choice(Layout(4, 1), "nothing is measured for cuda")


@pytest.mark.parametrize(("budget_ms", "expected"), [(60_000.0, {1}), (1e-6, {1, 2, 4})])
def test_the_default_budget_decides_where_nothing_is_set(budget_ms: float, expected: set[int], tmp_path: Path) -> None:
    """One that all layouts are quick enough for, and one that asks for the quickest."""
    overrides: Overrides = {
        "routing": {"default_budget_ms": budget_ms},
        "calibration": {"dir": tmp_path / "calibration", "seconds_per_variant": 0.01},
    }
    found = check(tiny_store(tmp_path / "store"), ExecutionProvider.CPU)
    announced: list[str] = []
    choice = preparing.layout(load(None, overrides), found, announced.append)
    assert choice.layout.threads in expected
    assert len(announced) == len(expected)
    assert "b0 takes" in choice.why
