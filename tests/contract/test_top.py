"""`effserve top` as a process, on a terminal and off it, against a real server."""

import asyncio
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.grpc_kit import PATIENCE_S
from tests.contract.http_kit import Kit, real
from tests.fixtures import jpeg, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
SIZE = 24, 80
EFFSERVE = [sys.executable, "-m", "service", "top"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kit]:
    """Two variants, which have answered three requests; one was none."""
    async with real(tiny_store(tmp_path_factory.mktemp("store"))) as made:
        for body in (PHOTO, PHOTO, PHOTO, b"no image"):
            await made.client.post("/classify?budget_ms=60000", content=body)
        yield made


@dataclass
class Terminal:
    """A process on a terminal of its own."""

    process: subprocess.Popen[bytes]
    screen: int
    shown: bytes = b""

    def until(self, text: str) -> None:
        """Read until that was shown."""
        until_s = time.monotonic() + PATIENCE_S
        while text.encode() not in self.shown:
            ready, _, _ = select.select([self.screen], [], [], max(until_s - time.monotonic(), 0))
            assert ready, self.shown
            self.shown += os.read(self.screen, 65_536)

    def left(self) -> int:
        """Read until the screen is given back, then wait: the process' exit status."""
        try:
            self.until("\x1b[?1049l")
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()

    def press(self, key: str) -> None:
        """As an operator does."""
        os.write(self.screen, key.encode())


def on_terminal(kit: Kit) -> Terminal:
    """`effserve top` of 80 × 24."""
    screen, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    command = [*EFFSERVE, "--url", f"http://127.0.0.1:{kit.port}", "--interval", "0.1"]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command, stdin=inside, stdout=inside, stderr=inside, env=environment | {"TERM": "xterm"}, start_new_session=True
    )
    os.close(inside)
    return Terminal(process, screen)


async def test_off_a_terminal_it_is_one_picture_in_plain_text(kit: Kit) -> None:
    """With or without `--once`: for scripts, without colours, and with the figures of the server."""
    for more in ([], ["--once"]):
        command = [*EFFSERVE, "--url", f"http://127.0.0.1:{kit.port}", *more]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE_S)
        lines = [line.split() for line in done.stdout.splitlines() if line]
        assert (done.returncode, done.stderr, "\x1b" in done.stdout) == (0, "", False)
        assert lines[0][2:4] == [f"http://127.0.0.1:{kit.port}", "ready,"]
        assert next(line for line in lines if line[0] == "longer")[1:4] == ["100.0%", "3", "0"]
        assert "failures  undecodable-image 1" in done.stdout
        shares = {line[0]: line[-4] for line in lines if line[0] in ("b0", "b1")}
        assert sorted(shares.values()) == ["0.0%", "100.0%"]


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
async def test_on_a_terminal_it_goes_on_until_one_has_seen_enough(kit: Kit, how: str) -> None:
    """Pictures of the last seconds follow the first; the terminal is left as it was, with status 0."""
    terminal = on_terminal(kit)
    before = termios.tcgetattr(terminal.screen)
    await asyncio.to_thread(terminal.until, "since the start")
    await asyncio.to_thread(terminal.until, "over the last")
    if how == "q":
        terminal.press("q")
    else:
        terminal.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(terminal.left) == 0
    assert termios.tcgetattr(terminal.screen) == before
    os.close(terminal.screen)


async def test_it_says_when_the_server_is_away(tmp_path: Path) -> None:
    """And goes on asking."""
    async with real(tiny_store(tmp_path)) as made:
        terminal = on_terminal(made)
        await asyncio.to_thread(terminal.until, "over the last")
    await asyncio.to_thread(terminal.until, "there is no connection")
    terminal.press("q")
    assert await asyncio.to_thread(terminal.left) == 0
    os.close(terminal.screen)
