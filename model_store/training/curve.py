"""The learning curve as a picture."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_store.training.job import Epoch


def draw(history: Sequence[Epoch], title: str, path: Path) -> None:
    """Loss and, where there are validation images, top-1 and top-5 over epochs; a mark where a phase begins.

    The file appears in one step.
    """
    figure = Figure(figsize=(7.5, 4.2), dpi=130, layout="constrained")
    loss_axes = figure.subplots()
    epochs = [line.epoch for line in history]
    loss_axes.plot(epochs, [line.loss for line in history], color="#8c564b", label="training loss")
    loss_axes.set(xlabel="epoch", ylabel="training loss (augmented images, smoothed targets)", title=title)
    loss_axes.grid(alpha=0.25)
    if any(line.top1 is not None for line in history):
        _draw_accuracy(loss_axes, history)
    for before, line in itertools.pairwise(history):
        if before.phase != line.phase:
            loss_axes.axvline(line.epoch - 0.5, color="grey", linewidth=0.8, linestyle=":")
            label = f" {line.phase}, {line.size_px} px"
            loss_axes.annotate(label, (line.epoch - 0.5, 0.02), xycoords=("data", "axes fraction"), rotation=90, size=7)
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, format=path.suffix.removeprefix("."))
    temporary.replace(path)


def _draw_accuracy(loss_axes: Axes, history: Sequence[Epoch]) -> None:
    axes = loss_axes.twinx()
    seen = [line for line in history if line.top1 is not None and line.top5 is not None]
    epochs = [line.epoch for line in seen]
    axes.plot(epochs, [100 * (line.top1 or 0) for line in seen], color="#1f77b4", label="validation top-1")
    axes.plot(epochs, [100 * (line.top5 or 0) for line in seen], color="#9ec9e8", label="validation top-5")
    axes.set(ylabel="accuracy of the averaged weights, %", ylim=(0, 100))
    lines = [*loss_axes.get_lines(), *axes.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="center right", frameon=False, fontsize=8)
