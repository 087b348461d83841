"""The variants a policy may choose from: which are routed, which are dominated, which a request is left with."""

from dataclasses import dataclass, field

from service.core.derived import Standing, withheld
from service.core.errors import EffserveError, ErrorKind
from service.core.state import Costs
from service.core.values import Absent, Job, Variant, Verdict

WANTED = "variant"
"""Among the facts of a failure: the variant that is needed and not in memory."""
MOST_FRONTS = 8
"""Pareto sets that are kept: as many as there are numbers of busy lanes that matter, on most machines."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is served. Order does not matter."""

    variants: tuple[Variant, ...]
    route_untrained: bool = False
    """Whether seeded weights may be chosen by budget (capacity planning)."""
    absent: tuple[Absent, ...] = ()
    """What is known beside that, and not in memory: nothing is chosen of it."""
    _fronts: "list[tuple[Costs, int, tuple[Variant, ...]]]" = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    """The last Pareto sets, each with what it follows from. Several decisions are taken between two runs that teach."""

    def routed(self) -> tuple[Variant, ...]:
        """Variants that a budget may choose, whatever they cost."""
        return tuple(filter(self._routable, self.variants))

    def known(self) -> tuple[Variant, ...]:
        """Whatever is in memory, and what is not."""
        return self.variants + tuple(one.variant for one in self.absent)

    def withheld(self, variant: Variant, costs: Costs) -> Verdict | None:
        """Why no budget may choose a variant, whatever else is served beside it and what it was made from."""
        if variant.rank_top1 is None:
            return Verdict.UNKNOWN_ACCURACY
        if not variant.trained and not self.route_untrained:
            return Verdict.UNTRAINED
        original = next((one for one in self.routed() if one.name == variant.original), None)
        return None if original is None else withheld(_standing(variant, costs), _standing(original, costs))

    def dominator(self, variant: Variant, costs: Costs) -> Variant | None:
        """Of the Pareto set, the quickest that is at least as accurate as a routed variant; None for its members."""
        front = self.front(costs)
        if variant in front:
            return None
        return next((other for other in reversed(front) if rank(other) >= rank(variant)), None)

    def front(self, costs: Costs) -> tuple[Variant, ...]:
        """The Pareto set of the routed variants by expected time and accuracy, most accurate first.

        Every variant decodes the same image, so the set does not depend on which one.
        """
        for known, changes, front in self._fronts:
            if known is costs and changes == costs.changes:
                return front
        front = self._front(costs)
        others = [one for one in self._fronts if one[0] is not costs]
        self._fronts[:] = [(costs, costs.changes, front), *others[: MOST_FRONTS - 1]]
        return front

    def _front(self, costs: Costs) -> tuple[Variant, ...]:
        best: list[Variant] = []
        for variant in sorted(self._candidates(costs), key=lambda v: (costs.expected_s(v.name, 0.0), -rank(v), v.name)):
            if not best or rank(variant) > rank(best[-1]):
                best.append(variant)
        return tuple(reversed(best))

    def _routable(self, variant: Variant) -> bool:
        return variant.rank_top1 is not None and (variant.trained or self.route_untrained)

    def _candidates(self, costs: Costs) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.routed() if self.withheld(variant, costs) is None)

    def named(self, name: str) -> Variant:
        """The served variant of that name. Raises `EffserveError(UNKNOWN_VARIANT | NOT_RESIDENT | MEMORY_LIMIT)`."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        for absent in self.absent:
            if absent.variant.name == name:
                raise not_resident(absent)
        known = ", ".join(sorted(v.name for v in self.variants))
        raise EffserveError(ErrorKind.UNKNOWN_VARIANT, f"no variant {name!r} is served; there are {known}")

    def cheapest_at(self, top1: float, costs: Costs) -> Variant:
        """The cheapest routed variant whose accuracy is at least `top1`.

        Raises `EffserveError(ACCURACY_UNAVAILABLE)`, or what `named` raises where one that is not in memory would do.
        """
        enough = [v for v in self._candidates(costs) if rank(v) >= top1]
        if enough:
            return min(enough, key=lambda v: (costs.expected_s(v.name, 0.0), -rank(v), v.name))
        others = [one for one in self.absent if self._routable(one.variant) and rank(one.variant) >= top1]
        if others:
            raise not_resident(
                min(others, key=lambda one: (one.load_s is None, costs.expected_s(one.variant.name, 0.0)))
            )
        best = max((rank(v) for v in self._candidates(costs)), default=None)
        known = "no variant has a known accuracy" if best is None else f"the best has {best:.4f}"
        facts: dict[str, float | int | str] = {} if best is None else {"best_accuracy": best}
        raise EffserveError(ErrorKind.ACCURACY_UNAVAILABLE, f"no variant reaches {top1:.4f}: {known}", facts)

    def eligible(self, job: Job, front: tuple[Variant, ...], costs: Costs) -> tuple[Variant, ...]:
        """What a job leaves to choose from, most accurate first. Never empty: raises instead.

        Once a run of it was terminated, the cheapest: a second run may not be terminated, so it must block nobody.
        """
        question = job.question
        if question.variant is not None:
            return (job.named or self.named(question.variant),)
        if question.min_top1 is not None:
            return (self.cheapest_at(question.min_top1, costs),)
        if not front:
            raise EffserveError(ErrorKind.ACCURACY_UNAVAILABLE, "no variant can be chosen by budget; name one")
        return front if job.terminated is None else front[-1:]


def not_resident(absent: Absent) -> EffserveError:
    """What a request is told that needs a variant which is not in memory."""
    name = absent.variant.name
    facts: dict[str, float | int | str] = {WANTED: name}
    if absent.load_s is None:
        return EffserveError(ErrorKind.MEMORY_LIMIT, f"{name} does not fit into `store.memory_limit_mib`", facts)
    detail = f"{name} is not in memory, where others are worth more; loading it takes {absent.load_s:.1f} s"
    return EffserveError(ErrorKind.NOT_RESIDENT, detail, facts, retry_after_s=absent.load_s)


def wanted(error: EffserveError) -> str | None:
    """The variant that has to be loaded before such a request can be answered."""
    return str(error.facts[WANTED]) if error.kind is ErrorKind.NOT_RESIDENT and WANTED in error.facts else None


def rank(variant: Variant) -> float:
    """Accuracy to rank by. Only asked of routed variants, which have one."""
    if variant.rank_top1 is None:
        raise ValueError(f"{variant.name} has no accuracy to rank by")
    return variant.rank_top1


def _standing(variant: Variant, costs: Costs) -> Standing:
    return Standing(rank(variant), costs.expected_s(variant.name, 0.0))
