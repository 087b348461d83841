"""How fast the arms train: a few steps of each kind in turn, several rounds, on images that lie ready in memory.

Reading and augmenting images is left out: it costs the same for all arms and runs on other cores where there are any.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.g16.study import Arm, Step, Throughput, arms
from benchmarks.g16.training import Plan
from benchmarks.stats import Spread
from model_store.training.learner import Learner
from model_store.training.recipe import Recipe

Kind = tuple[str, str, int]
"""Network, phase and size in pixels: what the time of a step depends on."""
ENDLESS = 1_000_000
"""Steps of an epoch: none ends here."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is timed."""

    rounds: int
    steps: int
    """Of each kind in a round."""


def time_steps(plan: Plan, recipe: Recipe, classes: int, device: str, effort: Effort) -> dict[Kind, list[float]]:
    """Images per second of each kind of step, one figure a round. Every second round goes backwards."""
    torch.set_num_threads(plan.threads)
    timed = [_Timed(plan, kind, recipe, classes, device) for kind in kinds(plan)]
    for one in timed:
        one.images_per_s(1)  # the first step allocates what later ones reuse
    rates: dict[Kind, list[float]] = {one.kind: [] for one in timed}
    for number in range(effort.rounds):
        for one in timed if number % 2 == 0 else reversed(timed):
            rates[one.kind].append(one.images_per_s(effort.steps))
    return rates


def kinds(plan: Plan) -> list[Kind]:
    """Each network's training at either size, and its fine-tuning."""
    kinds_of_one = (("train", plan.size_px), ("train", plan.reduced_px), ("fine-tune", plan.size_px))
    return [(network, phase, size_px) for network in plan.networks for phase, size_px in kinds_of_one]


class _Timed:
    """One kind of step."""

    def __init__(self, plan: Plan, kind: Kind, recipe: Recipe, classes: int, device: str) -> None:
        network, phase, size_px = self.kind = kind
        spec = next(spec for spec in plan.specs if spec.name == network)
        # One epoch of each phase, so that all steps from `ENDLESS` on fine-tune.
        settled = recipe.model_copy(update={"epochs": 1, "fine_tune_epochs": 1, "train_size_px": size_px})
        self._learner = Learner(spec, settled, classes=classes, steps_per_epoch=ENDLESS, device=device)
        self._next = 0 if phase == "train" else ENDLESS
        random = torch.Generator().manual_seed(0)
        shape = (recipe.batch_size, 3, size_px, size_px)
        self._images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
        self._labels = torch.randint(0, classes, (recipe.batch_size,), generator=random)

    def images_per_s(self, steps: int) -> float:
        """Of so many steps. Reading the loss waits for a GPU."""
        started_s = time.perf_counter()
        for _ in range(steps):
            loss = float(self._learner.learn(self._images, self._labels, self._next))
            self._next += 1
        if not loss < float("inf"):
            raise ValueError(f"the loss of {self.kind} is {loss}")
        return steps * len(self._labels) / (time.perf_counter() - started_s)


def steps_of(rates: Mapping[Kind, Sequence[float]]) -> tuple[Step, ...]:
    """As the file has them."""
    return tuple(
        Step(network, "train" if phase == "train" else "fine-tune", size_px, Spread.of(found))
        for (network, phase, size_px), found in rates.items()
    )


def whole_runs(plan: Plan, rates: Mapping[Kind, Sequence[float]]) -> tuple[Throughput, ...]:
    """Of each arm, by its share of either kind of epoch."""
    runs = {arm: _whole_run(plan, arm, rates) for arm in arms(plan.networks)}
    first = next(iter(runs.values()))
    return tuple(
        Throughput(arm, Spread.of(run), Spread.of([ours / theirs for ours, theirs in zip(run, first, strict=True)]))
        for arm, run in runs.items()
    )


def _whole_run(plan: Plan, arm: Arm, rates: Mapping[Kind, Sequence[float]]) -> list[float]:
    training = rates[arm.network, "train", plan.train_size_px(arm.regime)]
    fine_tuning = rates[arm.network, "fine-tune", plan.size_px]
    return [
        harmonic((plan.epochs, train), (plan.fine_tune_epochs, tune))
        for train, tune in zip(training, fine_tuning, strict=True)
    ]


def harmonic(*parts: tuple[int, float]) -> float:
    """The rate of a whole whose parts are (amount, rate)."""
    return sum(amount for amount, _ in parts) / sum(amount / rate for amount, rate in parts)
