"""What counts as met, the arithmetic of both sides, and the verdicts."""

import math
from dataclasses import asdict, replace

import pytest

from benchmarks.clients import Reply
from benchmarks.realtime import plan
from benchmarks.realtime.compare import Fate, Figures, close, compare, mean_of, real
from benchmarks.realtime.loader import Sent
from benchmarks.realtime.plan import Run
from service.core.values import PolicyName

RANKS = {"b0": 0.77, "b4": 0.83}
REPLY = Reply("b0", 0.1, 0.0, 4.0, 16.0, 0.0, 0.3, 20.4, met=True, terminated=False, client_ms=22.0)


def sent(latency_s: float = 0.022, *, variant: str = "b0", budget_s: float = 0.05, met: bool = True) -> Sent:
    """Answered."""
    return Sent(0.0, budget_s, 0.0, latency_s, replace(REPLY, variant=variant, met=met))


REFUSED = Sent(0.0, 0.05, 0.0, 0.001, None, "HTTP 503")
LOST = Sent(0.0, 0.05, 0.0, 60.0, None, "lost: reset")


def test_met_is_the_clients_view() -> None:
    """Up to its budget from the scheduled moment on, whatever the server says; that stands beside."""
    assert real(sent(0.05)).met
    late = real(sent(0.051))
    assert (late.met, late.met_for_server) == (False, True)
    assert not real(sent(0.04, met=False)).met_for_server


@pytest.mark.parametrize("one", [REFUSED, LOST])
def test_without_an_answer_nothing_is_met(one: Sent) -> None:
    """However soon that was known."""
    fate = real(one)
    assert (fate.met, fate.met_for_server, fate.variant, fate.latency_s) == (False, False, None, math.inf)


def test_figures_count_every_request() -> None:
    """Accuracy is of those met alone; the mix is of the answers."""
    figures = Figures.of([real(one) for one in (sent(), sent(variant="b4"), sent(0.06, variant="b4"), REFUSED)], RANKS)
    assert figures.attainment == 0.5
    assert figures.accuracy == pytest.approx(0.80)
    assert figures.attainment_for_server == 0.75
    assert figures.unanswered == 0.25
    assert figures.variants == pytest.approx({"b0": 1 / 3, "b4": 2 / 3})


def test_where_nothing_is_met_there_is_no_accuracy() -> None:
    """It is 0, and nothing answered."""
    figures = Figures.of([real(REFUSED)], RANKS)
    assert (figures.accuracy, figures.variants) == (0.0, {})


def test_replays_are_averaged() -> None:
    """Figure by figure."""
    one = Figures(0.9, 0.80, 0.95, 0.0, 0.1, {"b0": 1.0, "b4": 0.0})
    other = Figures(0.8, 0.70, 0.85, 0.2, 0.3, {"b0": 0.5, "b4": 0.5})
    found = asdict(mean_of([one, other]))
    assert found.pop("variants") == {"b0": 0.75, "b4": 0.25}
    assert list(found.values()) == pytest.approx([0.85, 0.75, 0.90, 0.1, 0.2])


@pytest.mark.parametrize(
    ("attainment", "accuracy", "agrees"),
    [
        (0.005, 0.002, True),
        (-0.005, -0.002, True),
        (0.0051, 0.0, False),
        (-0.0051, 0.0, False),
        (0.0, 0.0021, False),
        (0.0, -0.0021, False),
        (0.98 - 0.975, 0.79 - 0.788, True),
    ],
)
def test_half_a_point_and_a_fifth_of_a_point(attainment: float, accuracy: float, agrees: bool) -> None:
    """On either side, limits included however they were computed."""
    assert close(attainment, accuracy) is agrees


def fates(met: int, of: int = 1000) -> list[Fate]:
    """A replay."""
    latency_s = [0.02] * met + [0.06] * (of - met)
    return [Fate(0.05, "b0", one_s, met_for_server=True, terminated=False) for one_s in latency_s]


def sides(met: int, of: int = 1000) -> list[Sent]:
    """The same, measured."""
    return [sent(0.02)] * met + [sent(0.06)] * (of - met)


def test_differences_are_real_less_simulated() -> None:
    """Of the mean over the replays, whose range shows what chance does."""
    found = compare("k1-poisson", sides(990), [fates(980), fates(990)], RANKS, lag_p99_s=0.001)
    assert found.attainment_apart == pytest.approx(0.005)
    assert found.attainment_range == (0.98, 0.99)
    assert (found.accuracy_apart, found.for_server_apart, found.requests) == (0.0, 0.0, 1000)
    assert found.valid
    assert found.accepted


def test_too_far_apart_is_not_accepted() -> None:
    """Though the run is valid."""
    found = compare("k1-poisson", sides(996), [fates(990)], RANKS, lag_p99_s=0.001)
    assert (found.valid, found.accepted) == (True, False)


def test_a_loader_that_lags_makes_a_run_invalid() -> None:
    """By a twentieth of the smallest budget; nothing follows from such a run."""
    measured = [*sides(990), sent(0.02, budget_s=0.8)]
    replay = [*fates(990), Fate(0.8, "b0", 0.02, met_for_server=True, terminated=False)]
    assert compare("run", measured, [replay], RANKS, lag_p99_s=0.0025).accepted
    found = compare("run", measured, [replay], RANKS, lag_p99_s=0.0026)
    assert (found.valid, found.accepted) == (False, False)


def test_a_lost_request_makes_a_run_invalid() -> None:
    """A refused one is a result."""
    assert compare("run", [*sides(999), REFUSED], [fates(999)], RANKS, lag_p99_s=0.0).accepted
    found = compare("run", [*sides(999), LOST], [fates(999)], RANKS, lag_p99_s=0.0)
    assert (found.lost, found.valid, found.accepted) == (1, False, False)


def test_both_sides_are_asked_the_same() -> None:
    """A policy, or one variant by name."""
    insured, static = plan.parsed("p2:gamma4, b0:poisson")
    assert (str(insured), insured.given, insured.question.policy) == ("p2-gamma4", {"policy": "p2"}, PolicyName.P2)
    assert (str(static), static.given, static.question.variant) == ("b0-poisson", {"variant": "b0"}, "b0")
    assert insured.question.variant is None
    assert static.question.policy is PolicyName.K1


@pytest.mark.parametrize("text", ["", "k1", "k1:poisson,b0", "k1:zipf"])
def test_runs_that_are_none_are_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(ValueError, match="POLICY:TRACE"):
        plan.parsed(text)


def test_a_run_is_a_value() -> None:
    """The default ones are three."""
    assert plan.Setting().runs == (Run("k1", "poisson"), Run("k1", "gamma4"), Run("b0", "poisson"))
