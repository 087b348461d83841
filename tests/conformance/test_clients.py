"""Clients of Triton work with this server as they are. `make conformance` installs them; without them, this skips."""

import pytest

from tests.conformance import clients

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not clients.PYTHON.exists(), reason="no tritonclient here; `make conformance` installs it"),
]


@pytest.fixture(scope="module")
def found() -> dict[str, clients.Results]:
    """One run of all clients."""
    return clients.all_results()


@pytest.mark.parametrize("client", clients.CLIENTS)
def test_every_check_of_a_client_passes(found: dict[str, clients.Results], client: str) -> None:
    """Health, descriptions, inference in every coding, budgets, errors, streams."""
    assert len(found[client]) >= 14
    assert {check: reason for check, reason in found[client].items() if reason is not None} == {}
