"""How many bytes of bodies are in the process? The queue bounds work; it sees a request once its body is whole."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.core.errors import EffserveError, ErrorKind

RETRY_AFTER_S = 1.0


class Uploads:
    """Counts the bytes of all bodies that are being received or classified. Belongs to one event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0

    def __repr__(self) -> str:
        return f"<Uploads {self._taken_bytes}/{self._limit_bytes} bytes>"

    @contextmanager
    def one(self) -> Iterator["Upload"]:
        """For the life of one request."""
        upload = Upload(self)
        try:
            yield upload
        finally:
            self._taken_bytes -= upload.size_bytes

    def take(self, size_bytes: int) -> None:
        """Raises `EffserveError(QUEUE_FULL)` when there is no room."""
        if self._taken_bytes + size_bytes > self._limit_bytes:
            detail = f"uploads of {self._limit_bytes} bytes are in hand already"
            facts: dict[str, float | int | str] = {"limit_bytes": self._limit_bytes}
            raise EffserveError(ErrorKind.QUEUE_FULL, detail, facts, retry_after_s=RETRY_AFTER_S)
        self._taken_bytes += size_bytes


class Upload:
    """The body of one request."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self.size_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """More of it has come. Raises `EffserveError(QUEUE_FULL)`."""
        self._uploads.take(size_bytes)
        self.size_bytes += size_bytes
