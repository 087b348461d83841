"""A model hub on 127.0.0.1: the two requests the client makes for a file, and what can go wrong with them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StubHub:
    """Files by repository, and the faults to show. `ranges` has the Range header of every download, None without."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """Each of the next downloads ends after so many bytes."""
    sha256: str | None = None
    """Said in place of the right one."""
    size: int | None = None
    """Likewise."""
    status: int = 200
    endpoint: str = ""
    ranges: list[str | None] = field(default_factory=list)


@contextmanager
def serving(hub: StubHub) -> Iterator[StubHub]:
    """Serve it on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """`/<owner>/<repository>/resolve/<revision>/model.safetensors`, with the hub's headers."""

    def __init__(self, hub: StubHub, *connection: object) -> None:
        self._hub = hub
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        """What there is."""
        content = self._content()
        if content is None:
            return
        size = len(content) if self._hub.size is None else self._hub.size
        self._head(200, {"Content-Length": str(size), "X-Linked-Size": str(size)}, content)

    def do_GET(self) -> None:
        """The file, or the rest of it."""
        content = self._content()
        if content is None:
            return
        asked = self.headers["Range"]
        self._hub.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        self._head(206 if asked else 200, {"Content-Length": str(len(content) - start)} | place, content)
        end = start + self._hub.cuts.pop(0) if self._hub.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _content(self) -> bytes | None:
        """The file asked for; None once an error was sent instead."""
        repository, _, _ = self.path.strip("/").partition("/resolve/")
        content = self._hub.files.get(repository)
        if self._hub.status != 200:
            self._head(self._hub.status, {"Content-Length": "0"})
        elif content is None:
            self._head(404, {"Content-Length": "0", "X-Error-Code": "RepoNotFound"})
        else:
            return content
        return None

    def _head(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        sha256 = self._hub.sha256 or hashlib.sha256(content).hexdigest()
        self.send_response(status)
        for name, value in (headers | {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sha256}"'}).items():
            self.send_header(name, value)
        self.end_headers()
