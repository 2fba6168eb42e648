"""`plain:app` with answers of an unusual shape: `/bytes?n=1000` is that long, `/early` waits for no body."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from tests.apps import diary  # a worker finds it on --app-dir, mypy from the root
else:
    import diary

Scope, Receive, Send = diary.plain.Scope, diary.plain.Receive, diary.plain.Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Everything else is answered as `diary` does."""
    if scope["type"] == "http" and scope["path"] == "/bytes":
        query = parse_qs(scope["query_string"].decode())
        body = b"x" * int(query["n"][0])
        await send({"type": "http.response.start", "status": 200, "headers": length_of(body)})
        await send({"type": "http.response.body", "body": body})
    else:
        await diary.app(scope, receive, send)


def length_of(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(len(body)).encode())]
