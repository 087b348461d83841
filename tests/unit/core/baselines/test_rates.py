"""Arrival rates, counted by hand."""

import math

import pytest

from service.core.baselines.rates import Periods, Window


def test_a_window_counts_the_arrivals_within_it() -> None:
    """Four in the last half second are eight a second; the fifth is too old."""
    window = Window(0.5)
    for number, at_s in enumerate((0.0, 0.6, 0.7, 0.8, 0.9)):
        window.tell(at_s, number)
    assert window.per_s(0.9) == 8.0


def test_a_window_empties_while_nobody_comes() -> None:
    """An arrival is gone when the window has passed, though nothing was told since."""
    window = Window(0.5)
    window.tell(0.0, 1)
    assert (window.per_s(0.49), window.per_s(0.5)) == (2.0, 0.0)


def test_nobody_has_come_at_first() -> None:
    """A rate of zero."""
    assert Window(0.5).per_s(1.0) == 0.0


@pytest.mark.parametrize("arrivals", [Window(1.0), Periods(1.0)])
def test_a_job_told_twice_arrived_once(arrivals: Window | Periods) -> None:
    """Admission may be asked again about the same job."""
    arrivals.tell(0.5, 1)
    arrivals.tell(0.5, 1)
    assert arrivals.per_s(1.499) in (1.0, math.inf)
    assert arrivals.per_s(1.5) in (0.0, 1.0)


def test_no_rate_is_known_before_a_period_has_ended() -> None:
    """Infinite: nobody knows how much is to come."""
    periods = Periods(1.0)
    assert periods.per_s(0.0) == math.inf
    periods.tell(0.0, 1)
    assert periods.per_s(0.99) == math.inf


def test_the_last_whole_period_is_the_rate() -> None:
    """Three arrivals in half a second, then one that does not count yet."""
    periods = Periods(0.5)
    for number, at_s in enumerate((0.0, 0.1, 0.2, 0.6)):
        periods.tell(at_s, number)
    assert periods.per_s(0.9) == 6.0


def test_periods_are_smoothed_with_the_weight_of_their_centre_of_mass() -> None:
    """10 and then 20 a second with com 1.6: 10 + 10/2.6."""
    periods = Periods(1.0, com=1.6)
    for number in range(10):
        periods.tell(number / 10, number)
    for number in range(20):
        periods.tell(1.0 + number / 20, 100 + number)
    assert periods.per_s(2.0) == pytest.approx(10 + 10 / 2.6)


def test_periods_without_arrivals_count_as_zero() -> None:
    """Two empty periods after one of ten a second, with com 1: a quarter is left."""
    periods = Periods(1.0, com=1.0)
    for number in range(10):
        periods.tell(number / 10, number)
    assert periods.per_s(3.5) == pytest.approx(2.5)


def test_reading_changes_nothing() -> None:
    """A look into the future does not end the present period."""
    periods = Periods(1.0)
    periods.tell(0.0, 1)
    periods.per_s(10.0)
    periods.tell(0.5, 2)
    assert periods.per_s(1.0) == 2.0
