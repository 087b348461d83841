"""What watchers are shown, in virtual time: one picture a second for all, the latest to who is slow, an end for all."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from service.core.errors import EffserveError, ErrorKind
from service.edges.http.live import PATIENCE, Broadcast, Watcher

pytestmark = pytest.mark.looptime
MOST = 2


class Studio:
    """A broadcast of numbered pictures."""

    def __init__(self) -> None:
        self.made = 0
        self.over = False
        self.hung_up = 0
        self.broken = False
        self.broadcast = Broadcast(self._picture, lambda: self.over, most=MOST)

    def _picture(self) -> bytes:
        if self.broken:
            raise RuntimeError("no picture")
        self.made += 1
        return str(self.made).encode()

    def _hang_up(self) -> None:
        self.hung_up += 1

    def watch(self) -> tuple[Watcher, AsyncGenerator[bytes, None]]:
        """One more watcher."""
        watcher = Watcher(self._hang_up)
        return watcher, self.broadcast.watch(watcher)


async def test_the_first_picture_is_there_at_once_and_one_follows_each_second() -> None:
    """Time is the loop's."""
    _, pictures = Studio().watch()
    loop, shown = asyncio.get_running_loop(), []
    async for picture in pictures:
        shown.append((round(loop.time(), 3), picture))
        if len(shown) == 3:
            break
    await pictures.aclose()
    assert shown == [(0.0, b"1"), (1.0, b"2"), (2.0, b"3")]


async def test_a_picture_is_made_once_for_all() -> None:
    """Two watchers, three pictures, and none when nobody watches any more."""
    studio = Studio()
    (_, one), (_, other) = studio.watch(), studio.watch()
    for expected in (b"1", b"2", b"3"):
        assert (await anext(one), await anext(other)) == (expected, expected)
    await one.aclose()
    await other.aclose()
    await asyncio.sleep(10)
    assert studio.made == 3
    assert repr(studio.broadcast) == "<Broadcast 0/2 watchers>"


async def test_who_reads_slowly_sees_the_latest() -> None:
    """What was missed is not kept."""
    _, pictures = Studio().watch()
    await anext(pictures)
    await asyncio.sleep(5.5)
    assert await anext(pictures) == b"6"
    assert await anext(pictures) == b"7"
    await pictures.aclose()


async def test_who_does_not_read_is_hung_up_on() -> None:
    """After so many pictures."""
    studio = Studio()
    _, pictures = studio.watch()
    await anext(pictures)
    await asyncio.sleep(PATIENCE + 0.5)
    assert studio.hung_up == 0
    await asyncio.sleep(1)
    assert studio.hung_up == 1
    await pictures.aclose()


async def test_a_service_that_drains_shows_one_more_picture() -> None:
    """Then the stream ends, and nobody else is let in."""
    studio = Studio()
    _, pictures = studio.watch()
    await anext(pictures)
    studio.over = True
    assert [picture async for picture in pictures] == [b"2"]
    with pytest.raises(EffserveError) as refused:
        await anext(studio.watch()[1])
    assert refused.value.kind is ErrorKind.DRAINING


async def test_who_does_not_read_while_the_service_drains_is_hung_up_on_soon() -> None:
    """He would hold up shutting down."""
    studio = Studio()
    _, pictures = studio.watch()
    await anext(pictures)
    studio.over = True
    await asyncio.sleep(2.5)
    assert studio.hung_up == 1
    await pictures.aclose()


async def test_a_client_that_leaves_gives_his_place_to_another() -> None:
    """One too many is refused, with when to try again."""
    studio = Studio()
    (watcher, first), (_, second) = studio.watch(), studio.watch()
    await anext(first)
    await anext(second)
    with pytest.raises(EffserveError) as refused:
        await anext(studio.watch()[1])
    assert (refused.value.kind, refused.value.facts, refused.value.retry_after_s) == (
        ErrorKind.QUEUE_FULL, {"limit": MOST}, 5.0,
    )  # fmt: skip
    watcher.leave()
    assert [picture async for picture in first] == []
    _, third = studio.watch()
    assert await anext(third) == b"1"
    await second.aclose()
    await third.aclose()


async def test_watchers_do_not_wait_for_ever_for_a_picture_that_fails() -> None:
    """The streams end; whoever comes next starts it anew."""
    studio = Studio()
    _, pictures = studio.watch()
    await anext(pictures)
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
    studio.broken = True
    assert [picture async for picture in pictures] == []
    studio.broken = False
    _, again = studio.watch()
    assert await anext(again) == b"2"
    await again.aclose()
    assert reported == ["no picture"]
