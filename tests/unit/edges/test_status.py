"""The table of failures: nothing is missing, and nothing is called by the wrong status."""

import pytest
from grpc import StatusCode

from service.core.errors import ErrorKind
from service.edges.status import STATUS

OURS = {
    ErrorKind.QUEUE_FULL,
    ErrorKind.DRAINING,
    ErrorKind.INFEASIBLE_BUDGET,
    ErrorKind.INTERNAL,
    ErrorKind.NOT_RESIDENT,
}
NOBODYS = {ErrorKind.UNSUPPORTED, ErrorKind.MEMORY_LIMIT}
GRPC_OURS = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.INTERNAL}


def test_every_kind_has_a_status() -> None:
    """The table is total, and holds nothing else."""
    assert set(STATUS) == set(ErrorKind)


@pytest.mark.parametrize("kind", ErrorKind)
def test_what_the_client_can_mend_is_4xx_and_the_rest_5xx(kind: ErrorKind) -> None:
    """Alarms and retries of clients go by the first digit. 501 and 507 say that asking again does not."""
    assert STATUS[kind].http // 100 == (5 if kind in OURS | NOBODYS else 4)


@pytest.mark.parametrize("kind", ErrorKind)
def test_both_protocols_agree_on_whose_fault_it_is(kind: ErrorKind) -> None:
    """A gRPC client that retries what is transient retries the same kinds."""
    assert STATUS[kind].grpc is not StatusCode.OK
    assert (STATUS[kind].grpc in GRPC_OURS) is (kind in OURS)


@pytest.mark.parametrize(
    ("kind", "http", "grpc"),
    [
        (ErrorKind.EMPTY_IMAGE, 400, StatusCode.INVALID_ARGUMENT),
        (ErrorKind.UNDECODABLE_IMAGE, 400, StatusCode.INVALID_ARGUMENT),
        (ErrorKind.MALFORMED_REQUEST, 400, StatusCode.INVALID_ARGUMENT),
        (ErrorKind.UNKNOWN_VARIANT, 404, StatusCode.NOT_FOUND),
        (ErrorKind.IMAGE_TOO_LARGE, 413, StatusCode.RESOURCE_EXHAUSTED),
        (ErrorKind.TOO_MANY_PIXELS, 413, StatusCode.RESOURCE_EXHAUSTED),
        (ErrorKind.UNSUPPORTED_MEDIA_TYPE, 415, StatusCode.INVALID_ARGUMENT),
        (ErrorKind.INVALID_PARAMETER, 422, StatusCode.INVALID_ARGUMENT),
        (ErrorKind.ACCURACY_UNAVAILABLE, 422, StatusCode.FAILED_PRECONDITION),
        (ErrorKind.QUEUE_FULL, 503, StatusCode.UNAVAILABLE),
        (ErrorKind.DRAINING, 503, StatusCode.UNAVAILABLE),
        (ErrorKind.INFEASIBLE_BUDGET, 504, StatusCode.DEADLINE_EXCEEDED),
        (ErrorKind.INTERNAL, 500, StatusCode.INTERNAL),
    ],
)
def test_released_statuses_stay(kind: ErrorKind, http: int, grpc: StatusCode) -> None:
    """Clients are written against these."""
    assert (STATUS[kind].http, STATUS[kind].grpc) == (http, grpc)


def test_titles_tell_kinds_apart() -> None:
    """Short, without a full stop, each its own."""
    titles = [status.title for status in STATUS.values()]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if title.endswith(".")]


@pytest.mark.parametrize("kind", ErrorKind)
def test_advice_is_a_sentence(kind: ErrorKind) -> None:
    """It stands in pages that people read."""
    assert STATUS[kind].advice.endswith(".")


@pytest.mark.parametrize("kind", ErrorKind)
def test_kinds_fit_into_paths_and_labels(kind: ErrorKind) -> None:
    """Lower-case words with dashes."""
    assert kind.value.replace("-", "").isalpha()
    assert kind.value == kind.value.lower()
