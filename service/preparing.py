"""From settings to warm, measured sessions and the rule over them: what a start decides before anything listens.

[startup.py](startup.py) does the work; which of it, by what is set, is decided here. One process finds out; other
workers of the same service are told, and do the same.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from service.core.catalogue import Catalogue
from service.core.events import Observer
from service.core.latency import Calibration
from service.core.layout import Choice, Layout
from service.core.messages import RefusedVariant
from service.core.policy import BudgetPolicy
from service.core.residency import DoesNotFitError, estimated_cost
from service.core.values import Absent, Variant
from service.core.workers import ALONE, Place, shares
from service.dataplane import REFERENCE_IMAGE, Dataplane
from service.pipeline import trials
from service.pipeline.cpus import usable_cores
from service.pipeline.footprint import footprint
from service.pipeline.priority import can_yield
from service.pipeline.session import ExecutionProvider, SessionOptions
from service.pipeline.store import StoredVariant, StoreScan
from service.residency import MIB, Memory
from service.settings import Settings
from service.startup import Announce, Loaded, StartupError, check, load, measure, named, writable


@dataclass(frozen=True, slots=True)
class Prepared:
    """Warm sessions, what they cost, and the rule that chooses among them."""

    loaded: Loaded
    calibration: Calibration
    policy: BudgetPolicy
    choice: Choice
    """Of this process."""
    lanes: int
    """Of the service: so many were at work when it was calibrated."""
    place: Place = ALONE
    absent: Mapping[str, StoredVariant] = field(default_factory=dict)
    """What is known and not loaded, because memory is limited."""

    def known(self) -> "Known":
        """What others need to do the same."""
        return Known(self.choice, self.calibration, _versions(self.loaded.entries), self.loaded.refused)

    def shared(self, place: Place) -> "Prepared":
        """The same with the lanes of one worker. What variants cost while all lanes of the service are at work is what
        they cost a worker all of whose lanes are: the others' are taken to be as busy as its own."""
        lanes = shares(self.lanes, place.of)[place.number - 1]
        return replace(
            self,
            choice=Choice(Layout(lanes, self.choice.layout.threads), self.choice.why),
            calibration=replace(self.calibration, lanes=lanes),
            place=place,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What one worker has found out, or serves, so that others need not measure and serve the same."""

    choice: Choice
    """Of the service."""
    calibration: Calibration
    served: tuple[tuple[str, int], ...]
    """Names and versions."""
    refused: tuple[RefusedVariant, ...]


def known(prepared: Prepared, dataplane: Dataplane) -> Known:
    """What others need to serve what is served now. `prepared` is as it was before it was `shared`."""
    served = dataplane.served()
    costs = {name: dataplane.calibrated(name) for name in served}
    calibration = replace(
        prepared.calibration,
        inference_s={name: cost.inference_s for name, cost in costs.items()},
        alone_s={name: cost.alone_s for name, cost in costs.items() if cost.alone_s is not None},
        terminate_s=next(iter(costs.values())).terminate_s,
    )
    return Known(prepared.choice, calibration, _versions(served), dataplane.refused())


def _versions(entries: Mapping[str, StoredVariant]) -> tuple[tuple[str, int], ...]:
    return tuple((name, entry.manifest.version) for name, entry in entries.items())


def layout(settings: Settings, found: StoreScan, announce: Announce = lambda _: None) -> Choice:
    """How many runs at a time, and on how many threads each; measured where it is not set and there is a choice."""
    lanes, cores = settings.lanes, usable_cores()
    if lanes.count is not None or lanes.threads is not None:
        threads = lanes.threads or 1
        return Choice(Layout(lanes.count or max(cores // threads, 1), threads), "as set")
    if lanes.provider is not ExecutionProvider.CPU:
        return Choice(Layout(cores, 1), f"nothing is measured for {lanes.provider}")
    return trials.choice(
        found.entries,
        cores,
        budget_s=settings.routing.default_budget_ms / 1e3,
        route_untrained=settings.routing.route_untrained,
        picture=REFERENCE_IMAGE,
        folder=calibrations(settings),
        graphs=settings.calibration.graphs_dir,
        seconds=settings.calibration.seconds_per_variant,
        exact=settings.images.exact,
        announce=announce,
    )


def background_lanes(settings: Settings, chosen: Layout) -> int:
    """How many upgrades are run at a time in time that nobody else needs: none where runs leave their lane's thread,
    and with it the thread's priority, or where threads have no such priority."""
    wanted = chosen.lanes if settings.lanes.background is None else min(settings.lanes.background, chosen.lanes)
    stays = settings.lanes.provider is ExecutionProvider.CPU and chosen.threads == 1
    return wanted if wanted and stays and can_yield() else 0


def prepare(settings: Settings, observer: Observer, announce: Announce = lambda _: None) -> Prepared:
    """Load and measure what the store holds. Raises `StartupError`."""
    announce("checking the store")
    whole = check(settings.store.dir, settings.lanes.provider)
    found, absent = _within_limit(settings, whole)
    choice = layout(settings, found, announce)
    lanes = choice.layout.lanes
    options = session_options(settings, choice)
    loaded = load(found, options, lanes, observer, announce)
    policy = policy_of(
        settings, [entry.variant() for entry in loaded.entries.values()], _absences(settings, loaded, absent)
    )
    if not policy.catalogue.routed():
        raise StartupError(
            "no variant in the store has weights of known accuracy, so no budget can be answered; fetch some with "
            "`effserve pull`, or pass --route-untrained to plan capacity with meaningless predictions"
        )
    calibration = measure(
        loaded,
        options=options,
        lanes=lanes,
        folder=calibrations(settings),
        seconds_per_variant=settings.calibration.seconds_per_variant,
        exact=settings.images.exact,
        announce=announce,
    )
    calibration = _with_costs(calibration, loaded, absent.values())
    return Prepared(loaded, calibration, policy, choice, lanes, absent=absent)


def memory(settings: Settings) -> Memory:
    """What variants may take, by what is set. Runs are counted as if every lane were at work: there are as many as
    usable cores at most, and as many of the background."""
    lanes = settings.lanes
    most = lanes.count or usable_cores()
    behind = background_lanes(settings, Layout(most, lanes.threads or 1))
    limit_mib = settings.store.memory_limit_mib
    options = SessionOptions(lanes.provider, graphs=settings.calibration.graphs_dir)
    return Memory(
        limit_bytes=math.inf if limit_mib is None else limit_mib * MIB,
        footprint=partial(footprint, options=options, runs=most + behind),
        routable=lambda variant: bool(policy_of(settings, [variant]).catalogue.routed()),
    )


def _within_limit(settings: Settings, whole: StoreScan) -> tuple[StoreScan, dict[str, StoredVariant]]:
    """What of a store is to be loaded, and what is known beside it. Raises `StartupError`."""
    try:
        chosen = memory(settings).at_start(whole.entries)
    except DoesNotFitError as error:
        raise StartupError(
            f"store.memory_limit_mib is {settings.store.memory_limit_mib:g}, and the cheapest variant that a budget "
            f"can choose takes {error.needed_bytes / MIB:.0f}"
        ) from error
    entries = tuple(entry for entry in whole.entries if entry.manifest.name in chosen)
    absent = {entry.manifest.name: entry for entry in whole.entries if entry.manifest.name not in chosen}
    return replace(whole, entries=entries), absent


def _absences(settings: Settings, loaded: Loaded, absent: Mapping[str, StoredVariant]) -> Sequence[Absent]:
    taken = memory(settings)
    routed = [entry for entry in loaded.entries.values() if taken.routable(entry.variant())]
    first = sorted(routed, key=lambda entry: entry.manifest.macs)[:1]
    return [taken.absent(entry, first) for entry in absent.values()]


def _with_costs(calibration: Calibration, loaded: Loaded, absent: Iterable[StoredVariant]) -> Calibration:
    """With what variants would cost that were not run."""
    known = {loaded.entries[name].manifest.macs: cost_s for name, cost_s in calibration.inference_s.items()}
    guessed = {entry.manifest.name: estimated_cost(entry.manifest.macs, known) for entry in absent}
    return replace(calibration, inference_s={**calibration.inference_s, **guessed})


def prepare_alike(settings: Settings, known: Known, observer: Observer) -> Prepared:
    """Load what another worker serves, and believe what it has measured. Raises `StartupError`."""
    found = named(settings.store.dir, known.served, known.refused)
    lanes = known.choice.layout.lanes
    loaded = load(found, session_options(settings, known.choice), lanes, observer, lambda _: None)
    policy = policy_of(settings, [entry.variant() for entry in loaded.entries.values()])
    if not policy.catalogue.routed():
        raise StartupError("of what the other workers serve, nothing that a budget can choose can be loaded again")
    return Prepared(loaded, known.calibration, policy, known.choice, lanes)


def calibrations(settings: Settings) -> Path | None:
    """Where measurements are kept; None where they are not."""
    return writable(settings.calibration.dir) if settings.calibration.reuse else None


def session_options(settings: Settings, choice: Choice) -> SessionOptions:
    """How the sessions are opened that serve."""
    lanes = settings.lanes
    return SessionOptions(
        lanes.provider,
        choice.layout.threads,
        lanes.nice,
        graphs=settings.calibration.graphs_dir,
        device=lanes.device,
        cache=lanes.provider_cache,
    )


def policy_of(settings: Settings, variants: Sequence[Variant], absent: Sequence[Absent] = ()) -> BudgetPolicy:
    """The rule over these variants, as it is set; `absent` are known, too."""
    routing = settings.routing
    return BudgetPolicy(
        Catalogue(tuple(variants), routing.route_untrained, tuple(absent)),
        utilisation=routing.utilisation,
        arrival_reserve=routing.arrival_reserve,
        patience_s=settings.limits.patience_ms / 1e3,
        terminates=routing.terminate_runs,
        insures=routing.insure_under_load,
    )
