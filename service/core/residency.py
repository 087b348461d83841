"""Which variants are kept in memory where not all of them may be.

A set of variants is as useful as what recent requests would have got from it. A request with a budget that would have
bought one variant gets the most accurate one in the set that costs no more, and counts with that accuracy. A request
that names a variant counts with 1 where that is in the set, and with nothing where it is not. Before anybody has asked,
each variant of the Pareto front is taken to have been bought once.

The rule is exact: no other set within the limit is more useful. So more memory never gives a less useful set, and what
is chosen does not depend on the order of anything. The cheapest variant that a budget may choose is always there, for
it answers whoever has little time. What is left of the limit goes to variants that nobody has asked for.
[ADR 20](../../docs/decisions/0020-memory-limit.md)
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

MARGIN = 0.002
"""Of accuracy: what a change has to bring the mean request. Loading takes the cores' time, and demand wavers."""
PRIOR = 1.0
"""Requests that are taken to have bought each variant of the front, before and beside those that have."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A variant that may be in memory."""

    name: str
    weights_bytes: int
    """What it takes for itself."""
    runs_bytes: int
    """What its runs take at a time. All variants run in the same memory, so only the largest counts."""
    cost: float
    """Of a run. The unit does not matter."""
    top1: float | None
    """None where no budget may choose it."""
    bought: float = 0.0
    """Recent requests whose budgets would have bought it, were everything in memory."""
    named: float = 0.0
    """Recent requests that named it."""


@dataclass(frozen=True, slots=True)
class Swap:
    """One step towards a more useful set."""

    load: str
    evict: tuple[str, ...]
    """Before that."""


class DoesNotFitError(Exception):
    """What has to be there takes more than the limit."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"{needed_bytes} bytes are needed")
        self.needed_bytes = needed_bytes


def size_bytes(tenants: Iterable[Tenant]) -> int:
    """What these take together."""
    found = list(tenants)
    return sum(one.weights_bytes for one in found) + max((one.runs_bytes for one in found), default=0)


def cheapest(tenants: Iterable[Tenant]) -> str | None:
    """The variant that nothing may remove; None where no budget may choose any."""
    routed = [one for one in tenants if one.top1 is not None]
    return min(routed, key=_order).name if routed else None


def front(tenants: Iterable[Tenant]) -> tuple[Tenant, ...]:
    """What budgets would buy if everything were in memory, cheapest first."""
    found: list[Tenant] = []
    for one in sorted(tenants, key=_order):
        if one.top1 is not None and (not found or one.top1 > _rank(found[-1])):
            found.append(one)
    return tuple(found)


def usefulness(tenants: Collection[Tenant], resident: Collection[str]) -> float:
    """What recent requests would have got of `resident`: the sum of accuracies, and of named requests answered."""
    buying = {one.name for one in front(tenants)}
    best, worth = 0.0, 0.0
    for one in sorted(tenants, key=_order):
        best = max(best, _rank(one)) if one.name in resident else best
        worth += _asked(one, one.name in buying, best, there=one.name in resident)
    return worth


def most_useful(
    tenants: Collection[Tenant],
    limit_bytes: float,
    *,
    must: Collection[str] = (),
    among: Collection[str] | None = None,
) -> frozenset[str]:
    """The most useful set of at most `limit_bytes` of those `among` which there is a choice (None: all), with the
    cheapest of all and those that `must` be there, if they are among these. Raises `DoesNotFitError`."""
    allowed = {one.name for one in tenants} if among is None else set(among)
    needed = allowed & {*must, cheapest(tenants)}
    fixed = [one for one in tenants if one.name in needed]
    if (least := size_bytes(fixed)) > limit_bytes:
        raise DoesNotFitError(least)
    if size_bytes(one for one in tenants if one.name in allowed) <= limit_bytes:
        return frozenset(one.name for one in tenants if one.name in allowed)
    floor = max((one.runs_bytes for one in fixed), default=0)
    ceilings = sorted({one.runs_bytes for one in tenants if one.runs_bytes >= floor} | {floor})
    found = [_Search(tenants, limit_bytes - most, most, needed, allowed).best() for most in ceilings]
    chosen = max((one for one in found if one is not None), key=lambda one: (one.worth, -one.size, one.names))
    return _filled(tenants, set(chosen.names), limit_bytes, allowed)


def step(
    tenants: Collection[Tenant], resident: Collection[str], limit_bytes: float, *, must: Collection[str] = ()
) -> Swap | None:
    """The one variant to load that would bring most, with what has to make room for it; None where nothing brings
    enough. Each step makes the set more useful by more than a margin, so that without new demand there are few."""
    now = usefulness(tenants, resident)
    least = MARGIN * sum(one.bought + one.named + PRIOR for one in tenants)
    gains = []
    for one in sorted(tenants, key=_order):
        if one.name not in resident and (kept := _with(tenants, one.name, resident, limit_bytes, must)) is not None:
            gains.append((usefulness(tenants, kept) - now, Swap(one.name, tuple(sorted({*resident} - kept)))))
    gain, best = max(gains, key=lambda found: found[0], default=(0.0, None))
    return best if gain > least else None


def _with(
    tenants: Collection[Tenant], name: str, resident: Collection[str], limit_bytes: float, must: Collection[str]
) -> frozenset[str] | None:
    try:
        return most_useful(tenants, limit_bytes, must={name, *must}, among={name, *resident})
    except DoesNotFitError:
        return None


def _order(one: Tenant) -> tuple[float, float, str]:
    return one.cost, -_rank(one), one.name


def _rank(one: Tenant) -> float:
    return one.top1 or 0.0


def _asked(one: Tenant, buying: bool, best: float, *, there: bool) -> float:
    """What requests get that would have bought this one, or named it; `best` is the best there at its cost."""
    return (one.named if there else 0.0) + ((one.bought + PRIOR) * best if buying else 0.0)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Of the variants up to some cost."""

    best: float
    """The accuracy that a larger budget gets of them."""
    size: int
    worth: float
    names: tuple[str, ...]


class _Search:
    """Sets of variants whose runs take at most so much, in order of cost; of two sets with the same best variant only
    the one that is smaller, or more useful, can be part of the most useful one."""

    def __init__(
        self,
        tenants: Collection[Tenant],
        room: float,
        runs_bytes: int,
        needed: Collection[str],
        allowed: Collection[str],
    ) -> None:
        self._tenants = sorted(tenants, key=_order)
        self._buying = {one.name for one in front(tenants)}
        self._room = room
        self._runs_bytes = runs_bytes
        self._needed = needed
        self._allowed = allowed

    def best(self) -> _Chosen | None:
        """None where what is needed does not fit."""
        found = [_Chosen(0.0, 0, 0.0, ())]
        for one in self._tenants:
            found = _worthwhile([more for known in found for more in self._choices(known, one)])
        return max(found, key=lambda one: (one.worth, -one.size, one.names), default=None)

    def _choices(self, known: _Chosen, one: Tenant) -> Iterable[_Chosen]:
        buying = one.name in self._buying
        if one.name not in self._needed:
            worth = known.worth + _asked(one, buying, known.best, there=False)
            yield _Chosen(known.best, known.size, worth, known.names)
        size = known.size + one.weights_bytes
        if one.name in self._allowed and one.runs_bytes <= self._runs_bytes and size <= self._room:
            best = max(known.best, _rank(one))
            worth = known.worth + _asked(one, buying, best, there=True)
            yield _Chosen(best, size, worth, (*known.names, one.name))


def _worthwhile(found: list[_Chosen]) -> list[_Chosen]:
    """Without sets that another one with the same best variant is not larger than and not less useful."""
    kept: list[_Chosen] = []
    for one in sorted(found, key=lambda one: (one.best, one.size, -one.worth, one.names)):
        if not kept or one.best > kept[-1].best or one.worth > kept[-1].worth:
            kept.append(one)
    return kept


def _filled(
    tenants: Collection[Tenant], chosen: set[str], limit_bytes: float, allowed: Collection[str]
) -> frozenset[str]:
    """With what else fits, the smallest first."""
    known = {one.name: one for one in tenants}
    for one in sorted(tenants, key=lambda one: (one.weights_bytes, one.name)):
        if one.name in allowed and size_bytes(known[name] for name in chosen | {one.name}) <= limit_bytes:
            chosen = chosen | {one.name}
    return frozenset(chosen)


class Demand:
    """How often each variant was bought or named lately: counts that halve every so many seconds."""

    def __init__(self, half_life_s: float = 600.0) -> None:
        self._half_life_s = half_life_s
        self._counts: dict[tuple[str, bool], tuple[float, float]] = {}
        """By variant and whether it was named: the count, and when that was true."""

    def __repr__(self) -> str:
        return f"<Demand {len(self._counts)} counts>"

    def count(self, now_s: float, name: str, *, named: bool) -> None:
        """One request more."""
        self._counts[name, named] = self.of(now_s, name, named=named) + 1.0, now_s

    def of(self, now_s: float, name: str, *, named: bool) -> float:
        """How many there were."""
        count, at_s = self._counts.get((name, named), (0.0, now_s))
        return float(count * 0.5 ** ((now_s - at_s) / self._half_life_s))


def bought(fronts: Sequence[Tenant], budget_s: float, seconds_per_cost: float) -> Tenant | None:
    """What a budget would have bought of a front, if a run takes so long for its cost: the cheapest when none fits."""
    fitting = [one for one in fronts if one.cost * seconds_per_cost <= budget_s]
    return fitting[-1] if fitting else next(iter(fronts), None)


def estimated_cost(macs: int, known: Mapping[int, float]) -> float:
    """Of a variant that was never run: as much for each multiply-add as the one most like it, of which there has to be
    one. `known` costs are by multiply-adds."""
    like = min(known, key=lambda other: abs(math.log(other / macs)))
    return known[like] * macs / like
