"""A request's place in a trace, as headers write it and as batches divide it."""

from service.core.trace import Journey, Trace, Tracer, untraced

TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", None, True)


def test_a_client_is_told_where_its_request_stands() -> None:
    """As `traceparent` is written, with the flag that says whether spans are recorded."""
    unrecorded = Trace(TRACE.trace_id, TRACE.span_id, "b7ad6b7169203331", False)
    assert TRACE.header == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert unrecorded.header == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def test_images_of_one_request_have_spans_of_their_own() -> None:
    """Beside one another in the same trace; the first has the one that the client is told."""
    parts = [TRACE.part(number) for number in range(3)]
    assert parts[0] == TRACE
    assert len({part.span_id for part in parts}) == 3
    assert {(part.trace_id, part.parent_id) for part in parts} == {(TRACE.trace_id, None)}


def test_no_part_has_the_span_id_that_means_none() -> None:
    """Sixteen zeros are no id."""
    last = Trace(TRACE.trace_id, "f" * 16, None, True)
    assert last.part(1).span_id == "0000000000000001"


def test_only_what_is_recorded_is_worth_pointing_to() -> None:
    """Under the id of another trace there would be nothing."""
    assert Journey(TRACE, 0.0).sampled_id == TRACE.trace_id
    assert Journey(Trace(TRACE.trace_id, TRACE.span_id, None, False), 0.0).sampled_id is None


def test_a_service_that_traces_nothing_gives_no_place() -> None:
    """Whatever the caller sends."""
    tracer: Tracer = untraced
    assert tracer(TRACE.header, None) is None
