"""Sessions in the memory of one worker, as they are everywhere: another worker does not know them.

    POST /open      a new session, its key in the header `session` and in a cookie of that name; `?key=` is it
    POST /visit     the body is remembered, and the answer tells all that was so far; 404 if nobody is known

A key comes in the header `session`, the cookie `session` or the parameter `session`. Over WebSocket, each
message is a visit.
"""

from __future__ import annotations

import json
import os
import secrets
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from tests.apps import plain  # a worker finds it on --app-dir, mypy from the root
else:
    import plain

SESSIONS: dict[str, list[str]] = {}


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    """Everything else is answered as `plain` does."""
    if scope["type"] == "websocket":
        await talk(scope, receive, send)
    elif scope["type"] != "http" or scope["path"] not in ("/open", "/visit"):
        await plain.app(scope, receive, send)
    elif scope["path"] == "/open":
        key = asked(scope) or secrets.token_hex(8)
        SESSIONS[key] = []
        await answer(send, 200, key, told=True)
    else:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        key = asked(scope)
        await answer(send, 200 if visit(key, body.decode()) else 404, key)


async def talk(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    key = asked(scope)
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        visit(key, message["text"])
        await send({"type": "websocket.send", "text": json.dumps(shown(key))})


def asked(scope: plain.Scope) -> str:
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    cookie = SimpleCookie(headers.get("cookie", "")).get("session")
    query = parse_qs(scope["query_string"].decode())
    in_query = (query.get("session") or query.get("key") or [""])[0]
    return headers.get("session", "") or (cookie.value if cookie else "") or in_query


def visit(key: str, what: str) -> bool:
    if key not in SESSIONS:
        return False
    SESSIONS[key].append(what)
    return True


def shown(key: str) -> dict[str, Any]:
    return {
        "slot": os.environ["REUSEPORT_SLOT"],
        "pid": os.getpid(),
        "key": key,
        "visits": SESSIONS.get(key),
    }


async def answer(send: plain.Send, status: int, key: str, *, told: bool = False) -> None:
    body = json.dumps(shown(key)).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    if told:
        headers += [(b"Session", key.encode()), (b"Set-Cookie", f"session={key}; Path=/".encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
