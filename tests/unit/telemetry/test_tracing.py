"""Spans that events leave: their tree, times, attributes; whose trace they join; what a bad collector costs."""

import io
import itertools
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from service import telemetry
from service.app import run
from service.core.errors import ErrorKind
from service.core.events import Event, LifecycleChanged
from service.core.trace import Attempt, Ending
from service.core.values import Decision, Reason
from service.settings import load
from service.startup import StartupError
from service.telemetry.logs import configure
from service.telemetry.tracing import WAITING_SPANS, Tracing, to_collector
from tests.builders import variant
from tests.unit.telemetry.events import SPAN_ID, TIMING, TRACE_ID, answered, failed, journey

PARENT_ID = "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
PATIENCE_S = 60.0
MIDNIGHT_NS = 1_700_000_000_000_000_000
"""The time of day when the clock of the process read 1000 s."""


class Collector(SpanExporter):
    """Takes nothing until it is told to; `taken` ends what waits for it."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.result = result
        self.asked, self.taken = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait, then answer."""
        self.asked.set()
        self.taken.wait(PATIENCE_S)
        return self.result

    def shutdown(self) -> None:
        """As the real one: what is being sent is given up."""
        self.result = SpanExportResult.FAILURE
        self.taken.set()


def made(exporter: SpanExporter, **options: float) -> Tracing:
    """On a clock that stands still."""
    return Tracing(exporter, clock=lambda: 1000.0, wall_ns=lambda: MIDNIGHT_NS, **options)


def spans(*events: Event) -> list[ReadableSpan]:
    """What events leave, once everything is sent."""
    exporter = InMemorySpanExporter()
    subject = made(exporter)
    for event in events:
        subject.observe(event)
    subject.close(PATIENCE_S)
    return list(exporter.get_finished_spans())


def tree(event: Event) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The request's span and those below it, in order."""
    root, *below = spans(event)
    assert all(span.parent == root.context for span in below)
    assert {format_trace_id(span.context.trace_id) for span in (root, *below)} == {TRACE_ID}
    assert len({span.context.span_id for span in (root, *below)}) == 1 + len(below)
    return root, below


def decision(name: str, reason: Reason = Reason.MOST_ACCURATE_THAT_FITS) -> Decision:
    """As policies make them."""
    return Decision(variant(name), reason, 1.0, 0.09, 0.02, 0.03, True)


def ran(name: str, start_s: float, end_s: float, ending: Ending = Ending.ANSWERED, **more: object) -> Attempt:
    """A run of a request whose first byte came at 1 s, 4 ms of it decoding."""
    reason = Reason.UPGRADES if more.get("upgrade") else Reason.MOST_ACCURATE_THAT_FITS
    upgrade = bool(more.get("upgrade"))
    return Attempt(decision(name, reason), upgrade, ending, 1 + start_s, 1 + end_s, 0.004)


def times_ms(span: ReadableSpan) -> tuple[float, float]:
    """Start and end after the first byte of the request."""
    began_ns = MIDNIGHT_NS - 999_000_000_000
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - began_ns) / 1e6, (span.end_time - began_ns) / 1e6


def told(span: ReadableSpan) -> dict[str, object]:
    """Its attributes, ours without their prefix."""
    return {name.removeprefix("effserve."): value for name, value in (span.attributes or {}).items()}


ANSWERED = ran("b0", 0.003, 0.023)


def test_an_answer_is_one_span_with_its_stages_below() -> None:
    """Each stage begins where the last one ended; the first and the last begin and end with the request."""
    root, below = tree(answered(timing=TIMING, journey=journey(ANSWERED)))
    assert (root.name, root.kind, root.parent) == ("classify", SpanKind.SERVER, None)
    assert format_span_id(root.context.span_id) == SPAN_ID
    assert {span.name: times_ms(span) for span in (root, *below)} == {
        "classify": pytest.approx((0, 24)),
        "receive": pytest.approx((0, 1)),
        "queue": pytest.approx((1, 3)),
        "decode": pytest.approx((3, 7)),
        "infer": pytest.approx((7, 23)),
        "respond": pytest.approx((23, 24)),
    }


def test_times_are_times_of_day() -> None:
    """Whatever the clock of the process counts from."""
    root, _ = tree(answered(journey=journey(ANSWERED, started_s=999.0)))
    assert root.start_time == MIDNIGHT_NS - 1_000_000_000


def test_the_decision_stands_in_the_attributes() -> None:
    """What the client was told, and what would have answered alone."""
    root, below = tree(answered("b0", met=False, terminated="b4", alone="b2", journey=journey(ANSWERED)))
    assert told(root) == {
        "request_id": "id-1", "network.protocol.name": "http", "variant": "b0", "version": 1, "trained": True,
        "accuracy_source": "measured", "expected_top1": 0.771, "reason": "most_accurate_that_fits", "budget_ms": 100,
        "remaining_ms": 90, "expected_ms": 20, "tail_ms": 30, "fits": False, "met": False, "terminated": "b4",
        "alone": "b2", "image.format": "JPEG", "image.width_px": 640, "image.height_px": 480, "image.bytes": 5000,
    }  # fmt: skip
    run = {"variant": "b0", "background": False}
    reason = {"reason": "most_accurate_that_fits"}
    assert [told(span) for span in below] == [{}, {}, run, run | reason, {}]


def test_what_is_not_known_is_not_said() -> None:
    """Nothing was terminated, nothing would have fitted, nobody knows the accuracy."""
    event = answered(alone=None, journey=journey(ANSWERED))
    unknown = replace(event.answer.decision, variant=replace(event.answer.decision.variant, rank_top1=None))
    root, _ = tree(replace(event, answer=replace(event.answer, decision=unknown)))
    assert {"terminated", "alone", "expected_top1"}.isdisjoint(told(root))


def test_a_cascade_names_its_members() -> None:
    """Those that answered together."""
    event = answered("b4", journey=journey(ANSWERED))
    root, _ = tree(replace(event, answer=replace(event.answer, members=("b0", "b4"))))
    assert told(root)["members"] == ("b0", "b4")


def test_a_terminated_run_lies_over_the_wait_that_it_ended_in() -> None:
    """It cost the request no time of its own, but a lane did work for it."""
    timing = replace(TIMING, queue_s=0.032)
    before = ran("b4", 0.002, 0.030, Ending.TERMINATED)
    _, below = tree(answered(timing=timing, terminated="b4", journey=journey(before, ran("b0", 0.033, 0.053))))
    assert [span.name for span in below] == ["receive", "queue", "decode", "infer", "respond", "run"]
    assert times_ms(below[1]) == pytest.approx((1, 33))
    assert times_ms(below[-1]) == pytest.approx((2, 30))
    expected = {"variant": "b4", "background": False, "reason": "most_accurate_that_fits", "ending": "terminated"}
    assert told(below[-1]) == expected


def test_an_upgrade_follows_the_answer_that_was_kept_for_it() -> None:
    """Between the two the first answer is held; all stages add up to the whole."""
    timing = replace(TIMING, queue_s=0.026, inference_s=0.060)
    event = answered("b3", timing=timing, journey=journey(ANSWERED, ran("b3", 0.027, 0.091, upgrade=True)))
    root, below = tree(event)
    names = ["receive", "queue", "decode", "infer", "hold", "decode", "infer", "respond"]
    assert [span.name for span in below] == names
    ends = [times_ms(span) for span in below]
    assert [start for start, _ in ends[1:]] == pytest.approx([end for _, end in ends[:-1]])
    assert sum(end - start for start, end in ends) == pytest.approx(times_ms(root)[1])
    assert [told(span).get("background") for span in below] == [None, None, False, False, None, True, True, None]


def test_an_upgrade_in_vain_lies_over_the_hold() -> None:
    """The first answer was held for it until there was no more time."""
    timing = replace(TIMING, hold_s=0.050)
    in_vain = ran("b3", 0.023, 0.073, Ending.GIVEN_UP, upgrade=True)
    _, below = tree(answered(timing=timing, journey=journey(ANSWERED, in_vain)))
    assert [span.name for span in below] == ["receive", "queue", "decode", "infer", "hold", "respond", "run"]
    assert times_ms(below[4]) == times_ms(below[6]) == pytest.approx((23, 73))
    assert told(below[6])["ending"] == "given_up"


def test_a_failure_is_a_span_with_its_kind() -> None:
    """Status, kind and what was run for it before."""
    root, below = tree(
        failed(ErrorKind.CANCELLED, budget_s=0.05, journey=journey(ran("b0", 0.001, 0.003, Ending.GIVEN_UP)))
    )
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, "cancelled: it does not work")
    assert told(root) == {
        "request_id": "id-2", "network.protocol.name": "http", "error.type": "cancelled", "budget_ms": 50,
    }  # fmt: skip
    assert times_ms(root) == pytest.approx((0, 3))
    assert {span.name: times_ms(span) for span in below} == {"run": pytest.approx((1, 3))}


def test_a_failure_after_an_answer_in_hand_shows_its_run() -> None:
    """A client who left while something better was tried."""
    _, below = tree(failed(ErrorKind.CANCELLED, journey=journey(ANSWERED)))
    assert [span.name for span in below] == ["decode", "infer"]


def test_a_fault_of_ours_names_the_exception() -> None:
    """The log has the traceback under the same trace; and who asked for a variant is told which."""
    event = failed(ErrorKind.INTERNAL, cause=ZeroDivisionError("division by zero"), journey=journey())
    root, below = tree(replace(event, variant="b" * 100))
    assert told(root)["exception.type"] == "ZeroDivisionError"
    assert told(root)["asked_variant"] == "b" * 64
    assert below == []


def test_what_is_no_request_or_not_recorded_leaves_nothing() -> None:
    """Changes of the service, untraced requests, and traces that somebody chose not to record."""
    of = journey(sampled=False)
    unrecorded: list[Event] = [answered(journey=of), failed(ErrorKind.QUEUE_FULL, journey=of)]
    assert spans(LifecycleChanged("ready"), answered(), failed(ErrorKind.INTERNAL), *unrecorded) == []


def test_the_callers_span_is_the_parent() -> None:
    """In its trace, and with what other systems passed along."""
    of = replace(journey(), trace=replace(journey(parent_id=PARENT_ID).trace, state="vendor=opaque"))
    root, *_ = spans(answered(journey=of))
    assert root.parent is not None
    assert (format_span_id(root.parent.span_id), root.parent.is_remote) == (PARENT_ID, True)
    assert root.context.trace_state.to_header() == "vendor=opaque"


@pytest.fixture
def subject() -> Iterator[Tracing]:
    """Records everything."""
    with closing(made(InMemorySpanExporter())) as recording:
        yield recording


@contextmanager
def closing(subject: Tracing) -> Iterator[Tracing]:
    """Ends its thread."""
    yield subject
    subject.close(PATIENCE_S)


def test_a_request_joins_its_callers_trace(subject: Tracing) -> None:
    """With a span of its own below the caller's."""
    found = subject.begin(PARENT, "vendor=opaque")
    assert found is not None
    assert (found.trace_id, found.parent_id, found.sampled, found.state) == (
        TRACE_ID, PARENT_ID, True, "vendor=opaque",
    )  # fmt: skip
    assert found.span_id not in (PARENT_ID, "0" * 16)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "00",
        "nonsense",
        PARENT.upper(),
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"{PARENT}-more",
        PARENT + "0" * 600,
    ],
)
def test_what_is_no_context_begins_a_trace(subject: Tracing, sent: str | None) -> None:
    """No error: the request is answered like any other."""
    found, other = subject.begin(sent, None), subject.begin(sent, "=,=")
    assert found is not None
    assert other is not None
    assert (found.parent_id, found.sampled) == (None, True)
    assert len({found.trace_id, other.trace_id, TRACE_ID}) == 3


def test_the_ratio_decides_for_traces_that_begin_here() -> None:
    """Half of them, or none; a caller's own decision stands either way."""
    unrecorded = PARENT.removesuffix("01") + "00"
    for ratio, least, most in ((0.0, 0, 0), (0.5, 400, 600), (1.0, 1000, 1000)):
        with closing(made(InMemorySpanExporter(), sample_ratio=ratio)) as subject:
            begun = [subject.begin(None, None) for _ in range(1000)]
            assert least <= sum(place is not None and place.sampled for place in begun) <= most
            callers = subject.begin(PARENT, None), subject.begin(unrecorded, None)
            assert [place is not None and place.sampled for place in callers] == [True, False]


def test_what_is_recorded_can_be_changed(subject: Tracing) -> None:
    """From the next request on; off is off for callers' traces, too. Each change has a line."""

    def sampled() -> list[bool]:
        begun = subject.begin(None, None), subject.begin(PARENT, None)
        return [place is not None and place.sampled for place in begun]

    found = []

    def change() -> None:
        for on, ratio in ((False, 1.0), (True, 0.0), (True, 1.0)):
            subject.record(on=on, ratio=ratio)
            found.append(sampled())

    lines = logged(change)
    assert found == [[False, False], [False, True], [True, True]]
    assert [(line["before"], line["now"]) for line in lines] == [
        ("sample ratio 1", "off"), ("off", "sample ratio 0"), ("sample ratio 0", "sample ratio 1"),
    ]  # fmt: skip


def test_the_environment_may_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is the default."""
    (ours,) = spans(failed(ErrorKind.INTERNAL, journey=journey()))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "photos")
    (named,) = spans(failed(ErrorKind.INTERNAL, journey=journey()))
    assert [span.resource.attributes["service.name"] for span in (ours, named)] == ["effserve", "photos"]


def test_what_waits_for_a_slow_collector_is_bounded() -> None:
    """Whole requests are dropped beyond it, and counted; nobody waits."""
    collector = Collector()
    subject = made(collector)
    event = answered(journey=journey(ANSWERED))
    each = 6
    for _ in range(WAITING_SPANS // each + 10):
        subject.observe(event)
    assert collector.asked.wait(PATIENCE_S)
    dropped = subject.statistics().dropped
    assert (dropped, dropped % each) == (10 * each, 0)
    collector.taken.set()
    subject.close(PATIENCE_S)
    assert subject.statistics().exported == WAITING_SPANS // each * each


def test_what_a_collector_does_not_take_is_counted() -> None:
    """And said once at the end."""
    collector = Collector(SpanExportResult.FAILURE)
    collector.taken.set()
    subject = made(collector)
    subject.observe(answered(journey=journey(ANSWERED)))
    lines = logged(lambda: subject.close(PATIENCE_S))
    assert subject.statistics().failed == 6
    assert [(line["event"], line["spans"], line["of"]) for line in lines] == [("spans lost", 6, 6)]
    assert "failed=6" in repr(subject)


def test_the_end_does_not_wait_for_a_collector_that_hangs() -> None:
    """What is being sent is given up when the time is over."""
    subject = made(Collector())
    subject.observe(answered(journey=journey(ANSWERED)))
    lines = logged(lambda: subject.close(0.05))
    assert [(line["event"], line["spans"]) for line in lines] == [("spans lost", 6)]


def test_complaints_are_few() -> None:
    """The first, then one a minute; by our log, not on standard error."""
    now_s = itertools.chain([0.0, 1.0, 59.9, 60.0, 61.0])
    subject = to_collector("http://127.0.0.1:1/", 1.0, clock=lambda: next(now_s))
    library = logging.getLogger("opentelemetry.exporter")

    def complain() -> None:
        for number in range(5):
            library.error("no collector, %d", number)
        library.warning("it is tried again")

    lines = logged(complain)
    assert [(line["event"], line["detail"]) for line in lines] == [
        ("spans not exported", "no collector, 0"), ("spans not exported", "no collector, 3"),
    ]  # fmt: skip
    subject.close(0.0)


def test_without_the_extra_the_start_ends_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is loaded."""
    monkeypatch.delattr(telemetry, "tracing")
    monkeypatch.delitem(sys.modules, "service.telemetry.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    wanted = load(overrides={"tracing": {"endpoint": "http://localhost:4317"}})
    with pytest.raises(StartupError, match=r"opentelemetry\.sdk\.trace is not installed; `pip install 'effserve\[tr"):
        run(wanted)
    structlog.reset_defaults()


def logged(work: Callable[[], None]) -> list[dict[str, object]]:
    """The JSON lines that are written meanwhile."""
    stream = io.StringIO()
    configure(level="info", json=True, stream=stream)
    try:
        work()
    finally:
        structlog.reset_defaults()
    return [json.loads(line) for line in stream.getvalue().splitlines()]
