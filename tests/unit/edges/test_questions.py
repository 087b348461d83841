"""What a request may ask, and how what it may not ask is named."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.core.errors import EffserveError, ErrorKind
from service.core.values import Deadline, Mode, Question
from service.edges.questions import (
    MAX_BUDGET_MS,
    MAX_TOP_K,
    SHOWN,
    WANTED,
    ClassifyParameters,
    Defaults,
    PlanParameters,
    checked,
    invalid_parameter,
    question,
)

DEFAULTS = Defaults(budget_ms=80.0, mode=Mode.STRICT)


def refusal(given: dict[str, object], model: type[PlanParameters] = ClassifyParameters) -> EffserveError:
    """The failure that parameters end in."""
    with pytest.raises(EffserveError) as caught:
        checked(model, given)
    assert caught.value.kind is ErrorKind.INVALID_PARAMETER
    return caught.value


def test_a_request_that_says_nothing_gets_the_defaults() -> None:
    """The operator's budget and mode, five classes, no explanation."""
    asked = checked(ClassifyParameters, {})
    assert question(asked, 7.0, DEFAULTS) == Question(Deadline(7.0, 0.08), Mode.STRICT)
    assert (asked.top_k, asked.explain) == (5, False)


def test_what_a_request_says_wins_over_the_defaults() -> None:
    """Budget in milliseconds, from the moment of the first byte."""
    asked = checked(PlanParameters, {"budget_ms": 25, "mode": "best_effort"})
    assert question(asked, 7.0, DEFAULTS) == Question(Deadline(7.0, 0.025), Mode.BEST_EFFORT, explain=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"variant": "b3"}, Question(Deadline(0.0, 0.08), Mode.STRICT, variant="b3", explain=True)),
        ({"min_accuracy": 0.8}, Question(Deadline(0.0, 0.08), Mode.STRICT, min_top1=0.8, explain=True)),
        ({"min_accuracy": 0.0}, Question(Deadline(0.0, 0.08), Mode.STRICT, min_top1=0.0, explain=True)),
    ],
)
def test_a_network_or_an_accuracy_may_be_named(given: dict[str, Any], expected: Question) -> None:
    """Zero is an accuracy too."""
    assert question(checked(PlanParameters, given), 0.0, DEFAULTS) == expected


@pytest.mark.parametrize("wanted", [True, False])
def test_candidates_are_listed_when_a_request_asks(wanted: bool) -> None:
    """A plan always lists them; an answer costs less without."""
    assert question(checked(ClassifyParameters, {"explain": wanted}), 0.0, DEFAULTS).explain is wanted


def test_a_network_and_an_accuracy_contradict_each_other() -> None:
    """Both at once is a mistake, which is named."""
    asked = checked(PlanParameters, {"variant": "b3", "min_accuracy": 0.8})
    with pytest.raises(EffserveError, match="exclude each other") as caught:
        question(asked, 0.0, DEFAULTS)
    assert caught.value.kind is ErrorKind.INVALID_PARAMETER
    assert caught.value.facts == {"parameter": "min_accuracy"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("budget_ms", 0),
        ("budget_ms", -1),
        ("budget_ms", "nan"),
        ("budget_ms", "inf"),
        ("budget_ms", MAX_BUDGET_MS + 1),
        ("budget_ms", "fast"),
        ("min_accuracy", -0.01),
        ("min_accuracy", 80),
        ("min_accuracy", "nan"),
        ("mode", "slow"),
        ("variant", "b" * 65),
        ("top_k", 0),
        ("top_k", MAX_TOP_K + 1),
        ("top_k", 1.5),
        ("explain", "perhaps"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: object) -> None:
    """In the detail, with what it should be, and as a fact that a program reads."""
    error = refusal({name: value})
    assert error.detail.startswith(f"{name}: '{str(value).removesuffix('.0')[:SHOWN]}")
    assert error.detail.endswith(f"' should be {WANTED[name]}")
    assert error.facts == {"parameter": name}


def test_every_parameter_says_what_it_should_be() -> None:
    """In our words: none is left to those of a library."""
    assert ClassifyParameters.model_fields.keys() <= WANTED.keys()
    assert WANTED["mode"] == "best_effort or strict"


@pytest.mark.parametrize(("name", "value"), [("budget_ms", MAX_BUDGET_MS), ("top_k", MAX_TOP_K), ("min_accuracy", 1)])
def test_limits_are_inside(name: str, value: float) -> None:
    """The largest values that are taken."""
    assert getattr(checked(ClassifyParameters, {name: value}), name) == value


def test_an_unknown_parameter_is_answered_with_those_there_are() -> None:
    """A typo must not be ignored: it would change what is bought."""
    error = refusal({"buget_ms": 20})
    assert error.detail == (
        "buget_ms is not a parameter here; there are budget_ms, variant, min_accuracy, mode, policy, top_k, explain"
    )


def test_a_plan_does_not_offer_the_parameter_it_refuses() -> None:
    """How many classes to return has no meaning where nothing is classified."""
    error = refusal({"top_k": 3}, PlanParameters)
    assert error.detail == "top_k is not a parameter here; there are budget_ms, variant, min_accuracy, mode, policy"


def test_a_failure_of_the_whole_has_a_name_too() -> None:
    """Where pydantic gives no place."""
    error = invalid_parameter({"loc": (), "type": "model_type", "msg": "Input should be a dictionary"})
    assert error.detail == "parameters: input should be a dictionary"


def test_parameters_do_not_change() -> None:
    """They are shared between the edge and the answer."""
    with pytest.raises(ValidationError):
        checked(PlanParameters, {}).budget_ms = 1.0  # type: ignore[misc]


def test_an_unknown_parameter_of_a_plan_is_answered_with_those_of_plans() -> None:
    """None of them is refused next."""
    error = refusal({"foo": 3}, PlanParameters)
    assert error.detail == "foo is not a parameter here; there are budget_ms, variant, min_accuracy, mode, policy"
