"""`effserve simulate`: what policies would make of a trace, in virtual time, with the server's own scheduler."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from service.commands.console import fail, out, print_json, print_table, progress, starting
from service.core import baselines
from service.core.catalogue import Catalogue
from service.core.errors import EffserveError
from service.core.events import Fanout
from service.core.policy import Policy
from service.simulation import report, times, traces, variants
from service.simulation.errors import SimulationError
from service.simulation.run import World, make_world, play
from service.simulation.score import Report, make_report, score
from service.simulation.times import Source

DEFAULT_LOAD = 0.5
DEFAULT_REQUESTS = 10_000
DEFAULT_TIMES = "proteus"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be simulated."""

    trace: str
    """A shape, or a file."""
    policies: Sequence[str]
    """Several may stand in one, between commas."""
    lanes: int
    load: float | None = None
    """None: that of a file, or the default one."""
    budgets: str | None = None
    requests: int | None = None
    """None: all of a file, or the default number."""
    seed: int = 0
    times: str | None = None
    """Published figures by name, or a log of runs."""
    store: Path | None = None
    route_untrained: bool = False
    parameters: Sequence[str] = ()
    """`name=value`, for each policy that has it."""


def simulate(asked: Asked, *, as_json: bool = False) -> None:
    """Play all policies against the same requests and show how they did."""
    try:
        made = compare(asked)
    except (SimulationError, OSError) as error:
        fail(" ".join(str(error).split()))
    if as_json:
        print_json(asdict(made))
    else:
        _show(made)


def compare(asked: Asked) -> Report:
    """Simulate, with progress. Raises `SimulationError`, `OSError`."""
    world = _world(asked)
    names = _names(asked, world)
    parameters = _shared(names, world, _parsed(asked.parameters))
    for name in names:
        _policy(name, world, parameters[name])
    scores = []
    with progress(len(names) + 1, "simulating") as steps:
        for name in names:
            steps.begin(name)
            played = play(_policy(name, world, parameters[name]), world, baselines.spends(name))
            scores.append(score(name, played, world))
        steps.begin("bound")
        made = make_report(world, scores, trace=Path(asked.trace).name, seed=asked.seed)
        steps.end()
    return made


def _names(asked: Asked, world: World) -> list[str]:
    names = [name for part in asked.policies for name in part.replace(",", " ").split()]
    if not names:
        raise SimulationError("name a policy, or `all`")
    return list(baselines.names(world.catalogue)) if ALL in names else list(dict.fromkeys(names))


def _shared(names: Sequence[str], world: World, given: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Of what is given, to each policy what it has. Raises `SimulationError` for a parameter that none of them has."""
    known = {name: _known(name, world) for name in names}
    there = dict.fromkeys(parameter for of_one in known.values() for parameter in of_one)
    for parameter in given:
        if parameter not in there:
            raise SimulationError(f"{', '.join(names)}: no parameter {parameter!r}; there are {', '.join(there)}")
    return {name: {one: value for one, value in given.items() if one in known[name]} for name in names}


def _known(name: str, world: World) -> tuple[str, ...]:
    with _about(name):
        return baselines.parameters(name, world.catalogue)


def _policy(name: str, world: World, parameters: Mapping[str, float]) -> Policy:
    with _about(name):
        return baselines.create(name, world.catalogue, **parameters)


@contextmanager
def _about(name: str) -> Iterator[None]:
    """What is wrong with a policy is told with its name."""
    try:
        yield
    except (ValueError, TypeError, EffserveError) as error:
        raise SimulationError(f"{name}: {error}") from error


def _world(asked: Asked) -> World:
    if asked.route_untrained and asked.store is None:
        raise SimulationError("--route-untrained goes with --store; variants as published have no seeded weights")
    catalogue, source = unstored(asked.times or DEFAULT_TIMES) if asked.store is None else stored(asked, asked.store)
    trace: traces.Trace
    load: float | None
    if asked.trace in traces.SHAPES:
        trace, load = traces.Generated(asked.trace, asked.requests or DEFAULT_REQUESTS), asked.load or DEFAULT_LOAD
    else:
        trace, load = traces.read(_existing(asked.trace, traces.SHAPES)).first(asked.requests), asked.load
    mix = None if asked.budgets is None else traces.mix(asked.budgets)
    return make_world(catalogue, source, trace, lanes=asked.lanes, load=load, mix=mix, seed=asked.seed)


def unstored(wanted: str) -> tuple[Catalogue, Source]:
    """Variants and times as others published them, or times of a file. Raises `SimulationError`, `OSError`."""
    source = _source(wanted)
    return variants.published(source.calibration.inference_s), source


def _source(wanted: str) -> Source:
    return times.published(wanted) if wanted in times.PUBLISHED else times.logged(_existing(wanted, times.PUBLISHED))


def stored(asked: Asked, store: Path) -> tuple[Catalogue, Source]:
    """Accuracies of the store; its costs as the server would find them here, unless others are named.

    Raises `SimulationError`, `OSError`.
    """
    # What serves takes a second to import, which only this needs.
    from service import preparing, settings
    from service.dataplane import REFERENCE_IMAGE
    from service.startup import StartupError, check, measured_before, steps

    overrides: settings.Overrides = {
        "store": {"dir": store},
        "routing": {"route_untrained": True} if asked.route_untrained else {},
    }
    config = os.environ.get("EFFSERVE_CONFIG")
    try:
        chosen = settings.load(Path(config) if config else None, overrides)
        choice = preparing.layout(chosen, check(store, chosen.lanes.provider))
        options, lanes = preparing.session_options(chosen, choice), choice.layout.lanes
        known = measured_before(
            store, options=options, lanes=lanes, folder=chosen.calibration.dir, exact=chosen.images.exact
        )
        if known is None or not chosen.calibration.reuse:
            with starting(steps(store)) as begin:
                prepared = preparing.prepare(chosen, Fanout(), begin)
            known = prepared.policy.catalogue.variants, prepared.calibration
    except (StartupError, settings.SettingsError) as error:
        raise SimulationError(str(error)) from error
    found, calibration = known
    decode_s = calibration.decode[REFERENCE_IMAGE.format].expected_s(REFERENCE_IMAGE.megapixels)
    here = times.calibrated(calibration, lanes=lanes, decode_s=decode_s)
    return Catalogue(found, chosen.routing.route_untrained), here if asked.times is None else _source(asked.times)


def _existing(text: str, names: Mapping[str, object]) -> Path:
    """A file, or one line that says what else it could be."""
    path = Path(text)
    if not path.is_file():
        raise SimulationError(f"{text} is neither a file nor one of {', '.join(sorted(names))}")
    return path


def _parsed(settings: Sequence[str]) -> dict[str, float]:
    found = [setting.partition("=") for setting in settings]
    try:
        return {name: float(value) for name, _, value in found}
    except ValueError:
        raise SimulationError(f"--set takes NAME=NUMBER, not {', '.join(settings)}") from None


def _show(made: Report) -> None:
    out.print(report.headline(made), style="bold", markup=False, highlight=False)
    for columns, rows in (report.policies_table(made), report.budgets_table(made)):
        print_table("", columns, rows)
        out.print()
    for line in report.notes(made):
        out.print(line, style="dim", markup=False, highlight=False)
