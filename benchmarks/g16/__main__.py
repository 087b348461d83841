"""`python -m benchmarks.g16 --data train.zip --val val.zip [--out DIR]`: train the arms, or go on; measure; write."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks import machine, report
from benchmarks.g16 import accuracy, latency, page, throughput
from benchmarks.g16.study import Setting, Study
from benchmarks.g16.training import Key, Plan, train
from benchmarks.machine import Others
from benchmarks.report import say
from model_store.images import ImagesError
from model_store.training.job import Job, Progress, TrainingError
from service.commands.console import CommandError
from service.commands.train import Terminal, parsed

COMMON = ("epochs", "fine_tune_epochs", "size_px", "train_size_px", "seed")
"""Hyperparameters that are said elsewhere."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is timed."""

    throughput: throughput.Effort
    latency: latency.Effort


FULL = Effort(throughput.Effort(rounds=7, steps=3), latency.Effort(rounds=20, runs=10))
QUICK = Effort(throughput.Effort(rounds=2, steps=1), latency.Effort(rounds=2, runs=2))
"""Shows that everything works; the times mean little."""


def study(plan: Plan, progress: Progress, effort: Effort) -> Study:
    """Everything. Raises what training, building and evaluating do."""
    files = train(plan, progress)
    return measured(plan, plan.job(), files, effort)


def measured(plan: Plan, job: Job, files: dict[Key, Path], effort: Effort) -> Study:
    """What is known once all arms are trained."""
    here, others, classes = machine.describe(), list[Others](), len(job.images.classes)
    say("measuring accuracy …")
    with machine.watching("accuracy", others):
        trained, judged = accuracy.judge(files, plan.validation)
    say("timing steps of training …")
    with machine.watching("training", others):
        rates = throughput.time_steps(plan, job.recipe, classes, job.device, effort.throughput)
    say("timing inference …")
    with machine.watching("latency", others):
        latencies = latency.measure(plan.specs, plan.size_px, classes, effort.latency)
    return Study(
        machine=here,
        setting=setting(plan, job),
        others=tuple(others),
        trained=trained,
        accuracy=judged,
        steps=throughput.steps_of(rates),
        throughput=throughput.whole_runs(plan, rates),
        latency=latencies,
    )


def setting(plan: Plan, job: Job) -> Setting:
    """What all arms have in common."""
    validation = job.validation
    return Setting(
        networks=plan.networks,
        data=job.images.name,
        images=len(job.images.samples),
        data_sha256=job.data_sha256,
        validation="" if validation is None else validation.name,
        validation_images=0 if validation is None else len(validation.samples),
        classes=len(job.images.classes),
        seeds=plan.seeds,
        epochs=plan.epochs,
        fine_tune_epochs=plan.fine_tune_epochs,
        size_px=plan.size_px,
        reduced_px=plan.reduced_px,
        threads=plan.threads,
        device=job.device,
        torch=str(torch.__version__),
        recipe={name: value for name, value in job.recipe.model_dump().items() if name not in COMMON},
    )


def main(
    data: Annotated[Path, typer.Option(help="Training images: folder or ZIP of CLASS/FILE.")],
    val: Annotated[Path, typer.Option(help="Images of the same classes to judge by.")],
    out: Annotated[Path, typer.Option(help="Where runs live; the same folder goes on.")] = Path(".training/g16"),
    epochs: Annotated[int, typer.Option(help="Before fine-tuning.")] = 5,
    fine_tune_epochs: Annotated[int, typer.Option(help="Of the last layers, at the served size.")] = 2,
    size: Annotated[int, typer.Option(help="Edge of the served input, in pixels.")] = 96,
    reduced_size: Annotated[int, typer.Option(help="Edge during reduced training.")] = 64,
    seed: Annotated[list[int] | None, typer.Option(help="May be given several times; default: 0.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare images.")] = None,
    device: Annotated[str | None, typer.Option(help="Default: a GPU where there is one.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the recipe, for all arms.")] = None,
    results: Annotated[Path | None, typer.Option(help="Default: benchmarks/results/g16-<date>-<commit>.json")] = None,
    train_only: Annotated[bool, typer.Option("--train-only", help="Measure nothing yet.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Time little; the times mean little.")] = False,
) -> None:
    """Train the arms that are not trained yet, measure, print tables, write JSON.

    Seeds can be trained by several processes at once, into one folder, with `--train-only`.
    """
    try:
        plan = Plan(
            data=data,
            validation=val,
            folder=out,
            epochs=epochs,
            fine_tune_epochs=fine_tune_epochs,
            size_px=size,
            reduced_px=reduced_size,
            seeds=tuple(dict.fromkeys(seed or [0])),
            options=parsed(set_ or []),
            threads=threads,
            workers=workers,
            device=device,
        )
        if train_only:
            train(plan, Terminal(None))
            return
        made = study(plan, Terminal(None), QUICK if quick else FULL)
    except (ImagesError, TrainingError, CommandError) as error:
        say(" ".join(str(error).split()))
        raise typer.Exit(2) from error
    path = results or report.default_path(made.machine, "g16")
    report.write(path, asdict(made))
    report.show(page.tables(made))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
