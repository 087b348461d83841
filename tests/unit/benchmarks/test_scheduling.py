"""The scheduling benchmark: requests, intervals, one cell from tuning to result, and going on after a stop."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmarks import machine
from benchmarks.scheduling import campaign, page
from benchmarks.scheduling.cells import FULL, MIXED, Effort, Offer, chosen, few
from benchmarks.scheduling.kept import Kept
from benchmarks.scheduling.labels import Drawn, Labels
from benchmarks.scheduling.measure import estimate
from service.core.simulator import Outcome
from service.core.values import Deadline, Decision, Job, Question, Reason, Variant
from service.simulation import times, traces, variants
from service.simulation.study import Cell
from tests.unit.simulation.study import cell

SOURCE = times.published("proteus")
TINY = Effort(80, 40, (1, 2), least=False)
OFFER = Offer(variants.published(SOURCE.calibration.inference_s), SOURCE, {}, TINY)
POISSON = Cell("poisson", 0.4, MIXED, 2)


def test_what_is_tuned_on_does_not_count() -> None:
    """Other requests, of the same kind."""
    training, judged = OFFER.training(POISSON), OFFER.judged(POISSON)
    assert len(judged) == 2
    # A trace is stretched to its load, so that not gaps but their proportions are drawn.
    proportions = [np.diff(world.arrivals_s)[1:] / np.diff(world.arrivals_s)[0] for world in (training, *judged)]
    for one, other in combinations(proportions, 2):
        assert not np.allclose(one[:20], other[:20])
    assert all(abs(world.load - 0.4) < 0.05 for world in (training, *judged))


def test_a_recorded_trace_is_cut_into_parts() -> None:
    """Its beginning for tuning, then one part for each seed."""
    recorded = traces.Recorded("mine", np.cumsum(np.arange(1.0, 91.0)))
    offer = replace(OFFER, recorded={"mine": recorded})
    where = Cell("mine", 0.4, MIXED, 2)
    gaps = [np.diff(world.arrivals_s) for world in (offer.training(where), *offer.judged(where))]
    assert [len(one) for one in gaps] == [29, 29, 29]
    assert gaps[0][-1] / gaps[0][0] > gaps[1][-1] / gaps[1][0] > gaps[2][-1] / gaps[2][0]


def test_the_same_seed_offers_the_same() -> None:
    """Otherwise nothing could be compared or repeated."""
    assert np.array_equal(OFFER.judged(POISSON)[1].budgets_s, OFFER.judged(POISSON)[1].budgets_s)


@pytest.mark.parametrize(("budgets", "factor"), [("1.5x", 1.5), ("3x", 3.0), ("6x", 6.0)])
def test_common_budgets_are_multiples_of_the_cheapest_tail(budgets: str, factor: float) -> None:
    """One for all."""
    assert [budget for budget, _ in OFFER.budgets(budgets)] == [factor * OFFER.reference_s]


def test_a_step_trace_is_long_enough_to_show_its_steps() -> None:
    """Whatever the number of requests."""
    world = replace(OFFER, effort=replace(FULL, requests=100, seeds=(1,))).judged(Cell("step", 0.2, MIXED, 2))[0]
    assert world.arrivals_s[-1] > 45


def test_no_cell_is_played_twice() -> None:
    """A recorded trace adds cells."""
    assert len(set(chosen())) == len(chosen()) < len(chosen(["mine"]))
    assert set(few()) <= set(chosen())


def test_an_interval_is_of_means_over_blocks() -> None:
    """Constant series have none; independent ones one of the usual width."""
    assert estimate([np.full(100, 0.5)]) == estimate([np.full(100, 0.5), np.full(100, 0.5)])
    coins = estimate([np.random.default_rng(seed).integers(2, size=10_000).astype(float) for seed in range(3)])
    assert coins.low < 0.5 < coins.high
    assert 0.5 < (coins.high - coins.low) / (2 * 1.96 * 0.5 / 30_000**0.5) < 2


COMMON = Cell("poisson", 0.4, "3x", 2)


def _campaign(tmp_path: Path) -> campaign.Campaign:
    """All contestants in one cell, on two processes; two variants, since decision processes of five take seconds."""
    offer = replace(OFFER, catalogue=variants.published(["b0", "b7"]), effort=Effort(40, 20, (1, 2), least=False))
    recording = tmp_path / "recording"
    recording.write_text("one")
    return campaign.Campaign(offer, [COMMON], 2, kept=tmp_path / "cells", read=[recording])


def test_a_campaign_tunes_plays_judges_and_shows(tmp_path: Path) -> None:
    """From the first cell to the tables."""
    told: list[str] = []
    made = campaign.run(_campaign(tmp_path), told.append)
    (result,) = made.cells
    assert told == ["[1/1] poisson, load 0.4, 3x, 2 lanes"]
    assert {one.policy for one in result.policies} >= {"k1", "p2", "static-cheapest", "slackfit", "ramsis-mdp"}
    assert result.requests == 72
    assert [table.title for table in page.tables(made)][:2] == ["Goals", "Cells that miss a goal"]


def test_a_campaign_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same code and the same recordings."""
    monkeypatch.setattr(machine, "is_dirty", lambda _: False)
    plan, told = _campaign(tmp_path), list[str]()
    first = campaign.run(plan, told.append)
    assert campaign.run(plan, told.append).cells == first.cells
    assert len(told) == 1
    (tmp_path / "recording").write_text("another")
    campaign.run(plan, told.append)
    assert len(told) == 2


def test_cells_of_code_that_is_not_committed_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could tell two such codes apart."""
    monkeypatch.setattr(machine, "is_dirty", lambda _: True)
    campaign.run(_campaign(tmp_path), lambda _: None)
    assert not (tmp_path / "cells").exists()


def test_cells_made_with_something_else_are_forgotten(tmp_path: Path) -> None:
    """Another commit, other times or another effort begin anew."""
    path = tmp_path / "cells"
    first = Kept(path, "one")
    assert first.results() == {}
    first.keep(cell())
    assert Kept(path, "one").results() == {cell().cell: cell()}
    assert Kept(path, "two").results() == {}


def _labels() -> Labels:
    """Two images; the first is the harder one."""
    right = {"b0": np.array([True, False]), "b1": np.array([True, True])}
    together = {("b0", "b1"): np.array([False, True]), ("b1", "b0"): np.array([False, True])}
    return Labels("made up", right, {name: np.array([0.3, 0.9]) for name in right}, together)


def test_an_answer_is_worth_what_its_variant_says_about_the_drawn_image() -> None:
    """The same images for all policies, drawn by the seed."""
    world = OFFER.judged(POISSON)[0]
    (_, one), (_, other) = _labels().drawn(world, 1), _labels().drawn(world, 1)
    assert np.array_equal(one.images, other.images)
    assert set(one.images.tolist()) == {0, 1}
    b0, b1 = world.variants[:2]
    for variant, image, worth in ((b0, 0, 1.0), (b0, 1, 0.0), (b1, 1, 1.0)):
        assert one(_answered(one, variant, image, Reason.MOST_ACCURATE_THAT_FITS)) == worth


def test_an_averaged_answer_is_worth_what_both_say() -> None:
    """Which may be right where neither is, or wrong where both are."""
    world, drawn = _labels().drawn(OFFER.judged(POISSON)[0], 1)
    assert [drawn(_answered(drawn, world.variants[1], image, Reason.CASCADES)) for image in (0, 1)] == [0.0, 1.0]


def test_requests_are_as_sure_of_their_first_answer_as_their_image() -> None:
    """By rank: the surest image is surest for all its requests."""
    world, drawn = _labels().drawn(OFFER.judged(POISSON)[0], 1)
    assert np.array_equal(world.confidences, drawn.images / 2)


def _answered(drawn: Drawn, variant: Variant, image: int, reason: Reason) -> Outcome:
    """Of a request for that image."""
    number = int(np.flatnonzero(drawn.images == image)[0])
    decision = Decision(variant, reason, 0.0, 1.0, 0.1, 0.1, fits=True)
    return Outcome(Job(number, Question(Deadline(0.0, 1.0)), 0.0, "JPEG"), decision, 0.5)
