"""Applications that do next to nothing, so that what a request costs is the server's: `raw`, and `starlette`.

GET / is answered in 13 bytes, GET /large in 64 KiB, and POST /echo with how many numbers its JSON has.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import environ
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bench.served import application
from bench.served.application import Receive, Scope, Send

HELLO = b"Hello, world!"
LARGE = b"x" * 65536


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Without a framework."""
    if scope["type"] == "lifespan":
        await application.lifespan(receive, send)
        return
    path = scope["path"]
    if path == "/echo":
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        body = b'{"numbers":%d}' % len(json.loads(body))
    else:
        body = LARGE if path == "/large" else HELLO
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _hello(_request: Request) -> Response:
    return PlainTextResponse(HELLO)


async def _large(_request: Request) -> Response:
    return PlainTextResponse(LARGE)


async def _echo(request: Request) -> Response:
    return JSONResponse({"numbers": len(await request.json())})


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    application.entry(Path(environ["BENCH_LEDGER"]))
    yield


starlette = Starlette(
    routes=[Route("/", _hello), Route("/large", _large), Route("/echo", _echo, methods=["POST"])],
    lifespan=_lifespan,
)
