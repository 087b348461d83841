"""An address → how to ask there. HTTP and gRPC are imported only by who uses them."""

from collections.abc import AsyncGenerator, Iterator
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from service.client.asking import Attempt
from service.client.values import Answer, Changes, Plan, Variants

FORM = "http://HOST:PORT or grpc://HOST:PORT, with https or grpcs for TLS"


class Transport(Protocol):
    """Sends a question once. All methods raise `ClientError`."""

    def classify(self, attempt: Attempt) -> Answer:
        """One image, one answer."""

    def anytime(self, attempt: Attempt) -> Iterator[Answer]:
        """One image, each answer as it comes."""

    def plan(self, attempt: Attempt) -> Plan:
        """What the question would get."""

    def variants(self, attempt: Attempt) -> Variants:
        """The table."""

    def reload(self, attempt: Attempt) -> Changes:
        """Make what is served equal to the store."""

    def ready(self, attempt: Attempt) -> bool:
        """Whether the server wants traffic."""

    def close(self) -> None:
        """Hang up."""


class AsyncTransport(Protocol):
    """The same for asyncio."""

    async def classify(self, attempt: Attempt) -> Answer:
        """One image, one answer."""

    def anytime(self, attempt: Attempt) -> AsyncGenerator[Answer, None]:
        """One image, each answer as it comes."""

    async def plan(self, attempt: Attempt) -> Plan:
        """What the question would get."""

    async def variants(self, attempt: Attempt) -> Variants:
        """The table."""

    async def reload(self, attempt: Attempt) -> Changes:
        """Make what is served equal to the store."""

    async def ready(self, attempt: Attempt) -> bool:
        """Whether the server wants traffic."""

    async def close(self) -> None:
        """Hang up."""


def connect(url: str) -> Transport:
    """Nothing is sent yet. Raises `ValueError` when the address is none."""
    parts = _parts(url)
    if parts.scheme.startswith("http"):
        from service.client.over_http import HttpTransport

        return HttpTransport(url)
    from service.client.over_grpc import GrpcTransport

    return GrpcTransport(parts.netloc, secure=parts.scheme == "grpcs")


def connect_async(url: str) -> AsyncTransport:
    """Likewise."""
    parts = _parts(url)
    if parts.scheme.startswith("http"):
        from service.client.over_http import AsyncHttpTransport

        return AsyncHttpTransport(url)
    from service.client.over_grpc import AsyncGrpcTransport

    return AsyncGrpcTransport(parts.netloc, secure=parts.scheme == "grpcs")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        named = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise ValueError(f"{url} is not a URL: {error}") from None
    if not named or parts.scheme not in ("http", "https", "grpc", "grpcs"):
        raise ValueError(f"{url} is not a URL of the form {FORM}")
    if parts.scheme.startswith("grpc") and (parts.path.strip("/") or parts.port is None):
        raise ValueError(f"{url} is not a URL of the form {FORM}")
    return parts
