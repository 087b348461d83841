"""One line for each request: what it says, how it looks, and what it keeps to itself."""

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service.app import configure_logs
from service.core.errors import ErrorKind
from service.core.events import Event, LifecycleChanged, StoreUnread, VariantChanged, VariantRefused, WorkerChanged
from service.core.messages import Change, ChangeKind
from service.settings import load
from service.telemetry.logs import Logs, configure
from tests.unit.telemetry.events import SPAN_ID, TRACE_ID, answered, failed, journey, loaded

CLIENTS_FAULTS = [kind for kind in ErrorKind if kind is not ErrorKind.INTERNAL]


class Terminal(io.StringIO):
    """Standard output of someone who watches."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but the test's; structlog is given back as it was."""
    for name in list(os.environ):
        if name.startswith("EFFSERVE_"):
            monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


def written(*events: Event, json: bool = True, level: str = "debug", requests: bool = True) -> list[str]:
    """The lines that events leave."""
    stream = io.StringIO()
    configure(level=level, json=json, stream=stream)
    logs = Logs(requests=requests)
    for event in events:
        logs.observe(event)
    return stream.getvalue().splitlines()


def record(event: Event) -> dict[str, Any]:
    """The only JSON line that an event leaves."""
    (line,) = written(event)
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def broken() -> ZeroDivisionError:
    """An exception with a traceback, raised where an image is at hand."""
    image = b"pixels of a client"
    try:
        len(image) / 0
    except ZeroDivisionError as error:
        return error
    raise AssertionError


def test_an_answer_is_settled_by_its_line() -> None:
    """Request id, variant, why, budget and stages are what the answer said."""
    line = record(answered("b4", protocol="grpc", budget_s=0.05, met=False, trained=False))
    told = {
        "event": "request answered", "level": "info", "request_id": "id-1", "protocol": "grpc", "variant": "b4",
        "version": 1, "trained": False, "reason": "most_accurate_that_fits", "budget_ms": 50.0, "met": False,
        "total_ms": 24.0, "queue_ms": 2.0, "decode_ms": 4.0, "inference_ms": 16.0, "expected_ms": 20.0,
        "image_bytes": 5000,
    }  # fmt: skip
    assert {name: line[name] for name in told} == told


def test_lines_carry_the_time_in_utc() -> None:
    """ISO 8601, so that lines of several machines sort."""
    assert record(LifecycleChanged("ready"))["timestamp"].endswith("Z")


@pytest.mark.parametrize("sampled", [True, False])
def test_a_traced_request_names_its_trace_however_it_ended(sampled: bool) -> None:
    """Recorded or not: others may have recorded their part. What is not traced says nothing of it."""
    of = journey(sampled=sampled)
    for event in (answered(journey=of), failed(ErrorKind.QUEUE_FULL, journey=of)):
        line = record(event)
        assert (line["trace_id"], line["span_id"]) == (TRACE_ID, SPAN_ID)
    assert "trace_id" not in record(answered())


@pytest.mark.parametrize("kind", CLIENTS_FAULTS)
def test_a_clients_mistake_is_information_without_traceback(kind: ErrorKind) -> None:
    """Nobody is to be woken by it."""
    line = record(failed(kind, budget_s=0.05))
    told = {
        "event": "request failed", "level": "info", "request_id": "id-2", "protocol": "http", "kind": kind.value,
        "error": "it does not work", "total_ms": 3.0, "budget_ms": 50.0,
    }  # fmt: skip
    assert {name: line[name] for name in told} == told
    assert "exception" not in line


def test_a_failure_before_the_budget_was_understood_has_none() -> None:
    """Null, not the default."""
    assert record(failed(ErrorKind.INVALID_PARAMETER))["budget_ms"] is None


def test_a_fault_of_ours_is_an_error_with_its_traceback() -> None:
    """The cause stands under the request id, in the same line."""
    line = record(failed(ErrorKind.INTERNAL, cause=broken()))
    assert (line["level"], line["request_id"]) == ("error", "id-2")
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert line["exception"][0]["frames"][0]["name"] == "broken"


def test_a_fault_without_a_cause_is_logged_all_the_same() -> None:
    """No traceback, but an error."""
    assert record(failed(ErrorKind.INTERNAL))["level"] == "error"


def test_a_traceback_for_people_is_the_interpreters() -> None:
    """As every Python programmer knows it."""
    lines = written(failed(ErrorKind.INTERNAL, cause=broken()), json=False)
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("as_json", [True, False])
def test_tracebacks_show_no_local_variables(as_json: bool) -> None:
    """They hold the client's image."""
    assert "pixels of a client" not in "".join(written(failed(ErrorKind.INTERNAL, cause=broken()), json=as_json))


@pytest.mark.parametrize("as_json", [True, False])
def test_text_of_a_client_cannot_forge_a_line(as_json: bool) -> None:
    """Line ends and control characters are escaped."""
    lines = written(failed(ErrorKind.INVALID_PARAMETER, detail="a\n\x1b[31mb"), json=as_json)
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_without_request_lines_only_internal_errors_remain() -> None:
    """Answers and clients' mistakes go unlogged; faults of ours and changes of the service do not."""
    others: list[Event] = [LifecycleChanged("ready"), VariantRefused("b9", "1", "damaged")]
    events = [answered(), *map(failed, ErrorKind), *others]
    kept = [json.loads(line) for line in written(*events, requests=False)]
    assert [line.get("kind", line["event"]) for line in kept] == ["internal", "ready", "variant refused"]


def test_changes_of_the_service_are_told() -> None:
    """State and detail; what is refused is an error with its reason; what is loaded, for those who debug."""
    lifecycle = record(LifecycleChanged("draining", "SIGTERM came"))
    assert (lifecycle["event"], lifecycle["detail"]) == ("draining", "SIGTERM came")
    assert "detail" not in record(LifecycleChanged("starting"))
    refused = record(VariantRefused("b9", "1", "damaged"))
    assert (refused["level"], refused["variant"], refused["reason"]) == ("error", "b9", "damaged")
    resident = record(loaded("b0"))
    assert (resident["level"], resident["variant"], resident["load_s"]) == ("debug", "b0", 1.25)


def test_what_is_loaded_while_the_service_runs_has_a_line() -> None:
    """With the version it replaces; what is refused has its own, and a store that cannot be read has one."""
    replaced = Change(ChangeKind.REPLACED, "b0", "2", "in place of version 1")
    told = record(VariantChanged(replaced, 1.25))
    assert (told["level"], told["event"], told["version"], told["seconds"]) == ("info", "variant replaced", "2", 1.25)
    assert written(VariantChanged(Change(ChangeKind.REFUSED, "b9", "1", "damaged"), 0.0)) == []
    unread = record(StoreUnread("no variants there"))
    assert (unread["level"], unread["reason"]) == ("error", "no variants there")


def test_the_level_leaves_out_what_is_less_severe() -> None:
    """At `warning`, answers are not written."""
    assert written(answered(), level="warning") == []
    assert len(written(failed(ErrorKind.INTERNAL), level="warning")) == 1


@pytest.mark.parametrize(
    ("chosen", "stdout", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("console", io.StringIO, False),
    ],
)
def test_auto_is_json_unless_someone_watches(
    chosen: str, stdout: type[io.StringIO], is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets lines for people; a named format is what it says."""
    monkeypatch.setattr(sys, "stdout", stdout())
    configure_logs(load(overrides={"log": {"format": chosen}}))
    Logs().observe(answered())
    assert isinstance(sys.stdout, io.StringIO)
    assert sys.stdout.getvalue().startswith("{") is is_json


def test_each_line_of_a_worker_says_which() -> None:
    """So that lines of several processes can be told apart."""
    stream = io.StringIO()
    configure(level="info", json=True, stream=stream, worker=3)
    Logs().observe(answered())
    assert json.loads(stream.getvalue())["worker"] == 3


def test_a_worker_that_ends_is_an_error() -> None:
    """And one that is started again is not."""
    ended = record(WorkerChanged(2, at_work=False, detail="killed by signal 9"))
    assert (ended["event"], ended["level"], ended["worker"]) == ("worker ended", "error", 2)
    assert ended["detail"] == "killed by signal 9"
    again = record(WorkerChanged(2, at_work=True))
    assert (again["event"], again["level"], again["worker"]) == ("worker started", "info", 2)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("info", "debug", ["log level changed", "variant loaded", "ready"]),
        ("debug", "info", ["log level changed", "ready"]),
        ("info", "warning", ["log level changed"]),
        ("error", "warning", ["log level changed"]),
        ("warning", "error", ["log level changed"]),
    ],
)
def test_the_level_can_be_changed_while_it_writes(before: str, after: str, shown: list[str]) -> None:
    """At once, for whoever else writes lines, too; the change has a line at either level."""
    stream = io.StringIO()
    configure(level=before, json=True, stream=stream)
    subject = Logs()
    assert subject.level == before
    subject.write_from(after)
    subject.observe(loaded("b0"))
    subject.observe(LifecycleChanged("ready"))
    structlog.get_logger().debug("of somebody else")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines if line["event"] != "of somebody else"] == shown
    assert (len(lines) > len(shown)) is (after == "debug")
    assert (subject.level, lines[0]["before"], lines[0]["now"]) == (after, before, after)
