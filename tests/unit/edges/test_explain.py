"""The sentence behind a decision."""

import pytest

from service.core.values import Decision, Mode, Reason
from service.edges.explain import refused, why
from tests.builders import variant

OTHERS = [reason for reason in Reason if reason is not Reason.CHEAPEST_NONE_FITS]


def decision(reason: Reason, *, fits: bool = True, remaining_s: float = 0.05) -> Decision:
    """b3 with a tail of 75.6 ms."""
    return Decision(variant("b3"), reason, 1.0, remaining_s, 0.063, 0.0756, fits, ())


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """It names the variant, leaves no gap, and takes any full stop from where it stands."""
    sentence = why(decision(reason))
    assert "b3" in sentence
    assert not {"{", "}"} & set(sentence)
    assert not sentence.endswith(".")


def test_sentences_differ() -> None:
    """Each reason is told apart."""
    assert len({why(decision(reason)) for reason in Reason}) == len(Reason)


def test_figures_are_in_milliseconds() -> None:
    """The tail and what was left."""
    sentence = why(decision(Reason.MOST_ACCURATE_THAT_FITS, remaining_s=0.0912))
    assert sentence == "b3 is the most accurate variant whose tail latency, 75.6 ms, fits the 91.2 ms left"


@pytest.mark.parametrize("reason", OTHERS)
def test_a_choice_that_does_not_fit_says_so(reason: Reason) -> None:
    """A variant that the request named, for example."""
    assert why(decision(reason, fits=False)).endswith("75.6 ms, does not fit the 50.0 ms left")
    assert "does not fit" not in why(decision(reason))


def test_nothing_fits_is_said_once() -> None:
    """The reason itself says it."""
    sentence = why(decision(Reason.CHEAPEST_NONE_FITS, fits=False))
    assert sentence == "no variant fits the 50.0 ms left; b3 is the cheapest"


@pytest.mark.parametrize("remaining_s", [-0.0091, 0.0, 0.00004])
def test_an_overdrawn_budget_has_nothing_left(remaining_s: float) -> None:
    """Neither a negative time nor one of 0.0 ms."""
    cheapest = why(decision(Reason.CHEAPEST_NONE_FITS, fits=False, remaining_s=remaining_s))
    assert cheapest == "no variant fits a budget of which nothing is left; b3 is the cheapest"
    named = why(decision(Reason.NAMED_BY_REQUEST, fits=False, remaining_s=remaining_s))
    assert named.endswith("75.6 ms, does not fit a budget of which nothing is left")
    assert "0.1 ms left" in why(decision(Reason.CHEAPEST_NONE_FITS, fits=False, remaining_s=0.0001))


@pytest.mark.parametrize(
    ("mode", "fits", "expected"),
    [
        (Mode.STRICT, False, True),
        (Mode.STRICT, True, False),
        (Mode.BEST_EFFORT, False, False),
        (Mode.BEST_EFFORT, True, False),
    ],
)
def test_only_a_strict_request_that_nothing_fits_is_refused(mode: Mode, fits: bool, expected: bool) -> None:
    """Best effort answers late."""
    assert refused(mode, decision(Reason.NAMED_BY_REQUEST, fits=fits)) is expected
