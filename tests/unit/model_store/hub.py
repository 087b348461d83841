"""A model hub on 127.0.0.1: what it says of a file, the file itself, and what can go wrong with both."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER_COMMIT = COMMIT[::-1]
PAGE = b"<!doctype html><title>Welcome</title><p>Sign in to use this network."


@dataclass(frozen=True)
class Request:
    """What the client asked for."""

    method: str
    range: str | None
    authorization: str | None


@dataclass
class StubHub:
    """Files by repository, and the faults to show."""

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    """Empty: not said."""
    cuts: list[int] = field(default_factory=list)
    """Each of the next downloads ends after so many bytes."""
    stalls: list[int] = field(default_factory=list)
    """Each of the next downloads pauses after so many bytes, until `released`."""
    released: Event = field(default_factory=Event)
    ranges_work: bool = True
    """Whether a part is given when a part is asked for."""
    etag: tuple[str, str] = ("X-Linked-Etag", '"{}"')
    """The header that has the SHA-256, and how it is written there."""
    sha256: str | None = None
    """Said in place of the right one."""
    size: int | None = None
    """Likewise."""
    status: int = 200
    status_after_cut: int = 200
    error_code: str | None = None
    """Goes with `status`: how a hub, unlike other servers, says what it means."""
    page: bool = False
    """Everything is answered as a captive portal does: with status 200 and some HTML."""
    moved: dict[str, str] = field(default_factory=dict)
    """Repositories that have another name now."""
    cdn: "StubHub | None" = None
    """Where the content lies, on another port. See `file_server`."""
    endpoint: str = ""
    requests: list[Request] = field(default_factory=list)
    """Those for files; the client also asks a hub of things that concern nobody here."""

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of every download, None without."""
        return [request.range for request in self.requests if request.method == "GET"]


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
        hub.released.set()
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
        if content is not None:
            size = len(content) if self._hub.size is None else self._hub.size
            self._head(200, {"Content-Length": str(size)}, content)

    def do_GET(self) -> None:
        """The file, or the rest of it."""
        content = self._content()
        if content is None:
            return
        asked = self.headers["Range"] if self._hub.ranges_work else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        self._head(206 if asked else 200, {"Content-Length": str(len(content) - start)} | place, content)
        with suppress(ConnectionError):
            self._send(content[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _send(self, content: bytes) -> None:
        hub = self._hub
        if hub.cuts:
            self.wfile.write(content[: hub.cuts.pop(0)])
            hub.status = hub.status_after_cut
            return
        pause = hub.stalls.pop(0) if hub.stalls else 0
        self.wfile.write(content[:pause])
        if pause:
            hub.released.wait()
        self.wfile.write(content[pause:])

    def _content(self) -> bytes | None:
        """The file asked for; None once something else was sent instead."""
        hub = self._hub
        repository, for_a_file, rest = self.path.strip("/").partition("/resolve/")
        if for_a_file:
            hub.requests.append(Request(self.command, self.headers["Range"], self.headers["Authorization"]))
        content = hub.files.get(repository)
        if hub.page:
            self._portal()
        elif hub.status != 200:
            self._error(hub.status, hub.error_code)
        elif repository in hub.moved:
            self._head(307, {"Location": f"/{hub.moved[repository]}/resolve/{rest}"})
        elif content is None:
            self._error(404, "RepoNotFound")
        elif hub.cdn is not None:
            self._head(302, {"Location": f"{hub.cdn.endpoint}{self.path}?signature=short-lived"}, content)
        else:
            return content
        return None

    def _portal(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE if self.command == "GET" else b"")

    def _error(self, status: int, code: str | None) -> None:
        self._head(status, {"Content-Length": "0"} | ({"X-Error-Code": code} if code else {}))

    def _head(self, status: int, headers: dict[str, str], content: bytes | None = None) -> None:
        self.send_response(status)
        for name, value in (headers | (self._said_of(content) if content is not None else {})).items():
            self.send_header(name, value)
        self.end_headers()

    def _said_of(self, content: bytes) -> dict[str, str]:
        hub = self._hub
        header, form = hub.etag
        sha256 = hub.sha256 or hashlib.sha256(content).hexdigest()
        size = len(content) if hub.size is None else hub.size
        said = {"X-Repo-Commit": hub.commit, "X-Linked-Size": str(size), header: form.format(sha256)}
        return {name: value for name, value in said.items() if value}


def file_server(files: dict[str, bytes]) -> StubHub:
    """The same files without a hub's knowledge: no revision, and an ETag that is not the SHA-256."""
    return StubHub(files, commit="", etag=("ETag", '"{:.32}"'))
