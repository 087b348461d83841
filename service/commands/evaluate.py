"""The command that measures variants on labelled images: plan, run, report, and what is asked to be written."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_store.images import ImagesError, open_images
from service import settings
from service.commands.console import err, fail, out, print_json, print_table, progress
from service.evaluation import plot, record, report
from service.evaluation.plan import EvaluationError, Plan, make_plan
from service.evaluation.results import Report, make_report
from service.evaluation.run import Evaluation, Runs
from service.pipeline.cpus import usable_cores
from service.pipeline.session import SessionError, SessionOptions, check_provider, runtime_fingerprint
from service.pipeline.store import StoreError

PLAIN_STEPS = 10
"""Lines of progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be evaluated, and on what."""

    data: Path
    variants: Sequence[str] = ()
    """Empty: all in the store. Several may stand in one, between commas."""
    store: Path | None = None
    dataset: str | None = None
    limit: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What becomes of the figures."""

    as_json: bool = False
    per_class: bool = False
    write: bool = False
    plot: Path | None = None
    predictions: Path | None = None


def evaluate(asked: Asked, wanted: Wanted) -> None:
    """Measure, write what is wanted, and show the report."""
    with one_line_errors():
        _check(wanted)
        plan, runs, made = measure(asked)
        if wanted.write:
            made = replace(made, recorded=record.record(made, plan.entries))
        _show(made, wanted)
        if wanted.write:
            _show_recorded(made, plan)
        _write_files(made, plan, runs, wanted)
        if wanted.write and not any(one.written for one in made.recorded):
            fail("nothing was recorded")


def measure(asked: Asked) -> tuple[Plan, Runs, Report]:
    """Evaluate, with progress. Raises what `one_line_errors` catches."""
    chosen = chosen_settings(asked.store)
    plan = _plan(asked, chosen)
    threads = asked.threads or usable_cores()
    runs = _run(plan, threads, chosen)
    made = make_report(
        plan,
        runs,
        dataset=asked.dataset or plan.images.name,
        limit=asked.limit,
        threads=threads,
        runtime=runtime_fingerprint(session_options(chosen), threads),
    )
    return plan, runs, made


def _check(wanted: Wanted) -> None:
    """What would fail at the end is said at the beginning."""
    if wanted.plot is not None:
        plot.check(wanted.plot)
    if wanted.predictions is not None and not wanted.predictions.parent.is_dir():
        fail(f"there is no folder {wanted.predictions.parent}")


def chosen_settings(store: Path | None) -> settings.Settings:
    """With the store that was named. Raises `SettingsError`, and `SessionError` for a provider that is not there."""
    config = os.environ.get("EFFSERVE_CONFIG")
    chosen = settings.load(Path(config) if config else None, {"store": {"dir": store}} if store else None)
    check_provider(chosen.lanes.provider)
    return chosen


def session_options(chosen: settings.Settings) -> SessionOptions:
    """One thread a run, as the service has it unless told otherwise."""
    lanes, graphs = chosen.lanes, chosen.calibration.graphs_dir
    return SessionOptions(lanes.provider, 1, graphs=graphs, device=lanes.device, cache=lanes.provider_cache)


def _plan(asked: Asked, chosen: settings.Settings) -> Plan:
    images = open_images(asked.data)
    names = [name for part in asked.variants for name in part.replace(",", " ").split()]
    with progress(len(names) or _count(chosen.store.dir), "loading") as steps:
        plan = make_plan(
            images,
            chosen.store.dir,
            names=names,
            limit=asked.limit,
            options=session_options(chosen),
            announce=steps.begin,
        )
        steps.end()
    return plan


def _count(store: Path) -> int:
    """About how many variants there are, for the progress bar."""
    return sum(1 for folder in store.iterdir() if not folder.name.startswith(".")) if store.is_dir() else 0


def _run(plan: Plan, threads: int, chosen: settings.Settings) -> Runs:
    evaluation = Evaluation(
        plan.images, plan.samples, plan.subjects, max_pixels=chosen.limits.pixels, exact=chosen.images.exact
    )
    with _watched(len(plan.samples)) as announce:
        runs = evaluation.run(threads=threads, announce=announce)
    if not runs.sheets:
        reasons = [f"{name}: {reason}" for name, reason in (runs.broken or runs.unreadable).items()]
        fail(f"nothing could be evaluated: {reasons[0]}")
    return runs


@contextmanager
def _watched(images: int) -> Iterator[Callable[[int], None]]:
    """A bar that counts images, or a line for each tenth of them."""
    every = 1 if err.is_terminal else math.ceil(images / PLAIN_STEPS)
    with progress(images // every, "evaluating") as steps:

        def announce(done: int) -> None:
            if done % every == 0:
                steps.begin("" if err.is_terminal else f"{done} of {images} images")

        yield announce
        steps.end()


def _write_files(made: Report, plan: Plan, runs: Runs, wanted: Wanted) -> None:
    if wanted.plot is not None:
        plot.draw(made, wanted.plot)
    if wanted.predictions is not None:
        arrays: dict[str, Any] = {"names": np.array([sample.name for sample in plan.samples])}
        for name, sheet in runs.sheets.items():
            arrays |= {f"{name}.images": sheet.images, f"{name}.labels": sheet.labels, f"{name}.logits": sheet.logits}
        with wanted.predictions.open("wb") as file:
            np.savez_compressed(file, **arrays)


def _show(made: Report, wanted: Wanted) -> None:
    for line in report.warnings(made):
        err.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if wanted.as_json:
        print_json(asdict(made))
    else:
        _show_tables(made, per_class=wanted.per_class)


def _show_tables(made: Report, *, per_class: bool) -> None:
    out.print(report.headline(made), style="bold", markup=False, highlight=False)
    tables = [
        report.variants_table(made),
        report.agreement_table(made.agreement, out.width),
        report.cascades_table(made),
    ]
    if per_class:
        tables.append(report.per_class_table(made))
    for table in tables:
        if table is not None:
            # Not as the table's own title, which would be wrapped to the width of a narrow table.
            if table.title:
                out.print(table.title, style="italic", highlight=False)
            print_table("", table.columns, table.rows)
            out.print()
    for line in report.notes(made):
        out.print(line, style="dim", markup=False, highlight=False)


def _show_recorded(made: Report, plan: Plan) -> None:
    """On standard error, so that JSON stays JSON."""
    for one in made.recorded:
        verb, style = ("recorded in", "green") if one.written else ("not recorded in", "yellow")
        line = f"{verb} {one.name} version {one.version}: {one.note}"
        err.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    if not any(one.written for one in made.recorded):
        return
    err.print("A running server ranks by this from its next start.", style="dim", highlight=False)
    ranked = record.ranked_on(plan.entries)
    if len(ranked) > 1:
        by = "; ".join(f"{dataset}: {', '.join(names)}" for dataset, names in ranked.items())
        line = f"budgets now compare accuracies on different images, evaluate all variants on the same: {by}"
        err.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Failures of an evaluation end the command with one line."""
    try:
        yield
    except (
        EvaluationError, ImagesError, StoreError, SessionError, settings.SettingsError, plot.PlotError, OSError,
    ) as error:  # fmt: skip
        fail(" ".join(str(error).split()))
