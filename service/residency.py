"""Keeping the most useful variants in memory, within the limit that is set.

What is useful is decided by `core/residency.py`; this module counts what requests ask for and has it decided: at the
start, when the operator loads something, when a request needs a variant that is not there, and every few seconds.
Loading itself is the repository's, one variant after the other, on a thread that takes nothing from anybody. What has
to make room goes before, so that what is being loaded counts as well.

Whoever was loaded stays for a while, as long as ten loads at least: requests that name now this variant and now that
one cannot keep the service loading.
[ADR 20](../docs/decisions/0020-memory-limit.md)
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from service.core.errors import EffserveError, ErrorKind
from service.core.events import Event, RequestAnswered, RequestFailed, VariantChanged
from service.core.latency import VariantCost
from service.core.messages import Answer, Change, ChangeKind
from service.core.residency import (
    Demand,
    DoesNotFitError,
    Tenant,
    bought,
    cheapest,
    estimated_cost,
    front,
    most_useful,
    size_bytes,
    step,
)
from service.core.values import Absent, Reason, Variant
from service.dataplane import Dataplane
from service.pipeline.footprint import Footprint
from service.pipeline.store import StoredVariant

MIB = 2**20
CHECK_S = 5.0
"""Between two looks whether another set would be more useful."""
HELD_LOADS, HELD_S = 10, 30.0
"""How long a variant stays that was loaded: so many times what that took, and so long at least."""
WANTED_S = 60.0
"""A request for a variant is forgotten when it could not be loaded for so long."""
OPENING_S, BYTES_PER_S = 0.5, 50e6
"""What loading a variant takes that was never loaded before: so long, and the rest by its weights."""

Bring = Callable[[str], Awaitable[Change]]
"""Loads a variant that is known and not in memory. Raises `EffserveError`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How much there is, and who takes how much."""

    limit_bytes: float
    """Infinite where there is no limit."""
    footprint: Callable[[StoredVariant], Footprint]
    routable: Callable[[Variant], bool]
    """Whether budgets may choose a variant."""

    def tenant(self, entry: StoredVariant, cost: float, *, bought: float = 0.0, named: float = 0.0) -> Tenant:
        """A variant as the rule sees it."""
        variant, taken = entry.variant(), self.footprint(entry)
        top1 = variant.rank_top1 if self.routable(variant) else None
        return Tenant(variant.name, taken.weights_bytes, taken.runs_bytes, cost, top1, bought, named)

    def at_start(self, entries: Iterable[StoredVariant]) -> frozenset[str]:
        """Whom to load when nobody has asked for anything. Costs go by multiply-adds: nothing was run yet.

        Raises `DoesNotFitError` when the cheapest that budgets may choose is larger than the limit.
        """
        return most_useful([self.tenant(entry, entry.manifest.macs) for entry in entries], self.limit_bytes)

    def absent(self, entry: StoredVariant, beside: Iterable[StoredVariant], load_s: float | None = None) -> Absent:
        """What requests for it are told; `load_s` is what loading it took before. It may not fit beside those that
        have to stay."""
        taken = [self.footprint(one) for one in (entry, *beside)]
        total_bytes = sum(one.weights_bytes for one in taken) + max(one.runs_bytes for one in taken)
        if total_bytes > self.limit_bytes:
            return Absent(entry.variant(), None)
        usual_s = OPENING_S + taken[0].weights_bytes / BYTES_PER_S
        return Absent(entry.variant(), usual_s if load_s is None else load_s)


class Residency:
    """One per process; an observer of its requests. Belongs to the event loop."""

    def __init__(self, memory: Memory, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._clock = clock
        self._dataplane: Dataplane | None = None
        self._demand = Demand()
        self._front: tuple[Tenant, ...] = ()
        self._seconds_per_cost = 1.0
        """At the present pace, at worst."""
        self._pinned: frozenset[str] = frozenset()
        """What the operator has loaded by name."""
        self._held_until_s: dict[str, float] = {}
        self._wanted: dict[str, float] = {}
        """What requests need, and since when."""
        self._load_s: dict[str, float] = {}
        self._woken = asyncio.Event()
        self._look_at_s = 0.0
        """When it is time for the next look."""

    def __repr__(self) -> str:
        limit = self._memory.limit_bytes / MIB
        return f"<Residency {self.taken_bytes() / MIB:.0f} of {limit:.0f} MiB, wanted={sorted(self._wanted)}>"

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self._memory.limit_bytes)

    def watch(self, dataplane: Dataplane) -> None:
        """From now on this is what serves."""
        self._dataplane = dataplane
        self._look_at_s = self._clock() + CHECK_S
        self._look(self._tenants())

    def taken_bytes(self) -> int:
        """By what is in memory, as far as is known beforehand."""
        return size_bytes(one for one in self._tenants() if one.name in self._served())

    def observe(self, event: Event) -> None:
        """Count what is asked for."""
        if not self.limited:
            return
        if isinstance(event, RequestAnswered):
            self._count(event.answer)
        elif isinstance(event, RequestFailed) and event.wanted is not None:
            self._want(event.wanted)
        elif isinstance(event, VariantChanged) and event.change.kind is ChangeKind.LOADED:
            self._load_s[event.change.name] = event.seconds
            self._held_until_s[event.change.name] = self._clock() + max(HELD_LOADS * event.seconds, HELD_S)

    @contextmanager
    def pinning(self, name: str) -> Iterator[None]:
        """The operator loads it, so it stays, unless that fails."""
        known, self._pinned = self._pinned, self._pinned | {name}
        try:
            yield
        except BaseException:
            self._pinned = known
            raise

    def unpin(self, name: str) -> None:
        """It need not stay any more."""
        self._pinned = self._pinned - {name}

    def room_for(self, found: StoredVariant) -> Sequence[str]:
        """What has to go before this can be loaded; what it replaces stays until then.

        Raises `EffserveError(MEMORY_LIMIT)`.
        """
        return sorted(self._served() - self._beside(found, self._pinned | self._held()))

    def absences(self, entries: Iterable[StoredVariant], served: Mapping[str, StoredVariant]) -> tuple[Absent, ...]:
        """What requests for these are told, when that is served."""
        stays = self._pinned | ({first} if (first := cheapest(self._tenants())) is not None else set())
        beside = [served[name] for name in stays if name in served]
        return tuple(self._memory.absent(entry, beside, self._load_s.get(entry.manifest.name)) for entry in entries)

    def wanted_of(self, entries: Iterable[StoredVariant]) -> Collection[str]:
        """Of a store's content, whom to serve: who is there stays, or at least what was loaded by name, if that fits,
        and the most useful of the others."""
        tenants = [self._tenant(entry) for entry in entries]
        there = self._served() & {one.name for one in tenants}
        for must in (there, self._pinned, ()):
            with suppress(DoesNotFitError):
                return most_useful(tenants, self._memory.limit_bytes, must=must)
        # Then none of these can be served by budget, and the repository says so.
        return there

    def cost(self, entry: StoredVariant) -> VariantCost:
        """Of a run: known, or by what is known of the most similar variant."""
        manifest, served = entry.manifest, self._watched.served()
        with suppress(KeyError):
            return self._watched.calibrated(manifest.name)
        known = {one.manifest.macs: self._watched.calibrated(name).inference_s for name, one in served.items()}
        return VariantCost(estimated_cost(manifest.macs, known))

    async def turn(self, bring: Bring) -> None:
        """Once a request needs something new, load that; once it is time to look, what has become more useful."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), max(self._look_at_s - self._clock(), 0.0))
        self._woken.clear()
        if (name := self._next()) is None:
            return
        try:
            with suppress(EffserveError):
                # What cannot be loaded is refused by name, and the observer has been told.
                await bring(name)
        finally:
            self._wanted.pop(name, None)
            if self._wanted:
                self._woken.set()

    def _next(self) -> str | None:
        """Whom to load now. A request only has it looked at what is needed: there may be hundreds."""
        if self._clock() < self._look_at_s:
            return self._needed()
        self._look_at_s = self._clock() + CHECK_S
        tenants = self._tenants()
        self._look(tenants)
        if (name := self._needed()) is not None:
            return name
        swap = step(tenants, self._served(), self._memory.limit_bytes, must=self._pinned | self._held())
        return None if swap is None else swap.load

    def _needed(self) -> str | None:
        """The first that requests have been waiting for, of those that there is room for."""
        now_s, absent = self._clock(), self._watched.absent()
        self._wanted = {name: at_s for name, at_s in self._wanted.items() if name in absent and now_s - at_s < WANTED_S}
        for name in self._wanted:
            with suppress(DoesNotFitError):
                self._kept(self._tenant(absent[name]), self._pinned | self._held())
                return name
        return None

    def _want(self, name: str) -> None:
        """A request needs it. Whoever is known to be wanted is thought of at the next look."""
        self._demand.count(self._clock(), name, named=True)
        if name not in self._wanted:
            self._wanted[name] = self._clock()
            self._woken.set()

    def _look(self, tenants: Collection[Tenant]) -> None:
        """What requests are counted by, until the next look."""
        now = self._watched.health().latency
        self._front, self._seconds_per_cost = front(tenants), now.slowdown * now.tail

    def _count(self, answer: Answer) -> None:
        """What its budget would have bought, with nobody else there and everything in memory; or what it named."""
        decision, timing = answer.decision, answer.timing
        if decision.reason is Reason.NAMED_BY_REQUEST:
            self._demand.count(self._clock(), decision.variant.name, named=True)
            return
        left_s = answer.budget_s - timing.receive_s - timing.decode_s - timing.respond_s
        best = bought(self._front, left_s, self._seconds_per_cost)
        if best is not None:
            self._demand.count(self._clock(), best.name, named=False)

    def _beside(self, found: StoredVariant, must: Collection[str]) -> frozenset[str]:
        """Who stays when this comes. Who was loaded lately stays only if that leaves room."""
        name, tenant = found.manifest.name, self._tenant(found)
        with suppress(DoesNotFitError):
            return self._kept(tenant, must)
        try:
            return self._kept(tenant, self._pinned)
        except DoesNotFitError as error:
            alone_mib, needed_mib = self._memory.footprint(found).total_bytes / MIB, error.needed_bytes / MIB
            detail = (
                f"{name} takes {alone_mib:.0f} MiB, and {needed_mib:.0f} with what has to stay beside it; "
                f"`store.memory_limit_mib` is {self._memory.limit_bytes / MIB:.0f}"
            )
            raise EffserveError(ErrorKind.MEMORY_LIMIT, detail) from error

    def _kept(self, tenant: Tenant, must: Collection[str]) -> frozenset[str]:
        """Raises `DoesNotFitError`."""
        served, tenants = self._served(), list(self._tenants())
        coming = tenant if tenant.name not in served else _beside_itself(tenant)
        tenants = [one for one in tenants if one.name != coming.name] + [coming]
        stays = {tenant.name, *must} & served
        return most_useful(tenants, self._memory.limit_bytes, must={coming.name, *stays}, among={coming.name, *served})

    def _held(self) -> set[str]:
        now_s = self._clock()
        return {name for name, until_s in self._held_until_s.items() if until_s > now_s and name in self._served()}

    def _served(self) -> set[str]:
        return set(self._watched.served())

    def _tenants(self) -> list[Tenant]:
        """Whatever is known."""
        known: Mapping[str, StoredVariant] = {**self._watched.absent(), **self._watched.served()}
        return [self._tenant(entry) for entry in known.values()]

    def _tenant(self, entry: StoredVariant) -> Tenant:
        now_s, name = self._clock(), entry.manifest.name
        times = {kind: self._demand.of(now_s, name, named=kind == "named") for kind in ("bought", "named")}
        return self._memory.tenant(entry, self.cost(entry).inference_s, **times)

    @property
    def _watched(self) -> Dataplane:
        if self._dataplane is None:
            raise RuntimeError("nothing is served yet")
        return self._dataplane


def _beside_itself(tenant: Tenant) -> Tenant:
    """A version that takes another one's place, while both are there."""
    return Tenant(f"{tenant.name}, anew", tenant.weights_bytes, tenant.runs_bytes, tenant.cost, None)
