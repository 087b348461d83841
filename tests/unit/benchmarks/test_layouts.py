"""Lanes against threads: single budgets in virtual time, the file of results, and its tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.layouts import page, simulated
from benchmarks.layouts.study import Capacity, Limit, Setting, Study, Turn, effective, read
from benchmarks.machine import Machine, Others
from benchmarks.realtime.compare import Figures
from benchmarks.realtime.simulated import Known
from benchmarks.stats import Spread
from service.core.layout import Layout, Timed
from service.simulation import times, variants

ONE, TWO = Layout(2, 1), Layout(1, 2)
SMALL = Setting(
    variants=("b0",), traces=("poisson",), mixes=("25:.5,400:.5",), rounds=2, budgets=(0.6, 5.0), requests=100
)


def known(folder: Path, layout: Layout, run_s: float) -> Known:
    """A machine on which b0 always takes so long."""
    path = folder / f"{layout.threads}.json"
    path.write_text(json.dumps({"b0": {"1": [run_s] * 100}}))
    source = times.logged(path)
    return Known(variants.published(source.calibration.inference_s), source, np.zeros(1), layout.lanes)


def test_quicker_runs_are_worth_something_only_where_others_do_not_fit(tmp_path: Path) -> None:
    """0.6 of what a run takes on one thread, and five times it; with two threads it takes half as long."""
    worlds = {ONE: known(tmp_path, ONE, 0.02), TWO: known(tmp_path, TWO, 0.01)}
    found = {(one.times, one.layout): one for one in simulated.limits(worlds, SMALL)}
    assert [found[0.6, ONE].attainment, found[5.0, ONE].attainment] == [0.0, 1.0]
    assert 0.5 < found[0.6, TWO].attainment < 1.0
    assert found[5.0, TWO].effective == pytest.approx(0.771, rel=0.05)


def test_all_layouts_get_the_same_requests(tmp_path: Path) -> None:
    """The same machine twice gives the same figures twice."""
    same = {layout: known(tmp_path, ONE, 0.02) for layout in (ONE, TWO)}
    one, two, *_ = (replace(found, layout=ONE) for found in simulated.limits(same, SMALL))
    assert one == two


def turn(layout: Layout, number: int, attained: float, played: float) -> Turn:
    """With an accuracy of 80 %."""

    def figures(attainment: float) -> Figures:
        return Figures(attainment, 0.8, attainment, 0.0, 0.0, {"b0": 1.0})

    return Turn("poisson", SMALL.mixes[0], layout, number, 100, 20.0, figures(attained), figures(played), 0.001, 0)


def made_up(turns: Sequence[Turn]) -> Study:
    """Of two layouts."""
    return Study(
        machine=Machine("a processor", 2, 8.0, "3.11", "1.32", "abc", "2026-01-01", 0.1),
        setting=SMALL,
        others=(Others("all turns", 10.0, 0.01),),
        cheapest="b0",
        usual=(Timed(ONE, 0.02), Timed(TWO, 0.012)),
        turns=tuple(turns),
        capacities=(
            Capacity("b0", ONE, (100.0, 110.0), Spread.of([20.0])),
            Capacity("b0", TWO, (80.0, 90.0), Spread.of([12.0])),
        ),
        limits=tuple(Limit("poisson", one, layout, 0.5, 0.4) for one in SMALL.budgets for layout in (ONE, TWO)),
    )


STUDY = made_up([turn(ONE, 0, 0.8, 0.9), turn(TWO, 0, 0.9, 0.9), turn(TWO, 1, 0.5, 0.8), turn(ONE, 1, 0.7, 0.9)])


def rows(title: str) -> list[list[str]]:
    """Of one table."""
    (table,) = (one for one in page.tables(STUDY) if one.title == title)
    return [list(row) for row in table.rows]


def test_a_missed_request_is_worth_nothing() -> None:
    """Whoever answered it."""
    assert effective(turn(ONE, 0, 0.5, 1.0).real) == pytest.approx(0.4)


def test_rounds_are_compared_with_themselves() -> None:
    """In whatever order they were taken: +8 points of effective accuracy in the first round, −16 in the second."""
    first, second = rows("Real server by layout")
    assert first[:4] == ["poisson, 25–400 ms", "2 lanes of 1 thread", "75.00", "70.00 to 80.00"]
    assert first[7:9] == ["–", "–"]
    assert second[7:9] == ["−4.00", "−16.00 to +8.00"]
    assert second[-1] == "−4.00"


def test_capacity_stands_beside_the_first_layout() -> None:
    """Mean over the rounds."""
    assert [row[2:5] for row in rows("Capacity and service times")] == [
        ["105.0", "100.0 to 110.0", "1.00"],
        ["85.0", "80.0 to 90.0", "0.81"],
    ]


def test_the_choice_is_that_of_the_service() -> None:
    """By what the servers measured."""
    chosen = {row[0]: row[1] for row in rows("What is chosen here")}
    assert (chosen["20 ms"], chosen["30 ms"]) == ("1 lane of 2 threads", "2 lanes of 1 thread")


def test_figures_of_a_disturbed_run_say_so() -> None:
    """Beside each table of them."""

    def warned(share: float) -> int:
        study = replace(STUDY, others=(Others("all turns", 10.0, share),))
        return sum("**Disturbed: other processes had 81%" in table.note for table in page.tables(study))

    assert (warned(0.81), warned(0.05)) == (3, 0)


def test_a_study_survives_its_file(tmp_path: Path) -> None:
    """All of it."""
    path = tmp_path / "layouts.json"
    path.write_text(json.dumps(asdict(STUDY)))
    assert read(path) == STUDY
