"""Tables of pages about measurements come from the file of results that a page names. All figures here are made up."""

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.g16 import page
from benchmarks.g16.study import (
    Accuracy,
    Arm,
    Latency,
    Setting,
    Step,
    Study,
    Throughput,
    Trained,
    arms,
)
from benchmarks.machine import Machine, Others
from benchmarks.stats import Spread
from service.evaluation.results import Share

GENERATE = Path(__file__).resolve().parents[2] / "docs" / "generate.py"
RESULTS = "benchmarks/results/g16-made-up.json"
NETWORKS = ("b0", "b0-g16-gn", "b0-g16")
FIRST, FAST = Arm("b0", "native"), Arm("b0-g16", "reduced")
PAGE = f"""\
# G16

Written by hand.

<!-- figures of {RESULTS}: Accuracy -->
<!-- end of figures -->

Between.

<!-- figures of {RESULTS}: Latency, Machine -->
stale
<!-- end of figures -->

After.
"""


def spread(value: float) -> Spread:
    """Around a median."""
    return Spread(7, 0.8 * value, 0.9 * value, value, 1.1 * value, 1.2 * value)


def accuracy(arm: Arm) -> Accuracy:
    """75 % for the first arm, 77 % for all others."""
    top1 = 0.75 if arm == FIRST else 0.77
    apart = Share(top1 - 0.75, top1 - 0.75 - 0.015, top1 - 0.75 + 0.015)
    return Accuracy(arm, 800, Share(top1, top1 - 0.03, top1 + 0.03), top1 - 0.01, top1 + 0.01, apart)


def made_up() -> Study:
    """Twice as fast to train reduced, 1.6 times as slow to run."""
    every = tuple(arms(NETWORKS))
    return Study(
        machine=Machine("a processor", 2, 16.0, "3.11.7", "1.32.0", "abc1234", "2026-01-02T03:04:05+00:00", 0.1),
        setting=Setting(
            networks=NETWORKS, data="few-train", images=16_000, data_sha256="0123456789abcdef" * 4,
            validation="few-val", validation_images=800, classes=32, seeds=(0, 1), epochs=5, fine_tune_epochs=2,
            size_px=96, reduced_px=64, threads=1, device="cpu", torch="2.0", recipe={"batch_size": 64, "start": None},
        ),
        others=(Others("accuracy", 10.0, 0.01),),
        trained=tuple(Trained(arm, 0, accuracy(arm).top1, 1.0, "abc1234") for arm in every),
        accuracy=tuple(accuracy(arm) for arm in every),
        steps=(Step("b0", "train", 96, spread(30.0)),),
        throughput=tuple(
            Throughput(arm, spread(30.0), spread(2.0 if arm.regime == "reduced" else 1.0)) for arm in every
        ),
        latency=tuple(
            Latency(name, 96, 32, 5_000_000, 0.0712, spread(3.0), spread(1.0 if name == "b0" else 1.6))
            for name in NETWORKS
        ),
    )  # fmt: skip


def table(title: str, study: Study | None = None) -> list[list[str]]:
    """Its rows."""
    return next([list(row) for row in one.rows] for one in page.tables(study or made_up()) if one.title == title)


@pytest.fixture
def generate() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("generate_docs", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def docs(generate: ModuleType, tmp_path: Path) -> Path:
    """A checkout's `docs/` with the generated pages and the page of the study, beside its results."""
    (tmp_path / "docs").mkdir()
    write(tmp_path, made_up())
    (tmp_path / "docs" / "g16.md").write_text(PAGE)
    assert generate.main([], tmp_path / "docs") == 0
    return tmp_path / "docs"


def write(root: Path, study: Study) -> None:
    """The file of results."""
    path = root / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(study)))


def test_tables_stand_between_the_markers(docs: Path) -> None:
    """Those that a marker names, in place of what stood there."""
    first, second = (docs / "g16.md").read_text().split("Between.")
    assert "| G1, batch norm | 96 | 75.0% | 72.0% to 78.0% |" in first
    assert "| G16, Proxy Norm | 96 | 0.071 |" in second
    assert "| cpu | a processor |" in second
    assert "stale" not in second


def test_what_is_written_by_hand_stays(docs: Path) -> None:
    """Before, between and after, and the markers themselves."""
    text = (docs / "g16.md").read_text()
    assert all(line in text.splitlines() for line in PAGE.splitlines() if line != "stale")


def test_results_that_changed_make_the_page_stale(
    generate: ModuleType, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` names it; writing anew mends it."""
    assert generate.main(["--check"], docs) == 0
    others = (Others("accuracy", 10.0, 0.5),)
    study = made_up()
    write(docs.parent, replace(study, others=others, machine=replace(study.machine, cpu="another processor")))
    assert generate.main(["--check"], docs) == 1
    assert capsys.readouterr().err.startswith("g16.md in docs/ ")
    assert generate.main([], docs) == 0
    assert "another processor" in (docs / "g16.md").read_text()


def test_without_the_page_nothing_is_missing(generate: ModuleType, docs: Path) -> None:
    """It is written by hand, once there are results."""
    (docs / "g16.md").unlink()
    assert generate.main(["--check"], docs) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# No marker\n", "marker"),
        (PAGE + f"<!-- figures of {RESULTS} -->\n", "marker"),
        (PAGE.replace(": Accuracy", ": Taste"), "no tables Taste"),
    ],
)
def test_a_page_that_names_no_figures_is_an_error(generate: ModuleType, docs: Path, text: str, reason: str) -> None:
    """Rather than a page that is never filled."""
    (docs / "g16.md").write_text(text)
    with pytest.raises(ValueError, match=reason):
        generate.main(["--check"], docs)


# The tables.


def test_accuracy_is_beside_its_intervals() -> None:
    """Share, interval, range over the seeds; difference in points, but not of the first arm."""
    rows = table("Accuracy")
    assert rows[0] == ["G1, batch norm", "96", "75.0%", "72.0% to 78.0%", "74.0% to 76.0%", "", ""]
    assert rows[-1] == [
        "G16, Proxy Norm", "64, then 96", "77.0%", "74.0% to 80.0%", "76.0% to 78.0%", "+2.0", "+0.5 to +3.5",
    ]  # fmt: skip


def test_one_seed_has_no_range() -> None:
    """The column stays empty."""
    study = made_up()
    alone = replace(study, setting=replace(study.setting, seeds=(0,)))
    assert {row[4] for row in table("Accuracy", alone)} == {""}


def test_training_is_beside_what_was_published() -> None:
    """By images per second against the first arm: 43,230 to 26,350 on an IPU."""
    rows = {(row[0], row[1]): row for row in table("Training")}
    fast, unpublished = rows["G16, Proxy Norm", "64, then 96"], rows["G1, batch norm", "64, then 96"]
    assert (fast[4], fast[6]) == ("2.00", "1.64")
    assert unpublished[6] == ""


def test_claims_are_beside_what_was_measured() -> None:
    """Speed as times as fast, where a latency 1.6 times as long is 0.62; accuracy in points."""
    rows = {row[0]: row[1:] for row in table("Beside what was published")}
    assert rows["times as fast to train: G16, Proxy Norm, reduced, against the first"] == [
        "7, to equal accuracy at B5", "2.00",
    ]  # fmt: skip
    assert rows["times as fast to run: G16, Proxy Norm at 96 pixels"] == ["3.6", "0.62"]
    assert rows["points of top-1: G16, Proxy Norm, reduced, against the first"] == ["−0.8", "+2.0 (+0.5 to +3.5)"]


def test_the_recipe_is_there() -> None:
    """Without what is not set."""
    rows = dict(table("Recipe of all arms"))
    assert rows["recipe"] == "batch_size 64"
    assert rows["trained on"] == "few-train: 16,000 images (SHA-256 `0123456789abcdef…`)"
