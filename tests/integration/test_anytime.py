"""A server whose own policy insures, as a process: answers as they come, over HTTP, gRPC and the command line."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from service import cli
from service.wire import classifier_pb2, classifier_pb2_grpc
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

BUDGET_MS = 60_000
"""Enough for every variant, however busy the machine is."""
Effserve = Callable[..., tuple[str, str, int]]
"""Runs the command; what it printed on its two outputs, and its exit status."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server over two small variants."""
    folder = tmp_path_factory.mktemp("server")
    with serving(tiny_store(folder / "store"), folder, {"EFFSERVE_ROUTING_POLICY": "p2"}) as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image file."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(160, 120))
    return path


@pytest.fixture
def effserve(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Effserve:
    """`effserve … --budget-ms … --url …`, in this process."""

    def run(*words: str | Path, url: str = server.url) -> tuple[str, str, int]:
        asked = ("--budget-ms", str(BUDGET_MS), "--url", url)
        monkeypatch.setattr(sys, "argv", ["effserve", *map(str, words), *asked])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return *capsys.readouterr(), int(ended.value.code or 0)

    return run


def test_the_policy_of_the_settings_holds_on_both_protocols(server: Server) -> None:
    """A request that names none is insured."""
    over_http = httpx.get(f"{server.url}/plan?budget_ms={BUDGET_MS}", timeout=PATIENCE_S).json()["decision"]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)  # type: ignore[no-untyped-call]
        over_grpc = stub.Plan(classifier_pb2.PlanRequest(budget_ms=BUDGET_MS)).decision
    assert (over_http["variant"], over_http["reason"]) == (over_grpc.variant, over_grpc.reason) == ("b0", "insures")


def test_both_protocols_give_the_same_answers(server: Server, photo: Path) -> None:
    """The cheapest first, then the better one."""
    url = f"{server.url}/classify/anytime?budget_ms={BUDGET_MS}"
    lines = httpx.post(url, content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}, timeout=PATIENCE_S).text
    over_http = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: ")]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)  # type: ignore[no-untyped-call]
        asked = classifier_pb2.ClassifyRequest(image=photo.read_bytes(), budget_ms=BUDGET_MS)
        over_grpc = list(stub.ClassifyAnytime(asked))
    assert [(a["decision"]["variant"], a["final"]) for a in over_http] == [("b0", False), ("b1", True)]
    assert [(a.decision.variant, a.final) for a in over_grpc] == [("b0", False), ("b1", True)]
    for one, other in zip(over_http, over_grpc, strict=True):
        assert [p["probability"] for p in one["predictions"]] == pytest.approx(
            [p.probability for p in other.predictions]
        )


def test_the_command_prints_each_answer(effserve: Effserve, photo: Path) -> None:
    """One block for each, which says whether it is the last."""
    printed, _, code = effserve("classify", photo, "--anytime")
    first, last = (line for line in printed.splitlines() if line.startswith("photo.jpg"))
    assert code == 0
    assert (first.split()[1], first.endswith("so far")) == ("b0", True)
    assert (last.split()[1], last.endswith("met")) == ("b1", True)


def test_the_command_speaks_grpc_too(server: Server, effserve: Effserve, photo: Path) -> None:
    """By the address; the answers are the same."""
    over_grpc = f"grpc://127.0.0.1:{server.grpc_port}"
    printed, _, code = effserve("classify", photo, "--anytime", url=over_grpc)
    assert code == 0
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("photo.jpg")] == ["b0", "b1"]
    assert json.loads(effserve("plan", "--json", url=over_grpc)[0])["decision"]["reason"] == "insures"


def test_the_command_gives_a_list_of_answers_as_json(effserve: Effserve, photo: Path) -> None:
    """For each file; without `--anytime`, the last answer."""
    (one, two), one_only = (
        json.loads(effserve("classify", photo, *words, "--json")[0]) for words in ([photo, "--anytime"], [])
    )
    for answers in (one, two):
        assert [(a["decision"]["variant"], a["final"]) for a in answers] == [("b0", False), ("b1", True)]
    assert (one_only["decision"]["variant"], one_only["decision"]["reason"]) == ("b1", "upgrades")


def test_the_command_may_name_a_policy(effserve: Effserve, photo: Path) -> None:
    """For an image and for a plan."""
    answer = json.loads(effserve("classify", photo, "--policy", "k1", "--json")[0])
    plan = json.loads(effserve("plan", "--policy", "k1", "--json")[0])
    assert answer["decision"]["reason"] == plan["decision"]["reason"] == "most_accurate_that_fits"


def test_a_refusal_is_one_line(effserve: Effserve, photo: Path) -> None:
    """Before any answer."""
    printed, said, code = effserve("classify", photo, "--anytime", "--policy", "k1")
    assert (printed, code) == ("", 2)
    assert said.startswith("effserve: invalid-parameter: policy: k1 gives one answer")
