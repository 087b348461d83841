"""Published rules behind the protocol of the default policy, to compare with: by name, with numbers to tune.

`static` and `clipper` serve one variant, which is part of their name: `static:b0`. The other names stand alone.
Each parameter is documented, with its default, where its rule is; `grid` lists the values worth trying on a training
segment before rules are compared on another. Instances that measure or remember belong to one scheduler and one run.

Sources and reductions are in the modules: `static`, `slack`, `load`, `infaas`, `proteus`, `elastico`, `ramsis`; what
all share is in `base`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from types import MappingProxyType

from service.core.baselines.elastico import Elastico
from service.core.baselines.infaas import InfaasAccurate, InfaasTightest
from service.core.baselines.load import Conservative, Jellyfish, ModelSwitching
from service.core.baselines.proteus import Proteus
from service.core.baselines.ramsis import RamsisMdp
from service.core.baselines.slack import Greedy, SlackFit
from service.core.baselines.static import Clipper, Static, only
from service.core.catalogue import Catalogue
from service.core.policy import BudgetPolicy, Policy
from service.core.values import PolicyName

Grid = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule: how to make it, and the values of its parameters that are worth trying."""

    build: Callable[..., BudgetPolicy]
    grid: Grid = field(default_factory=dict)
    of_variant: bool = False
    """Whether a variant is part of the name."""
    spends: PolicyName = PolicyName.K1
    """What requests ask for when the rule is compared with others."""


_LOOK_AHEAD: Grid = {"utilisation": (0.9, 0.97), "arrival_reserve": (0.5, 0.75, 1.0)}
_WINDOW_S = (0.25, 0.5, 1.0, 2.0)
_BUDGET_S = (0.05, 0.1, 0.15, 0.2, 0.4, 0.8)

REGISTRY: Mapping[str, Entry] = MappingProxyType(
    {
        "k1": Entry(BudgetPolicy, _LOOK_AHEAD),
        "k1-no-termination": Entry(partial(BudgetPolicy, terminates=False), _LOOK_AHEAD),
        "k1-uninsured": Entry(partial(BudgetPolicy, insures=False), _LOOK_AHEAD),
        "p2": Entry(BudgetPolicy, _LOOK_AHEAD, spends=PolicyName.P2),
        "p3": Entry(BudgetPolicy, _LOOK_AHEAD, spends=PolicyName.P3),
        "static": Entry(Static, of_variant=True),
        "clipper": Entry(Clipper, of_variant=True),
        "infaas-tightest": Entry(
            InfaasTightest, {"busy": (0.8, 0.95), "calm": (0.2, 0.4, 0.6), "period_s": (1.0, 5.0)}
        ),
        "infaas-accurate": Entry(
            InfaasAccurate, {"busy": (0.8, 0.95), "calm": (0.2, 0.4, 0.6), "period_s": (1.0, 5.0)}
        ),
        "model-switching": Entry(ModelSwitching, {"budget_s": _BUDGET_S, "window_s": _WINDOW_S}),
        "jellyfish": Entry(
            Jellyfish, {"headroom": (1.05, 1.25, 1.5), "share": (0.25, 0.5, 0.75), "period_s": _WINDOW_S}
        ),
        "greedy": Entry(Greedy),
        "ramsis-conservative": Entry(Conservative, {"share": (0.25, 0.5, 0.75), "window_s": _WINDOW_S}),
        "ramsis-mdp": Entry(RamsisMdp, {"budget_s": _BUDGET_S, "window_s": _WINDOW_S}),
        "slackfit": Entry(SlackFit, {"buckets": (8, 16, 32)}),
        "proteus": Entry(Proteus, {"interval_s": (1.0, 10.0), "headroom": (1.05, 1.25, 1.5)}),
        "elastico": Entry(Elastico, {"budget_s": _BUDGET_S, "hold_s": (0.1, 0.25, 0.5, 1.0, 2.0)}),
    }
)
NAMES = tuple(REGISTRY)
"""Every rule."""
LEAST: Mapping[str, float] = MappingProxyType(
    {
        "buckets": 1.0,
        "steps": 1.0,
        "most_waiting": 1.0,
        "period_s": 0.001,
        "interval_s": 0.001,
        "window_s": 0.001,
        "budget_s": 0.001,
    }
)
"""The smallest value of parameters that are counts or are divided by; of all others it is 0."""
COUNTS = frozenset({"buckets", "steps", "most_waiting"})
"""Parameters that are whole numbers."""


def names(catalogue: Catalogue) -> tuple[str, ...]:
    """What `create` takes for this catalogue: rules of one variant once for each that a budget may choose."""
    variants = [variant.name for variant in catalogue.routed()]
    return tuple(
        full
        for name, entry in REGISTRY.items()
        for full in ([f"{name}:{variant}" for variant in variants] if entry.of_variant else [name])
    )


def spends(name: str) -> PolicyName:
    """How requests of a comparison want their budgets spent. Raises `ValueError` for an unknown name."""
    return _entry(name)[0].spends


def grid(name: str) -> Grid:
    """Values worth trying, by parameter; each has the default among them. Raises `ValueError` for an unknown name."""
    return _entry(name)[0].grid


def create(name: str, catalogue: Catalogue, /, **parameters: float) -> Policy:
    """A new policy over `catalogue`.

    `parameters` are those of its class, by name; 0 and 1 stand for no and yes. Raises `ValueError` for an unknown name
    and for a value out of its range, `TypeError` for an unknown parameter and `EffserveError(UNKNOWN_VARIANT)` for a
    variant that is not served.
    """
    build, defaults = _builder(name, catalogue)
    for parameter, value in parameters.items():
        if parameter not in defaults:
            raise TypeError(f"no parameter {parameter!r}; there are {', '.join(defaults)}")
        _check(parameter, value, switch=isinstance(defaults[parameter], bool))
    return build(**parameters)


def parameters(name: str, catalogue: Catalogue) -> tuple[str, ...]:
    """The parameters that `create` takes for this name. Raises as it does."""
    return tuple(_builder(name, catalogue)[1])


def _builder(name: str, catalogue: Catalogue) -> tuple[Callable[..., Policy], dict[str, float]]:
    """What makes the policy, and its parameters with their defaults."""
    entry, variant = _entry(name)
    build = partial(entry.build, only(catalogue, variant) if entry.of_variant else catalogue)
    usual = build()
    found = [one.name for one in fields(usual) if one.init and one.name != "catalogue"]
    return build, {parameter: getattr(usual, parameter) for parameter in found}


def _check(parameter: str, value: float, *, switch: bool) -> None:
    """Raises `ValueError`."""
    least = LEAST.get(parameter, 0.0)
    if switch and value not in (0, 1):
        raise ValueError(f"{parameter} is 0 for no or 1 for yes, not {value:g}")
    if not least <= value < math.inf:
        raise ValueError(f"{parameter} is a number from {least:g} on, not {value:g}")
    if parameter in COUNTS and not float(value).is_integer():
        raise ValueError(f"{parameter} is a whole number, not {value:g}")


def _entry(name: str) -> tuple[Entry, str]:
    """A rule and the variant in its name."""
    rule, _, variant = name.partition(":")
    entry = REGISTRY.get(rule)
    if entry is None or entry.of_variant != bool(variant):
        known = ", ".join(f"{name}:VARIANT" if entry.of_variant else name for name, entry in REGISTRY.items())
        raise ValueError(f"no policy {name!r}; there are {known}")
    return entry, variant
