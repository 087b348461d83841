"""Trying layouts: of which variant, when nothing is tried, and what a later start knows."""

import time
from pathlib import Path
from typing import Any

import pytest

from service.core.layout import Choice, Layout
from service.core.values import ImageHeader
from service.pipeline import trials
from service.pipeline.session import Session, SessionError
from service.pipeline.store import scan
from tests.fixtures import tiny_store, write_variant

PICTURE = ImageHeader("JPEG", 500, 400, 50_000)
WAIT_S = 0.1
PATIENT_S, HOPELESS_S = 60.0, 1e-9
"""Whatever the machine does, one is enough for all layouts and the other for none."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """b0 and b1, which budgets may choose, and a smaller one of unknown accuracy."""
    folder = tiny_store(tmp_path_factory.mktemp("store"))
    write_variant(folder, "unknown", resolution=32)
    return folder


def chosen(
    store: Path,
    *,
    cores: int = 2,
    budget_s: float = PATIENT_S,
    folder: Path | None = None,
    told: list[str] | None = None,
) -> Choice:
    """`told`: what was announced."""
    return trials.choice(
        scan(store).entries,
        cores,
        budget_s=budget_s,
        route_untrained=False,
        picture=PICTURE,
        folder=folder,
        seconds=0.01,
        announce=(told if told is not None else []).append,
    )


def test_lanes_of_one_thread_are_tried_first(store: Path) -> None:
    """And nothing else where the cheapest variant that is routed fits the budget."""
    told: list[str] = []
    assert chosen(store, told=told).layout == Layout(2, 1)
    assert told == ["measuring b0 on 2 lanes of 1 thread"]


def test_all_layouts_are_tried_where_nothing_fits(store: Path) -> None:
    """The reason tells what each takes."""
    told: list[str] = []
    found = chosen(store, budget_s=HOPELESS_S, told=told)
    assert told == ["measuring b0 on 2 lanes of 1 thread", "measuring b0 on 1 lane of 2 threads"]
    assert found.layout in (Layout(2, 1), Layout(1, 2))
    assert "on 2 lanes of 1 thread, " in found.why


def test_what_was_measured_is_known_to_the_next_start(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same choice for the same reason, without opening a session."""
    first = chosen(store, budget_s=HOPELESS_S, folder=tmp_path)
    monkeypatch.setattr(trials, "open_session", None)
    assert chosen(store, budget_s=HOPELESS_S, folder=tmp_path) == first


def test_other_work_does_not_make_one_thread_look_slow(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that waits for a core takes none of its time."""
    run = Session.run

    def waiting(session: Session, *given: Any) -> Any:  # noqa: ANN401
        time.sleep(WAIT_S)
        return run(session, *given)

    monkeypatch.setattr(Session, "run", waiting)
    assert chosen(store, budget_s=WAIT_S).layout == Layout(2, 1)


def test_one_core_leaves_no_choice(store: Path) -> None:
    """Nothing is measured."""
    told: list[str] = []
    assert chosen(store, cores=1, budget_s=HOPELESS_S, told=told) == Choice(Layout(1, 1), "one usable core")
    assert told == []


def test_without_a_variant_that_budgets_may_choose_there_is_nothing_to_measure(tmp_path: Path) -> None:
    """Why the service does not start is for others to say."""
    store = tiny_store(tmp_path, trained=False)
    assert chosen(store, cores=4) == Choice(Layout(4, 1), "no variant to measure")


def test_a_variant_that_cannot_be_run_keeps_nobody_from_starting(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused later, by name."""

    def broken(*_: object, **__: object) -> None:
        raise SessionError("no such operator")

    monkeypatch.setattr(trials, "open_session", broken)
    assert chosen(store) == Choice(Layout(2, 1), "b0 cannot be run")
