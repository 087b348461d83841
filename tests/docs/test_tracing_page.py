"""docs/tracing.md says what a traced server does: its commands are played, its spans and attributes compared."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.core.errors import ErrorKind
from service.core.trace import Attempt, Ending
from service.telemetry import attributes
from service.telemetry.stages import Stage
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving
from tests.integration.test_tracing import Collector, collecting
from tests.unit.telemetry.events import answered, failed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
(CURL,) = (text for kind, text in BLOCKS if kind == "sh" and text.startswith("curl"))
(RESPONSE, PLAIN, *OTHERS) = (text for kind, text in BLOCKS if kind == "text")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
NAMES = {"classify", "receive", "queue", "decode", "infer", "hold", "respond", "run"}


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[tuple[Server, Collector]]:
    """As the page switches it on; a photo lies beside."""
    (switch,) = re.findall(r"(EFFSERVE_TRACING_\w+)=http://localhost:4317 make run", PAGE)
    (tmp_path / "photo.jpg").write_bytes(jpeg(160, 120))
    with (
        collecting() as (collector, endpoint),
        serving(tiny_store(tmp_path / "store"), tmp_path, {switch: endpoint}) as server,
    ):
        yield server, collector


def names(tree: str) -> list[str]:
    """First words of a rendered tree."""
    return [line.split()[0] for line in tree.splitlines()]


def test_the_example_is_answered_and_traced_as_shown(traced: tuple[Server, Collector], tmp_path: Path) -> None:
    """The response has the headers that the page shows; the spans are those of its first tree."""
    server, collector = traced
    command = CURL.replace("localhost:8000", f"127.0.0.1:{server.http_port}")
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    head = done.stdout.partition("\r\n\r\n")[0]
    for line in RESPONSE.splitlines():
        assert re.search(re.sub(r"[0-9a-f]{16}-01$|[0-9a-f]{32}$", "[0-9a-f]+(-01)?", line), head), line
    server.stop()
    assert [span.name for span in sorted(collector.spans, key=_order)] == names(PLAIN)


def test_trees_of_the_page_have_no_other_spans() -> None:
    """And each kind of span is shown."""
    assert {name for tree in (PLAIN, *OTHERS) for name in names(tree)} == NAMES


def test_the_table_has_every_attribute() -> None:
    """Those of an answer that has everything, of a failure, and of stages."""
    answer = answered(terminated="b4", alone="b4")
    together = replace(answer, answer=replace(answer.answer, members=("b0", "b4")))
    failure = replace(failed(ErrorKind.INTERNAL, budget_s=0.1, cause=ValueError()), variant="b0")
    run = Attempt(answer.answer.decision, False, Ending.TERMINATED, 0.0, 1.0)
    said = attributes.of_answer(together).keys() | attributes.of_failure(failure).keys()
    said |= attributes.of_stage(Stage("run", 0.0, 1.0, run)).keys()
    table = PAGE.partition("## Attributes")[2].partition("## What")[0]
    assert set(re.findall(r"`((?:effserve|network|error|exception)\.[a-z0-9_.]+)`", table)) == said


def test_every_ending_is_explained() -> None:
    """But for that of a run with a result, which is no `run`."""
    explained = re.search(r"`effserve.ending` \| (.*)", PAGE)
    assert explained is not None
    assert set(re.findall(r"`(\w+)`", explained[1])) == {*Ending} - {Ending.ANSWERED}


def _order(span: Span) -> tuple[int, int]:
    return span.start_time_unix_nano, -span.end_time_unix_nano
