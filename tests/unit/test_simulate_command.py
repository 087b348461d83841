"""`effserve simulate`: traces and files, stores and published figures, what it prints and what it refuses."""

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from service import cli
from service.commands.console import CommandError
from service.commands.simulate import ALL, Asked, simulate
from service.core import baselines
from service.simulation.score import Report
from tests.fixtures import tiny_store

SMALL = Asked("poisson", ["k1"], lanes=2, requests=60)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Calibrations are short, and kept for one test."""
    monkeypatch.setenv("EFFSERVE_LANES_COUNT", "1")
    monkeypatch.setenv("EFFSERVE_CALIBRATION_SECONDS_PER_VARIANT", "0.01")
    monkeypatch.setenv("EFFSERVE_CALIBRATION_DIR", str(tmp_path / "measured"))


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


@pytest.fixture(name="trace")
def _trace(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("arrival_s,budget_ms\n" + "".join(f"{n / 20},{100 + n % 2 * 100}\n" for n in range(40)))
    return path


def report(asked: Asked, capsys: pytest.CaptureFixture[str]) -> Report:
    """The JSON document as a report."""
    simulate(asked, as_json=True)
    return TypeAdapter(Report).validate_json(capsys.readouterr().out)


def repeatable(found: Report) -> dict[str, Any]:
    """Without processor times, which are those of the machine."""
    document = asdict(found)
    for policy in document["policies"]:
        del policy["event_us_p50"], policy["event_us_p99"]
    return document


def test_json_is_the_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    """One document on standard output; progress stands elsewhere."""
    simulate(replace(SMALL, policies=["k1,greedy", "static:b0"]), as_json=True)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert [policy["policy"] for policy in document["policies"]] == ["k1", "greedy", "static:b0"]
    assert {"trace", "requests", "seed", "load", "lanes", "times", "variants", "bound", "policies"} <= set(document)
    assert (document["trace"], document["requests"], document["lanes"]) == ("poisson", 60, 2)
    assert document["load"] == pytest.approx(0.5)
    for policy in document["policies"]:
        assert policy["attainment"]["low"] <= policy["attainment"]["value"] <= policy["attainment"]["high"]
        assert policy["effective_accuracy"] <= document["bound"]
    assert document["policies"][2]["variants"]["b0"] == 1.0
    assert "simulating [4/4] bound" in printed.err


def test_tables_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each policy, budgets beside each other, and whose figures these are."""
    simulate(replace(SMALL, policies=["k1", "k1-no-termination"], budgets="50:1,400:1"))
    shown = capsys.readouterr().out
    assert shown.startswith("poisson: 60 requests in ")
    assert re.search(r"^k1 +\d+\.\d\d \(\d+\.\d\d–\d+\.\d\d\) +\d+\.\d\d", shown, re.MULTILINE)
    assert re.search(r"^policy +50 ms +400 ms$", shown, re.MULTILINE)
    assert re.search(r"^k1-no-termination +\d+\.\d\d / \d+\.\d\d +\d+\.\d\d / \d+\.\d\d$", shown, re.MULTILINE)
    assert "published medians, Proteus" in shown
    assert "no scheduler could have more than" in shown


def test_the_same_seed_gives_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Another seed, others."""
    one, again = (repeatable(report(SMALL, capsys)) for _ in range(2))
    assert one == again
    assert repeatable(report(replace(SMALL, seed=1), capsys)) != one


def test_all_policies_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each one there is, those of one variant for each variant."""
    runs = tmp_path / "runs.json"
    runs.write_text('{"b0": {"1": [0.01]}, "b7": {"1": [0.1]}}')
    found = report(replace(SMALL, policies=[ALL], times=str(runs), requests=20), capsys)
    names = [score.policy for score in found.policies]
    assert {"static:b0", "static:b7"} <= set(names)
    assert {name.partition(":")[0] for name in names} == set(baselines.NAMES)


def test_a_policy_takes_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    """With so much in reserve, nothing but the cheapest is ever chosen while anybody may come."""
    found = report(replace(SMALL, parameters=["arrival_reserve=1000"], load=0.9, requests=200), capsys)
    assert found.policies[0].variants["b0"] > 0.9


def test_a_parameter_is_for_those_policies_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are played as they are."""
    both = report(replace(SMALL, policies=["slackfit,k1"], parameters=["buckets=1"], load=0.1), capsys)
    alone = report(replace(SMALL, load=0.1), capsys)
    usual = report(replace(SMALL, policies=["slackfit"], load=0.1), capsys)
    assert both.policies[1].variants == alone.policies[0].variants
    assert both.policies[0].variants != usual.policies[0].variants


def test_a_file_is_played_as_it_is(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its times, budgets and name; a load stretches it, a number of requests cuts it."""
    found = report(replace(SMALL, trace=str(trace), requests=None), capsys)
    assert (found.trace, found.requests, found.seconds) == ("mine.csv", 40, 1.95)
    assert [budget.budget_ms for budget in found.policies[0].budgets] == [100.0, 200.0]
    found = report(replace(SMALL, trace=str(trace), requests=20, load=0.4, budgets="300"), capsys)
    assert (found.requests, found.load) == pytest.approx((20, 0.4))
    assert [budget.budget_ms for budget in found.policies[0].budgets] == [300.0]


def test_measured_runs_replace_published_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the accuracies that are published for the names."""
    runs = tmp_path / "runs.json"
    runs.write_text('{"b0": {"1": [0.01, 0.011]}, "b2": {"1": [0.02]}}')
    found = report(replace(SMALL, times=str(runs)), capsys)
    assert [(variant.name, variant.top1) for variant in found.variants] == [("b0", 0.771), ("b2", 0.801)]
    assert "measured runs of runs.json" in found.times
    found = report(replace(SMALL, times="ramsis"), capsys)
    assert len(found.variants) == 8


def test_a_store_gives_accuracies_and_costs(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured when they are needed first, as a server would; known afterwards, with decoding."""
    simulate(replace(SMALL, store=store), as_json=True)
    first = capsys.readouterr()
    assert "measuring b1" in first.err
    monkeypatch.setattr("service.preparing.prepare", None)
    found = report(replace(SMALL, store=store), capsys)
    assert json.loads(first.out)["variants"] == [asdict(variant) for variant in found.variants]
    assert [(variant.name, variant.top1) for variant in found.variants] == [("b0", 0.771), ("b1", 0.791)]
    assert "calibration of this machine with 1 lanes busy" in found.times
    found = report(replace(SMALL, store=store, times="proteus"), capsys)
    assert found.variants[0].service_ms == pytest.approx(26.5, rel=0.1)


def test_untrained_variants_are_played_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a server would route to them."""
    untrained = replace(SMALL, store=tiny_store(tmp_path / "seeded", trained=False))
    with pytest.raises(CommandError, match="--route-untrained"):
        simulate(untrained)
    found = report(replace(untrained, route_untrained=True), capsys)
    assert len(found.variants) == 2
    with pytest.raises(CommandError, match="a budget can choose none; try --route-untrained"):
        simulate(untrained)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trace": "nowhere.csv"}, r"nowhere\.csv is neither a file nor one of gamma4, gamma8, poisson, ramp, step"),
        ({"times": "quick"}, r"quick is neither a file nor one of proteus, ramsis"),
        ({"policies": ["best"]}, r"no policy 'best'; there are k1, "),
        ({"policies": ["static:b9"]}, r"no variant 'b9' is served; there are b0"),
        ({"policies": [","]}, r"name a policy, or `all`"),
        ({"parameters": ["utilisation"]}, r"--set takes NAME=NUMBER, not utilisation"),
        ({"parameters": ["zeal=1"]}, r"k1: no parameter 'zeal'; there are utilisation, "),
        ({"policies": ["slackfit"], "parameters": ["buckets=0"]}, r"slackfit: buckets is a number from 1 on, not 0"),
        ({"policies": ["k1,slackfit"], "parameters": ["zeal=1"]}, r"^k1, slackfit: no parameter 'zeal'; .*buckets"),
        ({"parameters": ["insures=7"]}, r"k1: insures is 0 for no or 1 for yes, not 7"),
        ({"policies": ["slackfit"], "parameters": ["buckets=2.5"]}, r"slackfit: buckets is a whole number, not 2\.5"),
        ({"route_untrained": True}, r"--route-untrained goes with --store"),
        ({"load": math.nan}, r"a load is a number above 0, not nan"),
        ({"budgets": "fast"}, r"budgets are given as MS:WEIGHT"),
        ({"store": "nothing"}, r"no variants in .*nothing; `effserve build`"),
    ],
)
def test_what_cannot_be_is_one_line(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    """It names what is wrong."""
    if "store" in changed:
        changed = {"store": tmp_path / changed["store"]}
    with pytest.raises(CommandError, match=message) as failed:
        simulate(replace(SMALL, **changed))
    assert "\n" not in str(failed.value)


def test_a_broken_setting_is_one_line(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes and calibration of a store are those of the service."""
    monkeypatch.setenv("EFFSERVE_LANES_COUNT", "none")
    with pytest.raises(CommandError, match=r"lanes\.count: "):
        simulate(replace(SMALL, store=store))


def test_options_reach_the_simulation(store: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, from the command line."""
    words = ["simulate", "--trace", trace, "--policy", "k1", "--policy", "greedy", "--lanes", 3, "--load", 0.3]
    words += [
        "--budgets",
        "50:.5,100:.5",
        "--requests",
        30,
        "--seed",
        5,
        "--store",
        store,
        "--route-untrained",
        "--json",
    ]
    ended = CliRunner().invoke(cli.app, [*map(str, words), "--set", "patience_s=1", "--times", "proteus"])
    assert ended.exit_code == 0, ended.output
    found = TypeAdapter(Report).validate_json(capsys.readouterr().out or ended.stdout)
    assert (found.trace, found.requests, found.lanes, found.seed) == ("mine.csv", 30, 3, 5)
    assert found.load == pytest.approx(0.3)
    assert [policy.policy for policy in found.policies] == ["k1", "greedy"]
