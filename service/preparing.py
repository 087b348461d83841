"""From settings to warm, measured sessions and the rule over them: what a start decides before anything listens.

[startup.py](startup.py) does the work; which of it, by what is set, is decided here. One process finds out; other
workers of the same service are told, and do the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.core.catalogue import Catalogue
from service.core.events import Observer
from service.core.latency import Calibration
from service.core.layout import Choice, Layout
from service.core.messages import RefusedVariant
from service.core.policy import BudgetPolicy
from service.core.values import Variant
from service.core.workers import ALONE, Place, shares
from service.dataplane import REFERENCE_IMAGE, Dataplane
from service.pipeline import trials
from service.pipeline.cpus import usable_cores
from service.pipeline.priority import can_yield
from service.pipeline.session import ExecutionProvider, SessionOptions
from service.pipeline.store import StoredVariant, StoreScan
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
    found = check(settings.store.dir, settings.lanes.provider)
    choice = layout(settings, found, announce)
    lanes = choice.layout.lanes
    options = session_options(settings, choice)
    loaded = load(found, options, lanes, observer, announce)
    policy = policy_of(settings, [entry.variant() for entry in loaded.entries.values()])
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
    return Prepared(loaded, calibration, policy, choice, lanes)


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


def policy_of(settings: Settings, variants: Sequence[Variant]) -> BudgetPolicy:
    """The rule over these variants, as it is set."""
    routing = settings.routing
    return BudgetPolicy(
        Catalogue(tuple(variants), routing.route_untrained),
        utilisation=routing.utilisation,
        arrival_reserve=routing.arrival_reserve,
        backlog_limit_s=settings.limits.backlog_ms / 1e3,
        terminates=routing.terminate_upgrades,
    )
