"""`diary:app` with large answers: `/bytes?n=1000` is that long."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from tests.apps import diary, plain  # a worker finds it on --app-dir, mypy from the root
else:
    import diary
    import plain


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    """Everything else is answered as `diary` does."""
    if scope["type"] == "http" and scope["path"] == "/bytes":
        query = parse_qs(scope["query_string"].decode())
        body = b"x" * int(query["n"][0])
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        await diary.app(scope, receive, send)
