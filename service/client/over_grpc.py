"""Questions over gRPC: one channel, which is replaced when its connection breaks.

The call's deadline is the caller's. The server would take it for the budget when none is named; a question without one
therefore carries no deadline and is cancelled here when its time is up.
"""

import asyncio
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.client import messages
from service.client.asking import Attempt
from service.client.errors import ClientError, LocalKind
from service.client.values import Answer, Changes, Plan, Variants
from service.wire import classifier_pb2 as pb
from service.wire import classifier_pb2_grpc

OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
"""A connection of its own: what other clients of the process do with theirs is their business."""
LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""Without a kind, these come from the library: no connection, or one that ended with the call."""
PREFIX, KIND, REQUEST_ID, PUSHBACK = "effserve-", "effserve-error-kind", "x-request-id", "grpc-retry-pushback-ms"


class _Line:
    """A channel and what can be asked over it."""

    def __init__(self, library: ModuleType, target: str, *, secure: bool) -> None:
        self.asking = 0
        """How many calls are on it."""
        self.channel: Any = (
            library.secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)
            if secure
            else library.insecure_channel(target, OPTIONS)
        )
        self.classifier: Any = classifier_pb2_grpc.ClassifierStub(self.channel)  # type: ignore[no-untyped-call]
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)


class _Lines(ABC):
    """The line to one server."""

    def __init__(self, library: ModuleType, target: str, *, secure: bool) -> None:
        self._library, self._target, self._secure = library, target, secure
        self._line = self._new()
        self._closed = False
        # Reentrant: a generator that was left half-way ends wherever memory is collected, here too.
        self._books = threading.RLock()

    @contextmanager
    def _asking(self, attempt: Attempt) -> Iterator[_Line]:
        """What gRPC raises inside becomes `ClientError`. A line without an answer is given up: the library would keep
        its next calls waiting, or fail them unsent, until a pause of its own is over. It is hung up when the last call
        on it has ended: left to the library, it would go on connecting for as long as somebody keeps the failure."""
        with self._books:
            if self._closed:
                raise ClientError(LocalKind.NO_ANSWER, "the client is closed")
            line = self._line
            line.asking += 1
        try:
            yield line
        except grpc.RpcError as error:
            failure = _failure(error, attempt)
            if failure.kind == LocalKind.NO_ANSWER:
                self._give_up(line)
            # Who keeps the failure keeps its frames; these would keep the call, and the call the channel.
            traceback.clear_frames(error.__traceback__)
            raise failure from error
        finally:
            with self._books:
                line.asking -= 1
                over = line is not self._line and not line.asking
            if over:
                self._hang_up(line)

    def _give_up(self, line: _Line) -> None:
        with self._books:
            if line is self._line and not self._closed:
                self._line = self._new()

    def _close(self) -> _Line:
        """The last line; there is no other any more."""
        with self._books:
            self._closed = True
            return self._line

    @abstractmethod
    def _hang_up(self, line: _Line) -> None:
        """Close its channel."""

    def _new(self) -> _Line:
        return _Line(self._library, self._target, secure=self._secure)


class GrpcTransport(_Lines):
    """One server, asked over gRPC. Safe to use from several threads."""

    def __init__(self, target: str, *, secure: bool) -> None:
        super().__init__(grpc, target, secure=secure)

    def classify(self, attempt: Attempt) -> Answer:
        """One image, one answer."""
        with self._asking(attempt) as line:
            return messages.answer(_asked(line.classifier.Classify, messages.question(attempt), attempt))

    def anytime(self, attempt: Attempt) -> Iterator[Answer]:
        """One image, each answer as it comes."""
        with self._asking(attempt) as line:
            call = line.classifier.ClassifyAnytime(messages.question(attempt), timeout=_on_the_wire_s(attempt))
            try:
                with _cancelled_in_time(call, attempt):
                    yield from _until_final(map(messages.answer, call))
            finally:
                call.cancel()

    def plan(self, attempt: Attempt) -> Plan:
        """What the question would get."""
        with self._asking(attempt) as line:
            return messages.plan(_asked(line.classifier.Plan, messages.plan_question(attempt), attempt))

    def variants(self, attempt: Attempt) -> Variants:
        """The table."""
        with self._asking(attempt) as line:
            return messages.variants(_asked(line.classifier.ListVariants, pb.ListVariantsRequest(), attempt))

    def reload(self, attempt: Attempt) -> Changes:
        """Make what is served equal to the store."""
        with self._asking(attempt) as line:
            return messages.changes(_asked(line.classifier.Reload, pb.ReloadRequest(), attempt))

    def ready(self, attempt: Attempt) -> bool:
        """Whether the server wants traffic."""
        with self._asking(attempt) as line:
            return messages.ready(_asked(line.health.Check, health_pb2.HealthCheckRequest(), attempt))

    def close(self) -> None:
        """Hang up. Calls in flight end without an answer."""
        self._hang_up(self._close())

    def _hang_up(self, line: _Line) -> None:
        line.channel.close()


class AsyncGrpcTransport(_Lines):
    """The same for asyncio. Make it on the running loop that it shall use."""

    def __init__(self, target: str, *, secure: bool) -> None:
        super().__init__(grpc.aio, target, secure=secure)
        self._hanging_up = set[asyncio.Task[None]]()

    async def classify(self, attempt: Attempt) -> Answer:
        """One image, one answer."""
        with self._asking(attempt) as line:
            return messages.answer(await _awaited(line.classifier.Classify, messages.question(attempt), attempt))

    async def anytime(self, attempt: Attempt) -> AsyncGenerator[Answer, None]:
        """One image, each answer as it comes."""
        final = False
        with self._asking(attempt) as line:
            call = line.classifier.ClassifyAnytime(messages.question(attempt), timeout=_on_the_wire_s(attempt))
            try:
                async for message in call:
                    final = message.final
                    yield messages.answer(message)
            finally:
                call.cancel()
                # This frame is one that a failure keeps.
                del call
        _end(final)

    async def plan(self, attempt: Attempt) -> Plan:
        """What the question would get."""
        with self._asking(attempt) as line:
            return messages.plan(await _awaited(line.classifier.Plan, messages.plan_question(attempt), attempt))

    async def variants(self, attempt: Attempt) -> Variants:
        """The table."""
        with self._asking(attempt) as line:
            return messages.variants(await _awaited(line.classifier.ListVariants, pb.ListVariantsRequest(), attempt))

    async def reload(self, attempt: Attempt) -> Changes:
        """Make what is served equal to the store."""
        with self._asking(attempt) as line:
            return messages.changes(await _awaited(line.classifier.Reload, pb.ReloadRequest(), attempt))

    async def ready(self, attempt: Attempt) -> bool:
        """Whether the server wants traffic."""
        with self._asking(attempt) as line:
            return messages.ready(await _awaited(line.health.Check, health_pb2.HealthCheckRequest(), attempt))

    async def close(self) -> None:
        """Hang up."""
        await asyncio.gather(self._close().channel.close(), *self._hanging_up)

    def _hang_up(self, line: _Line) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # An iterator that was left half-way ends without a loop; the channel then ends with its last reference.
            return
        task = loop.create_task(line.channel.close())
        self._hanging_up.add(task)
        task.add_done_callback(self._hanging_up.discard)


def _asked(method: Any, message: Any, attempt: Attempt) -> Any:  # noqa: ANN401
    timeout_s, metadata = _on_the_wire_s(attempt), _metadata(attempt)
    if timeout_s is not None:
        return method(message, timeout=timeout_s, metadata=metadata)
    call = method.future(message, metadata=metadata)
    with _cancelled_in_time(call, attempt):
        return call.result()


async def _awaited(method: Any, message: Any, attempt: Attempt) -> Any:  # noqa: ANN401
    return await method(message, timeout=_on_the_wire_s(attempt), metadata=_metadata(attempt))


def _metadata(attempt: Attempt) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID, attempt.request_id),)


def _on_the_wire_s(attempt: Attempt) -> float | None:
    return attempt.left_s if "budget_ms" in attempt.parameters else None


@contextmanager
def _cancelled_in_time(call: Any, attempt: Attempt) -> Iterator[None]:  # noqa: ANN401
    """Ends a call that carries no deadline when the caller's time is up."""
    if _on_the_wire_s(attempt) is not None:
        yield
        return
    over = threading.Event()

    def end() -> None:
        over.set()
        call.cancel()

    timer = threading.Timer(attempt.left_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (grpc.RpcError, grpc.FutureCancelledError) as error:
        if over.is_set():
            raise _over(attempt) from error
        if isinstance(error, grpc.FutureCancelledError):
            raise ClientError(LocalKind.NO_ANSWER, "the client is closed") from error
        raise
    finally:
        timer.cancel()


def _until_final(answers: Iterable[Answer]) -> Iterator[Answer]:
    final = False
    for answer in answers:
        final = answer.final
        yield answer
    _end(final)


def _end(final: bool) -> None:
    if not final:
        raise ClientError(LocalKind.NO_ANSWER, "the server ended the call before its last answer")


def _failure(error: Any, attempt: Attempt) -> ClientError:  # noqa: ANN401
    code, detail = error.code(), error.details() or ""
    told = {name: value for name, value in error.trailing_metadata() or () if isinstance(value, str)}
    if KIND in told:
        pushback_ms = told.get(PUSHBACK)
        retry_after_s = None if pushback_ms is None else float(pushback_ms) / 1e3
        return ClientError(told[KIND], detail, _facts(told), retry_after_s, told.get(REQUEST_ID, ""))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return _over(attempt)
    if code in LOST:
        return ClientError(LocalKind.NO_ANSWER, f"no answer from the server: {detail}")
    return ClientError(LocalKind.NOT_EFFSERVE, f"no answer of effserve: {code.name} {detail}".rstrip())


def _over(attempt: Attempt) -> ClientError:
    return ClientError(LocalKind.DEADLINE_OVER, f"no answer within the {attempt.left_s:.3g} s that were left")


def _facts(told: dict[str, str]) -> dict[str, float | int | str]:
    """By the names that they have over HTTP; numbers as numbers."""
    named = {name: text for name, text in told.items() if name.startswith(PREFIX) and name != KIND}
    return {name.removeprefix(PREFIX).replace("-", "_"): _number(text) for name, text in named.items()}


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
