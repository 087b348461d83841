"""The goals: which cells they are about, when they are reached, and which cells they name."""

from benchmarks.scheduling.goals import judged
from service.simulation.study import CellResult, Goal
from tests.unit.simulation.study import cell


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
