"""What the rule for lanes and threads keeps, whatever a machine measures, also one where threads do not help."""

from hypothesis import given
from hypothesis import strategies as st

from service.core.layout import ROOM, Timed, choose, layouts

budgets_s = st.floats(1e-3, 1.0)


@st.composite
def machines(draw: st.DrawFn) -> list[Timed]:
    """Any times on the layouts of any number of cores."""
    return [Timed(layout, draw(st.floats(1e-3, 1.0))) for layout in layouts(draw(st.integers(1, 64)))]


@given(machines(), budgets_s, budgets_s)
def test_a_larger_budget_never_chooses_more_threads(machine: list[Timed], one_s: float, other_s: float) -> None:
    """Nor fewer lanes."""
    tight, wide = (choose(machine, "b0", budget_s).layout for budget_s in sorted((one_s, other_s)))
    assert wide.threads <= tight.threads
    assert wide.lanes >= tight.lanes


@given(machines(), budgets_s)
def test_what_is_chosen_fits_if_anything_does(machine: list[Timed], budget_s: float) -> None:
    """And nothing with fewer threads does."""
    chosen = choose(machine, "b0", budget_s).layout
    fitting = [one.layout for one in machine if one.usual_s * ROOM <= budget_s]
    quickest_s = min(one.usual_s for one in machine)
    assert chosen == fitting[0] if fitting else Timed(chosen, quickest_s) in machine


@given(machines(), budgets_s)
def test_more_threads_are_only_taken_where_they_are_quicker(machine: list[Timed], budget_s: float) -> None:
    """Than all layouts with fewer."""
    chosen = choose(machine, "b0", budget_s).layout
    (taken,) = (one for one in machine if one.layout == chosen)
    assert all(one.usual_s > taken.usual_s for one in machine if one.layout.threads < chosen.threads)
