"""Who takes part: a policy is one line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from service.core import baselines
from service.core.catalogue import Catalogue
from service.core.policy import Policy
from service.core.values import PolicyName

K1, SAFE = "k1", "static-cheapest"
"""What the goals are about, and what no policy may fall far below."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A policy under its name in the results."""

    name: str
    rule: str | None = None
    """In the registry of `service.core.baselines`, where it is another."""
    ours: bool = False
    """Neither tuned nor a baseline: it runs with the defaults that a server has."""
    spends: PolicyName = PolicyName.K1
    cheapest: bool = False
    """Of rules for one variant: the cheapest, whatever tuning would find."""
    common: bool = False
    """Only for traffic with one common budget, which the rule then knows."""
    labelled: bool = False
    """Only with real answers: of an average of two nothing has been published for these variants."""
    plain: Mapping[str, float] = field(default_factory=dict)
    """Parameters that are not tuned."""


CONTESTANTS = (
    Contestant(K1, ours=True),
    Contestant("k1-no-termination", ours=True),
    Contestant("k1-uninsured", ours=True),
    Contestant("p2", K1, ours=True, spends=PolicyName.P2),
    Contestant("p3", K1, ours=True, spends=PolicyName.P3, labelled=True),
    Contestant(SAFE, "static", cheapest=True),
    Contestant("static"),
    Contestant("clipper"),
    Contestant("infaas-tightest"),
    Contestant("infaas-accurate"),
    Contestant("model-switching"),
    Contestant("jellyfish"),
    Contestant("greedy"),
    Contestant("ramsis-conservative"),
    Contestant("ramsis-mdp", common=True),
    Contestant("slackfit"),
    Contestant("proteus"),
    Contestant("elastico"),
)


RIVALS = ("slackfit", "model-switching")
"""With these K1 is compared at equal attainment and at equal accuracy, too."""
SWEPT = (
    Contestant("k1, reserve 4", K1, ours=True, plain={"arrival_reserve": 4.0}),
    Contestant("k1, reserve 2", K1, ours=True, plain={"arrival_reserve": 2.0}),
    Contestant("k1, reserve 0", "k1-uninsured", ours=True, plain={"arrival_reserve": 0.0}),
    Contestant("k1, lanes twice", "k1-uninsured", ours=True, plain={"arrival_reserve": 0.0, "utilisation": 2.0}),
)
"""K1 from careful to reckless: its reserve for arrivals, then none and no insurance either, which would make up for it,
and at the end a look-ahead that counts each lane twice. They do not compete; they show what K1's accuracy is at another
attainment."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A rule with its parameters."""

    rule: str
    parameters: dict[str, float]

    @classmethod
    def of(cls, contestant: Contestant, shown: Mapping[str, float | str]) -> "Choice":
        """What `shown` says was chosen."""
        rule = contestant.rule or contestant.name
        variant = shown.get("variant")
        tuned = {name: float(value) for name, value in shown.items() if name != "variant"}
        return cls(rule if variant is None else f"{rule}:{variant}", {**contestant.plain, **tuned})

    def policy(self, catalogue: Catalogue) -> Policy:
        """A new one."""
        return baselines.create(self.rule, catalogue, **self.parameters)

    def shown(self, contestant: Contestant) -> dict[str, float | str]:
        """What was chosen, for the record."""
        if contestant.ours:
            return {}
        _, colon, variant = self.rule.partition(":")
        tuned = {name: value for name, value in self.parameters.items() if name not in contestant.plain}
        return {"variant": variant, **tuned} if colon else {**tuned}


@dataclass(frozen=True, slots=True)
class Space:
    """What tuning may choose from."""

    rules: tuple[str, ...]
    """More than one for rules of one variant."""
    grid: Mapping[str, tuple[float, ...]]
    start: dict[str, float]
    """Where it begins."""


def space(
    contestant: Contestant, catalogue: Catalogue, cheapest: str, *, scale: float, common_s: float | None
) -> Space:
    """Its space. Budgets that a rule computes with are scaled like those of the requests, and not tuned where all
    requests have the same. `cheapest`: name of that variant."""
    rule = contestant.rule or contestant.name
    if not baselines.REGISTRY[rule].of_variant:
        return _tuned(contestant, rule, scale, common_s)
    variants = [cheapest] if contestant.cheapest else [variant.name for variant in catalogue.routed()]
    return Space(tuple(f"{rule}:{variant}" for variant in variants), {}, {})


def _tuned(contestant: Contestant, rule: str, scale: float, common_s: float | None) -> Space:
    if contestant.ours:
        return Space((rule,), {}, dict(contestant.plain))
    grid = dict(_scaled(baselines.grid(rule), scale))
    start = {**contestant.plain, **{name: values[len(values) // 2] for name, values in grid.items()}}
    if contestant.common and common_s is not None and "budget_s" in grid:
        del grid["budget_s"]
        start["budget_s"] = common_s
    return Space((rule,), grid, start)


def _scaled(grid: baselines.Grid, scale: float) -> Iterator[tuple[str, tuple[float, ...]]]:
    for name, values in grid.items():
        yield name, tuple(value * scale for value in values) if name == "budget_s" else tuple(values)
