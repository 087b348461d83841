"""Which ids of clients are kept."""

import re

import pytest

from service.edges.request_ids import request_id

NEW = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("given", ["a", "my-id-1", "x" * 128, "!~", "00-4bf92f35-01", '{"a":1}'])
def test_a_fit_id_is_kept(given: str) -> None:
    """Visible ASCII, at most 128 characters."""
    assert request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "tab\t", "line\n", "naïve", "nul\0", "\x7f"])
def test_any_other_is_replaced(given: str | None) -> None:
    """It would not fit into a header or a log line."""
    assert NEW.fullmatch(request_id(given))


def test_new_ids_differ() -> None:
    """Two requests are never mixed up."""
    assert len({request_id(None) for _ in range(100)}) == 100
