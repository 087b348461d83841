"""Who is still inside, and who is told when they have gone."""

from contextlib import suppress

from service.core.grace import Grace


def test_with_nobody_inside_it_is_over_at_once() -> None:
    """Nothing is waited for."""
    told: list[str] = []
    Grace().when_gone(lambda: told.append("gone"))
    assert told == ["gone"]


def test_whoever_was_there_before_is_waited_for() -> None:
    """All of them."""
    grace, told = Grace(), list[str]()
    first, second = grace.enter(), grace.enter()
    grace.when_gone(lambda: told.append("gone"))
    grace.leave(first)
    assert told == []
    grace.leave(second)
    assert told == ["gone"]


def test_whoever_comes_later_is_not() -> None:
    """They cannot get at what was taken away."""
    grace, told = Grace(), list[str]()
    before = grace.enter()
    grace.when_gone(lambda: told.append("gone"))
    grace.enter()
    grace.leave(before)
    assert told == ["gone"]


def test_a_later_period_ends_no_sooner_than_an_earlier_one() -> None:
    """Who is left of the first may use what was taken away in the second, too."""
    grace, told = Grace(), list[str]()
    oldest = grace.enter()
    grace.when_gone(lambda: told.append("first"))
    younger = grace.enter()
    grace.when_gone(lambda: told.append("second"))
    grace.leave(younger)
    assert told == []
    grace.leave(oldest)
    assert told == ["first", "second"]


def test_a_failure_inside_is_an_exit() -> None:
    """Whatever becomes of a request, it goes."""
    grace, told = Grace(), list[str]()
    with suppress(ZeroDivisionError), grace.inside():
        grace.when_gone(lambda: told.append("gone"))
        raise ZeroDivisionError
    assert told == ["gone"]


def test_its_repr_shows_who_is_there() -> None:
    """And how many wait for that to end."""
    grace = Grace()
    with grace.inside():
        grace.when_gone(lambda: None)
        assert repr(grace) == "<Grace inside=1 waiting=1>"
    assert repr(grace) == "<Grace inside=0 waiting=0>"
