"""The picture: made for any report, the same each time, names apart from each other and from what they name."""

import sys
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from service.evaluation import plot
from service.evaluation.plot import PlotError
from service.evaluation.results import Report, VariantResult
from tests.unit.evaluation.kit import report, result

FAMILY = (
    result("b0", 16, 769, 1000),
    result("b0-g16", 17, 762, 1000, dominated_by=("b0",)),
    result("b1", 26, 788, 1000),
    result("b1-g16", 27, 791, 1000),
    result("b2-g16", 35, 795, 1000),
    result("b2", 36, 799, 1000),
    result("b3", 63, 816, 1000),
    result("b7", 1150, 843, 1000),
)
TWO_GROUPS = (result("b0", 3), result("b1", 4, images=70, classes=4, group=1), result("b2", 5, hits=90))


def drawn(path: Path, monkeypatch: pytest.MonkeyPatch, given: Report) -> Figure:
    """The figure that is written."""
    figures = []
    savefig = Figure.savefig

    def kept(figure: Figure, path: Path, *, metadata: dict[str, Any] | None) -> None:
        figures.append(figure)
        savefig(figure, path, metadata=metadata)

    monkeypatch.setattr(Figure, "savefig", kept)
    plot.draw(given, path / "plot.png")
    return figures[0]


def fronts(figure: Figure) -> list[tuple[str, list[float]]]:
    """Colour and accuracies of each stepped line."""
    lines = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    return [(str(line.get_color()), np.asarray(line.get_ydata()).tolist()) for line in lines]


def names(figure: Figure) -> list[Annotation]:
    """The names beside the points."""
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


@pytest.mark.parametrize("variants", [FAMILY, TWO_GROUPS, (result("b0", 16),), (result("b0", 0.2, hits=0),)])
def test_a_png_is_an_image(tmp_path: Path, variants: Sequence[VariantResult]) -> None:
    """White around, of the same size for any report."""
    plot.draw(report(*variants), tmp_path / "plot.PNG")
    with Image.open(tmp_path / "plot.PNG") as image:
        assert (image.size, image.convert("RGB").getpixel((2, 2))) == ((1200, 750), (255, 255, 255))


def test_an_svg_is_the_same_each_time(tmp_path: Path) -> None:
    """So that it can be kept under version control."""
    for name in ("one.svg", "other.svg"):
        plot.draw(report(*FAMILY), tmp_path / name)
    assert xml.etree.ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


@pytest.mark.parametrize("variants", [FAMILY, TWO_GROUPS])
def test_names_cover_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variants: Sequence[VariantResult]
) -> None:
    """Neither each other nor a point; all of them are there, inside the axes."""
    figure = drawn(tmp_path, monkeypatch, report(*variants))
    axes, boxes = figure.axes[0], [text.get_window_extent() for text in names(figure)]
    assert [text.get_text() for text in names(figure)] == [one.name for one in variants]
    points = axes.transData.transform([(one.latency_ms, one.top1.value) for one in variants])
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert not any(box.contains(*point) for point in points)
        assert axes.get_window_extent().contains(*box.min)
        assert axes.get_window_extent().contains(*box.max)


def test_crowded_names_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no free place, one that covers little has to do."""
    crowd = [result(f"variant-{number}", 10 + number / 100, hits=70) for number in range(12)]
    assert len(names(drawn(tmp_path, monkeypatch, report(*crowd)))) == 12


def test_it_says_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data set, images and classes; units on both axes; untrained variants are called so."""
    given = report(result("b0", 16), result("b1", 20, trained=False), dataset="$my $photos")
    figure = drawn(tmp_path, monkeypatch, given)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "$my $photos: 100 images, 10 classes"
    assert "(ms)" in axes.get_xlabel()
    assert "95 %" in axes.get_ylabel()
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in names(figure)] == ["b0", "b1 (untrained)"]
    assert figure.legends == []


def test_groups_have_a_front_and_a_colour_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a legend that tells them apart."""
    figure = drawn(tmp_path, monkeypatch, report(*TWO_GROUPS))
    assert [shares for _, shares in fronts(figure)] == [[0.7, 0.9, 0.9], [1.0, 1.0]]
    assert len({colour for colour, _ in fronts(figure)}) == 2
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["100 images, 10 classes", "70 images, 4 classes"]


def test_the_front_leaves_out_what_is_dominated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rises at each point on it, and goes on to the right."""
    ((_, shares),) = fronts(drawn(tmp_path, monkeypatch, report(*FAMILY)))
    assert shares == [0.769, 0.788, 0.791, 0.795, 0.799, 0.816, 0.843, 0.843]


@pytest.mark.parametrize(
    ("name", "message"), [("plot.jpg", r"a plot is a \.png or \.svg file, not plot\.jpg"), ("no/plot.png", "no folder")]
)
def test_a_file_that_cannot_be_is_refused_beforehand(tmp_path: Path, name: str, message: str) -> None:
    """Not after an hour of evaluation."""
    with pytest.raises(PlotError, match=message):
        plot.check(tmp_path / name)
    plot.check(tmp_path / "plot.svg")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A serving install has none."""
    # As the import system has it for what cannot be found.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"pip install 'effserve\[build\]'"):
        plot.check(tmp_path / "plot.png")
