"""The goals: which cells they are about, when they are reached, and which cells they name."""

from dataclasses import replace

import pytest

from benchmarks.scheduling.goals import judged
from service.simulation.study import CellResult, Goal
from tests.unit.simulation.study import cell, result


def goal(name: str, *cells: CellResult) -> Goal:
    """By the beginning of its name."""
    return next(one for one in judged(cells) if one.name.startswith(name))


def test_nearness_to_the_bound_is_asked_of_light_mixed_traffic() -> None:
    """The worst cell counts; other loads, budgets and lanes do not."""
    near, far = cell(k1=(0.99, 0.80)), cell("gamma4", k1=(0.99, 0.70))
    others = (cell(load=0.8, k1=(0.5, 0.4)), cell(budgets="3x", k1=(0.5, 0.4)), cell(lanes=1, k1=(0.5, 0.4)))
    assert goal("G1 bound, 2", near, *others).reached
    missed = goal("G1 bound, 2", near, far, *others)
    assert not missed.reached
    assert [one.cell for one in missed.misses] == ["gamma4, load 0.4, mixed, 2 lanes"]


def test_attainment_is_asked_where_the_cheapest_variant_attains_it() -> None:
    """A burst that nobody survives is not K1's fault."""
    assert goal("G1 attainment, 2", cell(k1=(0.97, 0.7), safe=(0.99, 0.7))).cells == 0
    assert not goal("G1 attainment, 2", cell(k1=(0.98, 0.7), safe=(0.996, 0.7))).reached


def test_the_lead_is_a_mean_over_cells() -> None:
    """One cell may be behind."""
    ahead, behind = cell(k1=(0.99, 0.80), best=(0.99, 0.77)), cell(k1=(0.99, 0.77), best=(0.99, 0.775))
    found = goal("G2 effective accuracy, 2", ahead, behind)
    assert found.reached
    assert round(found.value or 0, 6) == 0.0125


def test_a_cell_is_lost_when_either_figure_is_significantly_lower() -> None:
    """Within the interval it is a tie. The interval is a point to each side."""
    tie, lost = cell(k1=(0.98, 0.77), best=(0.985, 0.775)), cell("step", k1=(0.95, 0.79), best=(0.98, 0.785))
    found = goal("G2 won", tie, lost)
    assert (found.value, found.reached) == (0.5, False)
    assert [one.cell for one in found.misses] == ["step, load 0.4, mixed, 2 lanes"]


def test_safety_is_against_the_cheapest_variant() -> None:
    """In every cell."""
    assert goal("G3 safety", cell(k1=(0.983, 0.79), safe=(0.985, 0.76))).reached
    assert not goal("G3 safety", cell(k1=(0.98, 0.79), safe=(0.985, 0.76))).reached


def test_goodput_is_about_overload() -> None:
    """Answers in time over those of the cheapest variant."""
    assert goal("G5", cell(load=0.8)).cells == 0
    assert not goal("G5", cell(load=0.8)).reached
    assert goal("G5", cell(load=1.1, k1=(0.8, 0.6), safe=(0.8, 0.6))).reached
    assert not goal("G5", cell(load=1.1, k1=(0.7, 0.6), safe=(0.8, 0.6))).reached


def test_decisions_and_waste_have_limits() -> None:
    """Figures of K1 alone."""
    assert goal("G7 decision", cell()).value == 200.0
    assert goal("G7 waste", cell()).reached


def test_either_half_of_the_comparison_at_one_level_counts_k1_at_any_setting() -> None:
    """SlackFit attains 0.9 with accuracy 0.8. K1 as it comes attains more and is less accurate; reckless, it is as
    accurate and misses half as much."""
    plain = cell(k1=(0.99, 0.99 * 0.79), best=(0.9, 0.9 * 0.8))
    reckless = replace(plain, swept=(result("k1, lanes twice", 0.95, 0.95 * 0.81),))
    assert goal("G4 accuracy, slackfit", plain).value == pytest.approx(-0.01)
    assert goal("G4 misses, slackfit", plain).cells == 0
    assert goal("G4 accuracy, slackfit", reckless).value == pytest.approx(0.01)
    assert goal("G4 misses, slackfit", reckless).value == pytest.approx(2.0)


def test_the_comparison_at_one_level_has_limits() -> None:
    """A point and a half, or a third of the misses; of a rival that did not take part nothing is said."""
    better = cell(k1=(0.9, 0.9 * 0.82), best=(0.9, 0.9 * 0.8))
    surer = cell(k1=(0.97, 0.97 * 0.8), best=(0.9, 0.9 * 0.8))
    assert goal("G4 accuracy, slackfit", better).reached
    assert not goal("G4 misses, slackfit", better).reached
    assert goal("G4 misses, slackfit", surer).reached
    assert goal("G4 accuracy, model-switching", better).cells == 0


def test_overload_is_not_compared_at_one_level() -> None:
    """Who is refused there is another question."""
    assert goal("G4 accuracy, slackfit", cell(load=1.1)).cells == 0
