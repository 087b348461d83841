"""The client for programs without an event loop."""

import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

from service.client.asking import RELOAD_S, Attempt, Call, ClassifyOptions, ImageFile, PlanOptions
from service.client.connecting import connect
from service.client.errors import ClientError
from service.client.retrying import Retries, RetryBudget
from service.client.values import Answer, Changes, Plan, Variants

T = TypeVar("T")


class Client:
    """One server, over whichever protocol its address says. Keep it: connections are reused. Threads may share it.

    `with Client("http://localhost:8000") as client:` or `grpc://localhost:9000`. Raises `ValueError` when the address
    is none. All questions raise `ClientError`.
    """

    def __init__(self, url: str, *, retries: Retries | None = None) -> None:
        self._transport = connect(url)
        self._retries = retries or Retries()
        self._retry_budget = RetryBudget(self._retries.tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def classify(self, image: ImageFile, **options: Unpack[ClassifyOptions]) -> Answer:
        """The answer to an image, given as bytes or as the path of its file."""
        return self._ask(self._transport.classify, self._call(_bytes(image), options))

    def classify_anytime(self, image: ImageFile, **options: Unpack[ClassifyOptions]) -> Generator[Answer, None, None]:
        """Each answer as it comes, the last one `final`. After the first, nothing is repeated."""
        call = self._call(_bytes(image), options)
        while True:
            begun = False
            try:
                for answer in self._transport.anytime(call.attempt()):
                    begun = True
                    yield answer
            except ClientError as error:
                pause_s = call.failed(error)
                if begun:
                    raise
                time.sleep(pause_s)
            else:
                call.answered()
                return

    def plan(self, **options: Unpack[PlanOptions]) -> Plan:
        """What a question would get now. Runs nothing."""
        return self._ask(self._transport.plan, self._call(b"", options))

    def variants(self, *, deadline_s: float | None = None) -> Variants:
        """The live accuracy/latency/cost table, cheapest first."""
        return self._ask(self._transport.variants, self._call(b"", {"deadline_s": deadline_s}))

    def reload(self, *, deadline_s: float = RELOAD_S) -> Changes:
        """Make what the server serves equal to its store, where its operator allows it. Asked once."""
        return self._transport.reload(self._call(b"", {"deadline_s": deadline_s}).attempt())

    def ready(self, *, deadline_s: float | None = None) -> bool:
        """Whether the server wants traffic: it has started and is not shutting down. Asked once."""
        return self._transport.ready(self._call(b"", {"deadline_s": deadline_s}).attempt())

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _call(self, image: bytes, options: ClassifyOptions | PlanOptions) -> Call:
        return Call(image, options, clock=time.monotonic, retries=self._retries, budget=self._retry_budget)

    def _ask(self, send: Callable[[Attempt], T], call: Call) -> T:
        while True:
            try:
                answer = send(call.attempt())
            except ClientError as error:
                time.sleep(call.failed(error))
            else:
                call.answered()
                return answer


def _bytes(image: ImageFile) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()
