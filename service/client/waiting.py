"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

from service.client.asking import RELOAD_S, Attempt, Call, ClassifyOptions, ImageFile, PlanOptions
from service.client.connecting import connect_async
from service.client.errors import ClientError, LocalKind
from service.client.retrying import Retries, RetryBudget
from service.client.values import Answer, Changes, Plan, Variants

T = TypeVar("T")


class AsyncClient:
    """One server, over whichever protocol its address says. Make it where its event loop runs, and keep it.

    `async with AsyncClient("grpc://localhost:9000") as client:`. Everything else is as for `Client`; cancelling a task
    that waits for an answer gives the question up, on the server too.
    """

    def __init__(self, url: str, *, retries: Retries | None = None) -> None:
        self._transport = connect_async(url)
        self._retries = retries or Retries()
        self._retry_budget = RetryBudget(self._retries.tokens)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def classify(self, image: ImageFile, **options: Unpack[ClassifyOptions]) -> Answer:
        """The answer to an image, given as bytes or as the path of its file."""
        return await self._ask(self._transport.classify, self._call(await _bytes(image), options))

    async def classify_anytime(
        self, image: ImageFile, **options: Unpack[ClassifyOptions]
    ) -> AsyncGenerator[Answer, None]:
        """Each answer as it comes, the last one `final`. After the first, nothing is repeated."""
        call = self._call(await _bytes(image), options)
        while True:
            begun = False
            try:
                async with aclosing(self._answers(call.attempt())) as answers:
                    async for answer in answers:
                        begun = True
                        yield answer
            except ClientError as error:
                pause_s = call.failed(error)
                if begun:
                    raise
                await asyncio.sleep(pause_s)
            else:
                call.answered()
                return

    async def plan(self, **options: Unpack[PlanOptions]) -> Plan:
        """What a question would get now. Runs nothing."""
        return await self._ask(self._transport.plan, self._call(b"", options))

    async def variants(self, *, deadline_s: float | None = None) -> Variants:
        """The live accuracy/latency/cost table, cheapest first."""
        return await self._ask(self._transport.variants, self._call(b"", {"deadline_s": deadline_s}))

    async def reload(self, *, deadline_s: float = RELOAD_S) -> Changes:
        """Make what the server serves equal to its store, where its operator allows it. Asked once."""
        attempt = self._call(b"", {"deadline_s": deadline_s}).attempt()
        return await _in_time(self._transport.reload(attempt), attempt.left_s)

    async def ready(self, *, deadline_s: float | None = None) -> bool:
        """Whether the server wants traffic: it has started and is not shutting down. Asked once."""
        attempt = self._call(b"", {"deadline_s": deadline_s}).attempt()
        return await _in_time(self._transport.ready(attempt), attempt.left_s)

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()

    def _call(self, image: bytes, options: ClassifyOptions | PlanOptions) -> Call:
        return Call(image, options, clock=time.monotonic, retries=self._retries, budget=self._retry_budget)

    async def _ask(self, send: Callable[[Attempt], Awaitable[T]], call: Call) -> T:
        while True:
            try:
                attempt = call.attempt()
                answer = await _in_time(send(attempt), attempt.left_s)
            except ClientError as error:
                await asyncio.sleep(call.failed(error))
            else:
                call.answered()
                return answer

    async def _answers(self, attempt: Attempt) -> AsyncGenerator[Answer, None]:
        """Each with what is left of the time. It does not run while the answer is in the user's hands."""
        until_s = time.monotonic() + attempt.left_s
        async with aclosing(self._transport.anytime(attempt)) as answers:
            while (answer := await _in_time(anext(answers, None), until_s - time.monotonic())) is not None:
                yield answer


async def _in_time(answer: Awaitable[T], left_s: float) -> T:
    """Raises `ClientError(DEADLINE_OVER)`."""
    try:
        async with asyncio.timeout(left_s):
            return await answer
    except TimeoutError:
        raise ClientError(LocalKind.DEADLINE_OVER, f"no answer within the {left_s:.3g} s that were left") from None


async def _bytes(image: ImageFile) -> bytes:
    return image if isinstance(image, bytes) else await asyncio.to_thread(Path(image).read_bytes)
