"""Which layout of lanes and threads is chosen, and what is said of it."""

from collections.abc import Iterator

import pytest

from service.core.layout import ROOM, Choice, Layout, Timed, choose, layouts

ONE, TWO, FOUR = layouts(4)
"""Threads a run."""
TIMED = (Timed(ONE, 0.020), Timed(TWO, 0.013), Timed(FOUR, 0.010))


def chosen(budget_s: float, *timed: Timed) -> Choice:
    """For the times above, or others."""
    return choose(timed or TIMED, "b0", budget_s)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(2, 1), (1, 2)]),
        (6, [(6, 1), (3, 2), (2, 3), (1, 6)]),
        (7, [(7, 1), (1, 7)]),
    ],
)
def test_every_core_is_used(cores: int, expected: list[tuple[int, int]]) -> None:
    """Fewest threads first."""
    assert layouts(cores) == [Layout(*one) for one in expected]


@pytest.mark.parametrize(
    ("budget_s", "expected"),
    [
        (0.100, ONE),
        (0.020 * ROOM, ONE),
        (0.019 * ROOM, TWO),
        (0.013 * ROOM, TWO),
        (0.012 * ROOM, FOUR),
        (0.001, FOUR),
    ],
)
def test_the_fewest_threads_with_which_the_cheapest_variant_fits(budget_s: float, expected: Layout) -> None:
    """Else those with which it is quickest."""
    assert chosen(budget_s).layout == expected


def test_more_threads_that_help_nobody_are_not_taken() -> None:
    """Where nothing fits, the quickest is not always the one with the most threads, and of equals it is the first."""
    assert chosen(0.001, Timed(ONE, 0.020), Timed(TWO, 0.013), Timed(FOUR, 0.014)).layout == TWO
    assert chosen(0.001, Timed(ONE, 0.020), Timed(TWO, 0.013), Timed(FOUR, 0.013)).layout == TWO


def test_no_more_is_measured_than_is_needed() -> None:
    """Measuring takes time of the start."""
    asked = []

    def measuring() -> Iterator[Timed]:
        for one in TIMED:
            asked.append(one.layout)
            yield one

    choose(measuring(), "b0", 0.013 * ROOM)
    assert asked == [ONE, TWO]


def test_without_a_layout_there_is_no_choice() -> None:
    """A fault of the caller."""
    with pytest.raises(ValueError, match="empty"):
        choose([], "b0", 0.1)


def test_the_reason_names_what_was_measured() -> None:
    """In the order it was."""
    assert chosen(0.1).why == "b0 takes 20 ms on 4 lanes of 1 thread, which fits the default budget of 100 ms"
    assert chosen(0.02).why == (
        "b0 takes 20 ms on 4 lanes of 1 thread, 13 ms on 2 lanes of 2 threads, which fits the default budget of 20 ms"
    )
    assert chosen(0.005, *TIMED[:2]).why == (
        "b0 takes 20 ms on 4 lanes of 1 thread, 13 ms on 2 lanes of 2 threads; "
        "none of it fits the default budget of 5 ms"
    )
