"""Other projects' clients work with this server as they are. `make conformance` installs them; else, this skips."""

import functools

import pytest

from tests.conformance import clients
from tests.conformance.clients import SUITES, Suite

pytestmark = pytest.mark.slow
LEAST_CHECKS = 5


@functools.cache
def found(suite: Suite) -> dict[str, clients.Results]:
    """One run of all its clients."""
    return clients.all_results(suite)


@pytest.mark.parametrize(
    ("suite", "client"),
    [
        pytest.param(
            suite,
            client,
            id=f"{suite.name}-{client}",
            marks=pytest.mark.skipif(
                not suite.installed, reason=f"no {suite.title} here; `make conformance` installs what it can"
            ),
        )
        for suite in SUITES
        for client in suite.clients
    ],
)
def test_every_check_of_a_client_passes(suite: Suite, client: str) -> None:
    """Health, descriptions, inference in every coding, budgets, errors, streams: whatever it has calls for."""
    results = found(suite)[client]
    assert len(results) >= LEAST_CHECKS
    assert {check: reason for check, reason in results.items() if reason is not None} == {}
