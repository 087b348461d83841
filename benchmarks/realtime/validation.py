"""From a folder of measurements to the comparison: one file of results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from pydantic import TypeAdapter

from benchmarks.machine import Machine, Others
from benchmarks.realtime import loader, record, simulated
from benchmarks.realtime.compare import Comparison, compare
from benchmarks.realtime.loader import Load, Sent
from benchmarks.realtime.measure import Folder, Measured
from benchmarks.realtime.plan import Run, Setting
from benchmarks.realtime.record import Row
from benchmarks.realtime.simulated import Known
from benchmarks.stats import Spread


@dataclass(frozen=True, slots=True)
class Service:
    """What runs of one variant took, decoding included. Milliseconds; None where there were no runs."""

    variant: str
    runs_alone: int
    runs_together: int
    alone_ms: float | None
    """Mean of the recording with one lane busy."""
    together_ms: float | None
    """With all."""
    in_runs_ms: float | None
    """Mean over all validation runs, whatever lanes were busy."""


@dataclass(frozen=True, slots=True)
class Around:
    """One part of a request beside its run, in milliseconds: as recorded with all lanes busy, and in the runs."""

    part: str
    recorded: Spread
    in_runs: Spread | None
    """None for what answers do not tell."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One file."""

    machine: Machine
    setting: Setting
    others: tuple[Others, ...]
    stop_ms: float
    """Time until a terminated run has stopped, as the server measured it at its start."""
    service: tuple[Service, ...]
    around: tuple[Around, ...]
    punctual: bool
    """Whether clients ran at real-time priority."""
    client_cpu: dict[str, float]
    """Share of one core that the sending process took, by recording and run."""
    comparisons: tuple[Comparison, ...]
    accepted: bool
    """Whether all of them are."""


def read(path: Path) -> Validation:
    """Raises `ValueError` for a file that is not one, `OSError`."""
    return TypeAdapter(Validation).validate_json(path.read_bytes())


def validate(store: Path, folder: Folder, measured: Measured) -> Validation:
    """Simulate and compare."""
    setting = measured.setting
    known, rows = folder.known(store, setting.lanes), record.read(folder.log)
    loads = {run: loader.read(folder.load(run)) for run in setting.runs}
    comparisons = tuple(
        _compared(run, load, folder.known(store, setting.lanes, run), setting) for run, load in loads.items()
    )
    answered = [one for load in loads.values() for one in counted(load.sent, setting) if one.reply is not None]
    return Validation(
        machine=measured.machine,
        setting=setting,
        others=measured.others,
        stop_ms=known.source.stop_s * 1e3,
        service=tuple(_service(name, rows, answered, setting.lanes) for name in known.ranks),
        around=_around([row for row in rows if row.busy == setting.lanes], answered),
        punctual=measured.punctual,
        client_cpu={"recording": measured.recording_cpu}
        | {str(run): load.cpu_s / (setting.warm_up_s + setting.seconds) for run, load in loads.items()},
        comparisons=comparisons,
        accepted=all(one.accepted for one in comparisons),
    )


def counted(sent: Sequence[Sent], setting: Setting) -> list[Sent]:
    """After the warm-up."""
    return [one for one in sent if one.at_s >= setting.warm_up_s]


def _compared(run: Run, load: Load, known: Known, setting: Setting) -> Comparison:
    played = simulated.replays(run, load.sent, known, seeds=range(setting.replays))
    ours = counted(load.sent, setting)
    lag_p99_s = float(np.percentile([one.lag_s for one in ours], 99))
    return compare(
        str(run), ours, [fates[len(fates) - len(ours) :] for fates in played], known.ranks, lag_p99_s=lag_p99_s
    )


def _service(name: str, rows: Sequence[Row], answered: Sequence[Sent], lanes: int) -> Service:
    alone = [row.seconds for row in rows if (row.variant, row.busy) == (name, 1)]
    together = [row.seconds for row in rows if (row.variant, row.busy) == (name, lanes)]
    served = [
        one.reply.decode_ms + one.reply.inference_ms
        for one in answered
        if one.reply is not None and one.reply.variant == name
    ]
    return Service(
        name, len(alone), len(together), _mean_ms(alone), _mean_ms(together), mean(served) if served else None
    )


def _mean_ms(seconds: Sequence[float]) -> float | None:
    return mean(seconds) * 1e3 if seconds else None


def _around(rows: Sequence[Row], answered: Sequence[Sent]) -> tuple[Around, ...]:
    replies = [(one, one.reply) for one in answered if one.reply is not None]
    return (
        Around("receive", _ms(row.receive_s for row in rows), Spread.of([reply.receive_ms for _, reply in replies])),
        Around("dispatch", _ms(row.dispatch_s for row in rows), None),
        Around("arrival", _ms(row.arrival_s for row in rows), None),
        Around("respond", _ms(row.respond_s for row in rows), Spread.of([reply.respond_ms for _, reply in replies])),
        Around(
            "outside",
            _ms(row.outside_s for row in rows),
            Spread.of([(one.latency_s - one.lag_s) * 1e3 - reply.total_ms for one, reply in replies]),
        ),
    )


def _ms(seconds: Iterable[float]) -> Spread:
    return Spread.of([one * 1e3 for one in seconds])
