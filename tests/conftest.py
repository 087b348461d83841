"""Shared by all tests."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# No time limit for an example: a machine that is busy for a moment says nothing about the code. And the same examples
# on every run, so that whoever is shown a failure can repeat it.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# The model hub's client asks a second time when an answer takes long, and tests count what it asks. It reads these
# when it is imported.
os.environ |= {"HF_HUB_ETAG_TIMEOUT": "120", "HF_HUB_DOWNLOAD_TIMEOUT": "120"}


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
