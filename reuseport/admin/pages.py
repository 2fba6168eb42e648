"""The page and what it is made of, read once and served from memory: no path of a request is ever opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from reuseport.admin.beside import beside
from reuseport.records import record

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FOLDER = beside("page")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
"""Of the files that are served; others are not."""


@record(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str
    etag: str


class Pages:
    """All files of the page, by their path below FOLDER."""

    def __init__(self, folder: Traversable = FOLDER) -> None:
        self._files = dict(_below(folder, PurePosixPath()))

    def routes(self) -> list[BaseRoute]:
        """The page at the root, its parts below /page."""
        return [Route("/", self.index), Route("/page/{name:path}", self.part)]

    async def index(self, request: Request) -> Response:
        """The page."""
        return self._answer(request, "index.html")

    async def part(self, request: Request) -> Response:
        """A script, a style sheet."""
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404)
        headers = {"etag": file.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.kind, headers=headers)


def _below(folder: Traversable, above: PurePosixPath) -> Iterator[tuple[str, _File]]:
    """Every file that is served, by its path; not by pathlib, for it may lie in an archive."""
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = above / each.name
        if each.is_dir():
            yield from _below(each, path)
        elif path.suffix in TYPES:
            content = each.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            yield str(path), _File(content, TYPES[path.suffix], etag)
