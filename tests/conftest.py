"""Shared by all tests."""

import asyncio
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No time limit for an example: a machine that is busy for a moment says nothing about the code. And the same examples
# on every run, so that whoever is shown a failure can repeat it.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# The model hub's client asks a second time when an answer takes long, and tests count what it asks. It reads these
# when it is imported.
os.environ |= {"HF_HUB_ETAG_TIMEOUT": "120", "HF_HUB_DOWNLOAD_TIMEOUT": "120"}


TRACED = [Path(__file__).parent / folder for folder in ("unit/core", "timing", "contract")]
"""The tests that must reach every branch of the core and the dataplane. Tracing doubles the time of others for nothing:
simulations go the same ways thousands of times."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Where coverage is measured, trace only the tests whose business it is."""
    coverage = getattr(sys.modules.get("coverage"), "Coverage", None)
    measuring = coverage and coverage.current()
    if not measuring or _traced(item):
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


def _traced(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is None and any(folder in item.path.parents for folder in TRACED)


@pytest.fixture(scope="session", autouse=True)
def _main_thread_loop() -> Iterator[None]:
    """Own the main thread's default event loop.

    On CPython 3.11 pytest-asyncio asks for it, which creates one that nobody closes; its ResourceWarning would then
    fail whichever test runs while it is collected.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Tests see the settings they make, not those of whoever runs them."""
    found = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("EFFSERVE_")}
    yield
    os.environ.update(found)
