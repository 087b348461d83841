"""Questions over HTTP, by httpx: connections are kept and reused, TLS and proxies are httpx's business.

httpx has no limit for a whole exchange, only for each of its waits. Asynchronous calls are limited as a whole by their
caller; a synchronous one ends with the first wait that takes longer than the time left, or, between the events of an
anytime question, when the time is up: a server that sends its answer byte by byte could hold it longer.
"""

import json
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from service.client.asking import Attempt
from service.client.errors import ClientError, LocalKind
from service.client.values import Answer, Changes, Plan, Variants

ANSWER, PLAN, VARIANTS = TypeAdapter(Answer), TypeAdapter(Plan), TypeAdapter(Variants)
CHANGES = TypeAdapter(Changes)
EVENTS = "text/event-stream"
STANDARD = frozenset({"type", "title", "status", "detail", "kind", "request_id", "retry_after_ms"})
"""Members of a problem that are no facts."""
GATEWAY = frozenset({502, 503, 504})
"""A proxy on the way has no answer from the server."""
T = TypeVar("T")


class HttpTransport:
    """One server, asked over HTTP/1.1. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, verify=_has_tls(url))

    def classify(self, attempt: Attempt) -> Answer:
        """One image, one answer."""
        return self._asked(ANSWER, attempt, "POST", "/classify", _upload(attempt))

    def anytime(self, attempt: Attempt) -> Iterator[Answer]:
        """One image, each answer as it comes."""
        with _translated(attempt), self._client.stream("POST", "/classify/anytime", **_upload(attempt)) as response:
            if not _has_events(response):
                response.read()
                raise _failure(response)
            events, until_s = Events(response), time.monotonic() + attempt.left_s
            for line in response.iter_lines():
                if time.monotonic() > until_s:
                    raise _over(attempt)
                yield from events.answers(line)
            events.end()

    def plan(self, attempt: Attempt) -> Plan:
        """What the question would get."""
        return self._asked(PLAN, attempt, "GET", "/plan", _question(attempt))

    def variants(self, attempt: Attempt) -> Variants:
        """The table."""
        return self._asked(VARIANTS, attempt, "GET", "/variants", _question(attempt))

    def reload(self, attempt: Attempt) -> Changes:
        """Make what is served equal to the store."""
        return self._asked(CHANGES, attempt, "POST", "/reload", _question(attempt))

    def ready(self, attempt: Attempt) -> bool:
        """Whether the server wants traffic."""
        with _translated(attempt):
            return _ready(self._client.get("/readyz", **_question(attempt)))

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _asked(self, kind: TypeAdapter[T], attempt: Attempt, method: str, path: str, request: dict[str, Any]) -> T:
        with _translated(attempt):
            return _read(kind, self._client.request(method, path, **request))


class AsyncHttpTransport:
    """The same for asyncio."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, verify=_has_tls(url))

    async def classify(self, attempt: Attempt) -> Answer:
        """One image, one answer."""
        return await self._asked(ANSWER, attempt, "POST", "/classify", _upload(attempt))

    async def anytime(self, attempt: Attempt) -> AsyncGenerator[Answer, None]:
        """One image, each answer as it comes."""
        stream = self._client.stream("POST", "/classify/anytime", **_upload(attempt))
        with _translated(attempt):
            async with stream as response:
                if not _has_events(response):
                    await response.aread()
                    raise _failure(response)
                events = Events(response)
                async for line in response.aiter_lines():
                    for answer in events.answers(line):
                        yield answer
                events.end()

    async def plan(self, attempt: Attempt) -> Plan:
        """What the question would get."""
        return await self._asked(PLAN, attempt, "GET", "/plan", _question(attempt))

    async def variants(self, attempt: Attempt) -> Variants:
        """The table."""
        return await self._asked(VARIANTS, attempt, "GET", "/variants", _question(attempt))

    async def reload(self, attempt: Attempt) -> Changes:
        """Make what is served equal to the store."""
        return await self._asked(CHANGES, attempt, "POST", "/reload", _question(attempt))

    async def ready(self, attempt: Attempt) -> bool:
        """Whether the server wants traffic."""
        with _translated(attempt):
            return _ready(await self._client.get("/readyz", **_question(attempt)))

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _asked(
        self, kind: TypeAdapter[T], attempt: Attempt, method: str, path: str, request: dict[str, Any]
    ) -> T:
        with _translated(attempt):
            return _read(kind, await self._client.request(method, path, **request))


class Events:
    """Reads a stream of server-sent events, line by line."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._name = ""

    def answers(self, line: str) -> Iterable[Answer]:
        """The answer that the line completes, if any. Raises `ClientError` for an event that tells of a failure."""
        field, _, value = line.partition(": ")
        if field == "event":
            self._name = value
        elif field == "data" and self._name == "error":
            raise _problem(self._response, _document(value))
        elif field == "data":
            yield _valid(ANSWER, value, self._response)

    def end(self) -> None:
        """Raises `ClientError` when the last event was not the last answer."""
        if self._name != "final":
            raise ClientError(LocalKind.NO_ANSWER, "the server ended the connection before its last answer")


def _has_tls(url: str) -> bool:
    """Without it there is nothing to verify, and reading the certificates would take longer than most questions."""
    return url.startswith("https:")


def _question(attempt: Attempt) -> dict[str, Any]:
    return {
        "params": {name: _text(value) for name, value in attempt.parameters.items()},
        "headers": {"X-Request-Id": attempt.request_id},
        "timeout": attempt.left_s,
    }


def _upload(attempt: Attempt) -> dict[str, Any]:
    request = _question(attempt)
    request["headers"]["Content-Type"] = "application/octet-stream"
    return request | {"content": attempt.image}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def _translated(attempt: Attempt) -> Iterator[None]:
    """What httpx raises, as what this package raises."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise _over(attempt) from error
    except httpx.TransportError as error:
        raise ClientError(LocalKind.NO_ANSWER, f"no answer from the server: {error or type(error).__name__}") from error
    except httpx.HTTPError as error:
        raise ClientError(LocalKind.NOT_EFFSERVE, f"no answer of effserve: {error}") from error


def _over(attempt: Attempt) -> ClientError:
    return ClientError(LocalKind.DEADLINE_OVER, f"no answer within the {attempt.left_s:.3g} s that were left")


def _read(kind: TypeAdapter[T], response: httpx.Response) -> T:
    if not response.is_success:
        raise _failure(response)
    return _valid(kind, response.content, response)


def _valid(kind: TypeAdapter[T], content: str | bytes, response: httpx.Response) -> T:
    try:
        return kind.validate_json(content)
    except ValidationError as error:
        raise _foreign(response) from error


def _ready(response: httpx.Response) -> bool:
    if "status" not in _document(response.content):
        raise _failure(response)
    return response.is_success


def _has_events(response: httpx.Response) -> bool:
    return response.is_success and response.headers.get("Content-Type", "").startswith(EVENTS)


def _failure(response: httpx.Response) -> ClientError:
    """Why the response is no answer."""
    document = _document(response.content)
    if "kind" in document and not response.is_success:
        return _problem(response, document)
    if response.status_code in GATEWAY:
        detail = f"{response.status_code} {response.reason_phrase}, from something between here and the server"
        return ClientError(LocalKind.NO_ANSWER, detail, retry_after_s=_whole_seconds(response))
    return _foreign(response)


def _problem(response: httpx.Response, document: dict[str, Any]) -> ClientError:
    """Problem details (RFC 9457)."""
    if "kind" not in document:
        return _foreign(response)
    retry_after_ms = document.get("retry_after_ms")
    return ClientError(
        str(document["kind"]),
        str(document.get("detail", "")),
        {name: value for name, value in document.items() if name not in STANDARD},
        _whole_seconds(response) if retry_after_ms is None else retry_after_ms / 1e3,
        str(document.get("request_id", "")),
    )


def _foreign(response: httpx.Response) -> ClientError:
    address = str(response.request.url.copy_with(query=None))
    return ClientError(LocalKind.NOT_EFFSERVE, f"{address} is no answer of effserve")


def _whole_seconds(response: httpx.Response) -> float | None:
    """`Retry-After`; its other form, a date, is not for pauses of this length."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _document(content: str | bytes) -> dict[str, Any]:
    """The JSON object; empty when there is none."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
