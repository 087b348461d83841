"""`effserve train`: a run of `model_store.training` seen from a terminal. Needs the `train` extra."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from service.commands.console import err, fail, out

if TYPE_CHECKING:
    from model_store.training.job import Epoch

TRAIN_EXTRA = {"torch", "matplotlib", "safetensors"}
PLAIN_EVERY = 50
"""Steps between lines where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the options say."""

    variant: str
    data: Path
    validation: Path | None
    folder: Path | None
    options: Mapping[str, Any]
    device: str | None = None
    workers: int | None = None
    grow_from: Path | None = None


def train(run: Run, settings: Sequence[str]) -> None:
    """Train a variant, or go on with a run that was stopped, and say where the weights are."""
    with _one_line_errors(), _progress() as progress:
        from model_store.builder.spec import resolve
        from model_store.training.run import Wish
        from model_store.training.run import run as train_to_the_end

        folder = run.folder or Path(".training") / run.variant
        options = {name: value for name, value in run.options.items() if value is not None} | parsed(settings)
        wish = Wish(
            spec=resolve(run.variant),
            data=run.data,
            validation=run.validation,
            folder=folder,
            options=options,
            device=run.device,
            workers=run.workers,
            grow_from=run.grow_from,
        )
        path = train_to_the_end(wish, progress)
    out.print(f"trained: {path}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"into a store: effserve build --weights {path}", style="dim", highlight=False, markup=False)


def parsed(settings: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; values as JSON where they are, else as text."""
    result: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            fail(f"--set takes name=value, not {setting!r}")
        try:
            result[name] = json.loads(value)
        except json.JSONDecodeError:
            result[name] = value
    return result


class Terminal:
    """A bar with the time that is left, and a line an epoch."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def step(self, done: int, total: int, epoch: int, loss: float) -> None:
        """See `job.Progress`."""
        text = f"epoch {epoch + 1}, loss {loss:.3f}"
        if self._bar is None:
            if done % PLAIN_EVERY == 0:
                self._line(f"step {done} of {total}, {text}")
            return
        if self._task is None:
            self._task = self._bar.add_task(text, total=total, completed=done - 1)
        self._bar.update(self._task, completed=done, description=text)

    def epoch(self, epoch: "Epoch") -> None:
        """See `job.Progress`."""
        judged = "" if epoch.top1 is None else f", top-1 {epoch.top1:.1%}, top-5 {epoch.top5:.1%}"
        self._line(
            f"epoch {epoch.epoch} ({epoch.phase}, {epoch.size_px} px): loss {epoch.loss:.3f}{judged}, "
            f"{epoch.images_per_s:.0f} images/s"
        )

    def remark(self, text: str) -> None:
        """See `job.Progress`."""
        self._line(text)

    def _line(self, text: str) -> None:
        (self._bar.console if self._bar is not None else err).print(text, highlight=False, markup=False)


@contextmanager
def _progress() -> Iterator[Terminal]:
    if not err.is_terminal:
        yield Terminal(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as bar:
        yield Terminal(bar)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        import model_store.training.run  # noqa: F401 - all that training needs
        from model_store.images import ImagesError
        from model_store.trained import TrainedFileError
        from model_store.training.grow import GrowError
        from model_store.training.job import TrainingError
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
            raise
        fail("training needs more packages than serving: pip install 'effserve[build,train]'")
    try:
        yield
    except (ImagesError, GrowError, TrainedFileError, TrainingError, ValueError, OSError) as error:
        fail(" ".join(str(error).split()))
