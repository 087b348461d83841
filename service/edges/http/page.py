"""The page at `/`: its files come from within the package, with what browsers need to keep them and to be strict.

They are few and small, so they are read once. A file's tag is made from its content; a wheel gives every file the same
date, so one made from date and size, as usual, could show an old script after an update. Browsers ask each time and are
told in a header's length that nothing has changed.
"""

import hashlib
from dataclasses import dataclass
from importlib.abc import Traversable
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

ROOT = "/page/"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
"""Not asked of the system, which knows other ones on each machine: browsers run no script of a wrong type."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # Photos are shown from memory.
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from elsewhere, nothing to elsewhere, no script within the page, and no markup made from strings."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, source: Traversable) -> "File":
        """From the package."""
        content = source.read_bytes()
        return cls(content, TYPES[PurePosixPath(source.name).suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def response(self, request: Request) -> Response:
        """The file, or that the client's copy is still right."""
        headers = HEADERS | {"ETag": self.tag}
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if self.tag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(self.content, 200, headers, self.media_type)


class Page:
    """All files of the page."""

    def __init__(self) -> None:
        self._files = {name: File.read(source) for name, source in _below(files("service") / "page")}

    def add_to(self, app: FastAPI) -> None:
        """Pages are for people: they are no part of the API, so its document does not list them."""
        app.add_route("/", self.index, include_in_schema=False)
        app.add_route(ROOT + "{name:path}", self.file, include_in_schema=False)

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return self._files[INDEX].response(request)

    async def file(self, request: Request) -> Response:
        """What it is made of."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found.response(request)


def _below(folder: Traversable, before: str = "") -> list[tuple[str, Traversable]]:
    """Names, with folders, and files."""
    found = []
    for entry in folder.iterdir():
        name = before + entry.name
        found += _below(entry, f"{name}/") if entry.is_dir() else [(name, entry)]
    return found
