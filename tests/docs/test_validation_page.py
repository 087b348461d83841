"""Tables of the validation, from a file of results. All figures here are made up."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.machine import Machine, Others
from benchmarks.realtime import page, validation
from benchmarks.realtime.compare import Comparison, Figures
from benchmarks.realtime.plan import Setting
from benchmarks.realtime.validation import Around, Service, Validation
from benchmarks.stats import Spread
from docs import generate

RESULTS = "benchmarks/results/realtime-made-up.json"
SPREAD = Spread(100, 0.1, 0.2, 0.5, 1.0, 2.0)
REAL = Figures(0.991, 0.801, 0.993, 0.001, 0.02, {"b0": 0.6, "b2": 0.4, "b4": 0.0})
SIMULATED = replace(REAL, attainment=0.9935, accuracy=0.8001)
COMPARISON = Comparison(
    run="k1-poisson", requests=2300, real=REAL, simulated=SIMULATED, attainment_range=(0.99, 0.995),
    accuracy_range=(0.799, 0.802), attainment_apart=-0.0025, accuracy_apart=0.0009, for_server_apart=0.0,
    lag_p99_s=0.0012, lost=0, valid=True, accepted=True,
)  # fmt: skip


def made_up() -> Validation:
    """One run that is accepted, one that is not, one that does not count."""
    far = replace(COMPARISON, run="k1-gamma4", attainment_apart=-0.006, accepted=False)
    late = replace(COMPARISON, run="b0-poisson", lag_p99_s=0.003, valid=False, accepted=False)
    return Validation(
        machine=Machine("a processor", 2, 16.0, "3.11.7", "1.32.0", "abc1234", "2026-01-02T03:04:05+00:00", 0.1),
        setting=Setting(),
        others=(Others("k1-poisson", 70.0, 0.01),),
        stop_ms=2.2,
        service=(Service("b0", 2000, 2100, 21.0, 22.0, 22.11), Service("b4", 100, 0, 150.0, None, None)),
        around=(Around("receive", SPREAD, SPREAD), Around("dispatch", SPREAD, None)),
        punctual=True,
        client_cpu={"recording": 0.03, "k1-poisson": 0.02, "k1-gamma4": 0.02, "b0-poisson": 0.02},
        comparisons=(COMPARISON, far, late),
        accepted=False,
    )


def table(title: str) -> list[list[str]]:
    """Its rows."""
    return next([list(row) for row in one.rows] for one in page.tables(made_up()) if one.title == title)


def test_a_file_of_results_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every section."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps(asdict(made_up())))
    assert validation.read(path) == made_up()


def test_differences_stand_beside_both_sides_with_a_verdict() -> None:
    """In points, with what chance alone does."""
    accepted, far, late = table("Real and simulated")
    assert accepted == [
        "k1-poisson", "2300", "99.10", "99.35", "99.00 to 99.50", "−0.25", "80.10", "80.01", "79.90 to 80.20", "+0.09",
        "accepted",
    ]  # fmt: skip
    assert (far[-1], late[-1]) == ("not accepted", "invalid")


def test_what_happened_is_told_of_both_sides() -> None:
    """Variants that answered nothing are left out; the loader is the real side's."""
    measured, played = table("What happened")[:2]
    assert measured == ["k1-poisson", "real", "99.30", "0.10", "2.00", "b0 60.0%, b2 40.0%", "1.20", "2.0%"]
    assert played[-2:] == ["", ""]


def test_a_variant_without_runs_has_no_mean() -> None:
    """And no ratio."""
    assert table("Service times") == [
        ["b0", "2000", "21.00", "2100", "22.00", "22.11", "1.005"],
        ["b4", "100", "150.0", "0", "–", "–", "–"],
    ]


def test_what_answers_do_not_tell_is_empty() -> None:
    """Dispatching is known from recordings alone."""
    assert table("Around a run")[1] == ["dispatch", "0.50", "1.00", "2.00", "–", "–", "–"]


def test_the_page_has_the_tables_that_it_names(tmp_path: Path) -> None:
    """Made by the same command as the other pages."""
    folder = tmp_path / "docs"
    folder.mkdir()
    path = tmp_path / RESULTS
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(made_up())))
    text = f"# V\n\n<!-- figures of {RESULTS}: Real and simulated, Machine -->\n<!-- end of figures -->\n"
    (folder / "validation.md").write_text(text)
    assert generate.main([], folder) == 0
    assert "| k1-gamma4 | 2300 |" in (folder / "validation.md").read_text()
    assert generate.main(["--check"], folder) == 0


@pytest.mark.parametrize("value", [-0.00001, 0.0])
def test_no_difference_has_no_sign_of_its_own(value: float) -> None:
    """Neither −0.00 nor a sign that depends on the last digit."""
    found = page.tables(replace(made_up(), comparisons=(replace(COMPARISON, attainment_apart=value),)))[0]
    assert found.rows[0][5] == "+0.00"
