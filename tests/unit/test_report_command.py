"""`effserve report`: the page and the pictures it writes, and what it refuses."""

import json
import re
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import cli
from service.commands.console import CommandError
from service.commands.report import report
from tests.unit.simulation.study import study

COVERAGE = {
    "coverage": [
        {
            "source": "made up, with noise",
            "held": [{"spell": "usual", "variant": "all", "runs": 9, "coverage": 0.99}],
            "shifts": [{"change": "slower", "coverage": 0.95}],
        }
    ]
}
VOID = {"meta", "img"}


@pytest.fixture(name="results")
def _results(tmp_path: Path) -> Path:
    return _study(tmp_path)


def _study(folder: Path) -> Path:
    path = folder / "study.json"
    path.write_text(json.dumps(asdict(study())))
    return path


@pytest.fixture(name="written", scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report without coverage: drawing one takes a second."""
    folder = tmp_path_factory.mktemp("written")
    report(_study(folder), folder / "out", None)
    return folder / "out"


class _Balanced(HTMLParser):
    """Fails when an element is closed that is not the one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_one_page_with_everything_inside(results: Path, tmp_path: Path) -> None:
    """Well-formed, and it refers to nothing outside itself."""
    done = CliRunner().invoke(cli.app, ["report", str(results), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = _Balanced()
    page.feed((tmp_path / "out" / "report.html").read_text())
    assert page.open == []
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)


def test_every_picture_is_a_file_too(written: Path) -> None:
    """PNG, one for each load, one for each course, the heat map."""
    pictures = {path.name: path.read_bytes() for path in written.glob("*.png")}
    assert set(pictures) == {"tradeoff-load-0.4.png", "tradeoff-load-0.8.png", "course-poisson.png", "heat.png"}
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())


def test_goals_are_listed_with_their_verdicts(written: Path) -> None:
    """What is written there is text, not markup."""
    page = (written / "report.html").read_text()
    assert re.search(r">G1</td>.*96\.00 %.*>yes<", page)
    assert re.search(r"&lt;more&gt;.*−1\.00 points.*>no<", page)


def test_coverage_is_drawn_where_it_is_known(results: Path, written: Path, tmp_path: Path) -> None:
    """Otherwise a sentence says where it comes from."""
    known = tmp_path / "coverage.json"
    known.write_text(json.dumps(COVERAGE))
    report(results, tmp_path / "with", known)
    assert (tmp_path / "with" / "coverage.png").is_file()
    sentence = "python -m benchmarks.coverage"
    assert sentence not in (tmp_path / "with" / "report.html").read_text()
    assert sentence in (written / "report.html").read_text()


def test_another_file_ends_with_one_line(results: Path, tmp_path: Path) -> None:
    """For the study and for the coverage."""
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(CommandError, match="is no comparison of policies"):
        report(other, tmp_path / "out", None)
    for content in ("{}", '{"coverage": []}', '{"coverage": [{"source": "none", "held": [], "shifts": []}]}'):
        other.write_text(content)
        with pytest.raises(CommandError, match="has no coverage"):
            report(results, tmp_path / "out", other)


def test_a_file_that_cannot_be_read_is_named(results: Path, tmp_path: Path) -> None:
    """The study as the coverage, in words."""
    nowhere = tmp_path / "nope.json"
    for known, coverage in ((nowhere, None), (results, nowhere)):
        with pytest.raises(CommandError, match=f"^cannot read {nowhere}: No such file or directory$"):
            report(known, tmp_path / "out", coverage)
    with pytest.raises(CommandError, match=f"^cannot read {tmp_path}: Is a directory$"):
        report(tmp_path, tmp_path / "out", None)


def test_a_place_that_cannot_be_written_is_named(results: Path, tmp_path: Path) -> None:
    """A file is said to be none at once, not after everything is drawn."""
    photo = tmp_path / "photo.jpg"
    photo.touch()
    with pytest.raises(CommandError, match=f"^{photo} is no folder$"):
        report(results, photo, None)
    with pytest.raises(CommandError, match=f"^cannot write {photo / 'out'}: Not a directory$"):
        report(results, photo / "out", None)


def test_without_matplotlib_it_says_what_to_install(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serving does without it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CommandError, match=r"pip install 'effserve\[build\]'"):
        report(results, tmp_path / "out", None)
