"""Tuning: the best of a grid, and no simulation where there is nothing to choose."""

from benchmarks.scheduling.contest import CONTESTANTS, Choice, Contestant, Space, space
from benchmarks.scheduling.tuning import tuned
from service.simulation import times, variants

PROTEUS = variants.published(times.published("proteus").calibration.inference_s)
GRID = {"x": (1.0, 2.0, 3.0), "y": (1.0, 2.0, 3.0)}


def test_it_finds_the_best_values_of_parameters_that_do_not_depend_on_each_other() -> None:
    """From anywhere."""

    def worth(choice: Choice) -> float:
        return -abs(choice.parameters["x"] - 3) - abs(choice.parameters["y"] - 1)

    rule = "proteus"
    found = tuned(Space((rule,), GRID, {"x": 1.0, "y": 3.0}), worth)
    assert found == Choice(rule, {"x": 3.0, "y": 1.0})


def test_of_rules_for_one_variant_the_best_variant_is_taken() -> None:
    """A variant is a parameter like others."""
    found = tuned(Space(("static:b0", "static:b1"), {}, {}), lambda choice: float(choice.rule == "static:b1"))
    assert found.rule == "static:b1"


def test_without_a_choice_nothing_is_played() -> None:
    """Training costs time."""

    def never(choice: Choice) -> float:
        raise AssertionError(choice)

    assert tuned(Space(("greedy",), {}, {}), never) == Choice("greedy", {})


def test_the_same_candidate_is_played_once() -> None:
    """Also when another round comes by it."""
    seen: list[str] = []

    def worth(choice: Choice) -> float:
        seen.append(str(choice))
        return choice.parameters["x"] + choice.parameters["y"]

    tuned(Space(("proteus",), GRID, {"x": 1.0, "y": 1.0}), worth)
    assert len(seen) == len(set(seen))


def test_ours_are_not_tuned() -> None:
    """They run with the defaults of the server."""
    for contestant in CONTESTANTS:
        wanted = space(contestant, PROTEUS, "b0", scale=1.0, common_s=0.1)
        assert bool(wanted.grid or len(wanted.rules) > 1) <= (not contestant.ours)


def test_a_common_budget_is_given_and_others_are_scaled() -> None:
    """A rule that computes with one budget for all knows it where there is one."""
    common = space(Contestant("ramsis-mdp", common=True), PROTEUS, "b0", scale=0.5, common_s=0.123)
    scaled = space(Contestant("elastico"), PROTEUS, "b0", scale=0.5, common_s=None)
    assert (common.start["budget_s"], "budget_s" in common.grid) == (0.123, False)
    assert scaled.grid["budget_s"][0] == 0.025
    assert scaled.grid["hold_s"][0] == 0.1


def test_what_is_shown_of_a_choice_makes_it_again() -> None:
    """The record is enough to repeat a run."""
    static, elastico = Contestant("static"), Contestant("elastico")
    for contestant, choice in ((static, Choice("static:b1", {})), (elastico, Choice("elastico", {"hold_s": 1.0}))):
        assert Choice.of(contestant, choice.shown(contestant)) == choice
