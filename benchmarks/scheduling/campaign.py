"""All cells, on several processes, and what is judged from them."""

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.scheduling.cells import MIXED, Offer
from benchmarks.scheduling.contest import CONTESTANTS, K1, SAFE, Contestant, space
from benchmarks.scheduling.course import course
from benchmarks.scheduling.goals import judged
from benchmarks.scheduling.kept import Kept
from benchmarks.scheduling.labels import Labels
from benchmarks.scheduling.measure import played_cell
from service.core.catalogue import rank
from service.simulation.study import Cell, CellResult, Facts, Series, Setting, Study

COURSES = (Cell("step", 0.4, MIXED, 2), Cell("gamma8", 0.4, MIXED, 2))
"""Shown in their course."""

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is to be played."""

    offer: Offer
    cells: Sequence[Cell]
    processes: int
    labels: Labels | None = None
    """What variants answer on real images; None: an answer is worth what is known of its variant."""
    kept: Path | None = None
    """Where finished cells are kept, so that a campaign that was stopped goes on; not of code that is not committed."""
    read: Sequence[Path] = ()
    """Files whose contents it depends on."""

    @property
    def accuracies(self) -> str:
        """What an answer is worth."""
        if self.labels is None:
            return "as published for the variants, on ImageNet-1k"
        return f"right or wrong, on {self.labels.images} labelled images of {self.labels.name}, drawn at random"


def run(campaign: Campaign, announce: Announce) -> Study:
    """Everything. `announce` is told of each cell that is done."""
    here = asdict(machine.describe())
    kept = Kept(None if machine.is_dirty(here["commit"]) else campaign.kept, _made_with(campaign, here["commit"]))
    results = _played(campaign, kept, announce)
    return Study(
        machine=here,
        setting=_setting(campaign),
        goals=judged(results),
        series=tuple(_series(cell, results, campaign.offer) for cell in COURSES if cell in campaign.cells),
        cells=tuple(results),
    )


def _made_with(campaign: Campaign, commit: str) -> str:
    """Equal for campaigns whose cells come out equal."""
    contents = hashlib.sha256()
    for path in campaign.read:
        contents.update(path.read_bytes())
    return f"{commit} {campaign.offer.source.label} {campaign.offer.effort} {contents.hexdigest()}"


def _played(campaign: Campaign, kept: Kept, announce: Announce) -> list[CellResult]:
    """In the order of `cells`."""
    done = kept.results()
    wanted = [cell for cell in campaign.cells if cell not in done]
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(campaign.processes, fork, initializer=_use, initargs=(campaign,)) as pool:
        jobs: list[Future[CellResult]] = [pool.submit(_one, cell) for cell in wanted]
        for job in as_completed(jobs):
            result = job.result()
            done[result.cell] = result
            kept.keep(result)
            announce(f"[{len(done)}/{len(campaign.cells)}] {result.cell}")
    return [done[cell] for cell in campaign.cells]


_PLAYED: list[Campaign] = []
"""In a process of the pool: what it works on. It cannot be sent with each cell; a fork inherits it."""


def _use(campaign: Campaign) -> None:
    _PLAYED[:] = [campaign]


def _one(cell: Cell) -> CellResult:
    return played_cell(cell, _PLAYED[0].offer, _PLAYED[0].labels)


def _series(cell: Cell, results: Sequence[CellResult], offer: Offer) -> Series:
    """K1 beside the cheapest variant alone and the baseline that did best."""
    result = next(result for result in results if result.cell == cell)
    return course(result, [K1, SAFE, *({result.best_baseline().policy} - {SAFE})], offer)


def _setting(campaign: Campaign) -> Setting:
    offer = campaign.offer
    world = offer.training(campaign.cells[0])
    return Setting(
        times=offer.source.label,
        accuracies=campaign.accuracies,
        variants=tuple(Facts(v.name, rank(v), round(world.service_s(v) * 1e3, 2)) for v in world.variants),
        reference_ms=round(offer.reference_s * 1e3, 2),
        budgets_ms={name: offer.shown(name) for name in dict.fromkeys(cell.budgets for cell in campaign.cells)},
        seeds=offer.effort.seeds,
        requests=offer.effort.requests,
        training_requests=offer.effort.training_requests,
        grids={one.name: grid for one in CONTESTANTS if (grid := _grid(one, offer, world.variants[0].name))},
    )


def _grid(contestant: Contestant, offer: Offer, cheapest: str) -> dict[str, list[float | str]]:
    """As it is tuned; the budgets of `ramsis-mdp` are those of the requests and not listed."""
    wanted = space(contestant, offer.catalogue, cheapest, scale=offer.scale, common_s=1.0)
    grid: dict[str, list[float | str]] = {name: [round(v, 4) for v in values] for name, values in wanted.grid.items()}
    return {"variant": [rule.partition(":")[2] for rule in wanted.rules]} if len(wanted.rules) > 1 else grid
