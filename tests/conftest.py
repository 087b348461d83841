"""Shared by all tests."""

import asyncio
import os
from collections.abc import Iterator

import pytest


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
