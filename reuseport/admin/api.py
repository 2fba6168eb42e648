"""The API, version 1, for commands, page and scripts. Described by openapi.json beside this file.

Answers are JSON. Errors are {"error": "a sentence that names the fix"}.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from reuseport.admin.beside import beside
from reuseport.admin.feed import Feed
from reuseport.admin.fresh import Fresh
from reuseport.admin.sampler import STEP, Sampler
from reuseport.history import ROOM
from reuseport.instance import Instance, RefusedError, UnknownSlotError

MOST_BODY = 4096
"""Bytes. The longest request says {"workers": N}."""
PATIENCE = 5.0
"""Seconds for a body to come."""
_NOT_FOUND = HTTPException(404).detail
"""What Starlette's router says, which names no fix."""
LARGEST = 2**53
"""The largest whole number that JSON is sure to carry."""

OPENAPI = beside("openapi.json").read_bytes()
"""Read once, like everything that an upgrade could change while we run."""


class API:
    """Handlers for one instance. `status` makes the bytes of a status."""

    def __init__(self, instance: Instance, status: Fresh[bytes], feed: Feed, sampler: Sampler) -> None:
        self._instance = instance
        self._status = status
        self._feed = feed
        self._sampler = sampler

    def routes(self) -> list[BaseRoute]:
        """Under /api/v1."""
        return [
            Route("/openapi.json", self.description),
            Route("/session", self.session),
            Route("/status", self.status),
            Route("/events", self.events),
            Route("/history", self.history),
            Route("/stream", Stream(self._feed), methods=["GET"]),
            Route("/reload", self.reload, methods=["POST"]),
            Route("/scale", self.scale, methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
            Route("/slots/{slot}/drain", self.drain, methods=["POST"]),
            Route("/slots/{slot}/restart", self.restart, methods=["POST"]),
            Route("/slots/{slot}/stacks", self.stacks, methods=["POST"]),
        ]

    # ── to look ───────────────────────────────────────────────────────────────────────────────────────

    async def description(self, _: Request) -> Response:
        """This API (OpenAPI 3.1)."""
        return Response(OPENAPI, media_type="application/json")

    async def session(self, request: Request) -> Response:
        """What this visitor may do."""
        return _json({"actions": request.state.actions, "token": request.state.token})

    async def status(self, _: Request) -> Response:
        """Everything now."""
        await self._instance.look()
        return Response(await self._status.get(), media_type="application/json", headers=_FRESH)

    async def events(self, request: Request) -> Response:
        """Records after a number."""
        after = _whole(request.query_params.get("after", "0"), "after", 0, LARGEST)
        limit = _whole(request.query_params.get("limit", str(ROOM)), "limit", 1, ROOM)
        records, lost = self._instance.history.after(after, limit)
        body = b'{"events":[%s],"last":%d,"lost":%d}' % (
            b",".join(record.encoded for record in records),
            self._instance.history.last,
            lost,
        )
        return Response(body, media_type="application/json", headers=_FRESH)

    async def history(self, _: Request) -> Response:
        """Samples of the last minutes."""
        return _json({"step": STEP, "samples": list(self._sampler.samples)})

    # ── to act ────────────────────────────────────────────────────────────────────────────────────────

    async def reload(self, _: Request) -> Response:
        """A rolling reload."""
        return _json({"generation": self._instance.reload()}, 202)

    async def scale(self, request: Request) -> Response:
        """More or fewer workers."""
        workers = _number_in(await _body(request), "workers", 1, LARGEST)
        self._instance.scale(workers)
        return _json({"workers": workers}, 202)

    async def stop(self, _: Request) -> Response:
        """A graceful stop."""
        self._instance.stop()
        return _json({}, 202)

    async def drain(self, request: Request) -> Response:
        """Take a slot out of service."""
        slot = _slot(request)
        self._instance.drain(slot)
        return _json({"slot": slot}, 202)

    async def restart(self, request: Request) -> Response:
        """Replace a slot's worker."""
        slot = _slot(request)
        self._instance.restart(slot)
        return _json({"slot": slot}, 202)

    async def stacks(self, request: Request) -> Response:
        """Where a worker stands. It tells of the application's code, so it takes the right to act."""
        return _json(await self._instance.stacks(_slot(request)))


class Stream:
    """Server-sent events: an ASGI application of its own, for a stream ends when its reader does."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request = Request(scope)
        last = request.headers.get("last-event-id", request.query_params.get("after"))
        after = None if last is None else _whole(last, "after", 0, LARGEST)
        if request.method == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
            await send(_piece(b"", more=False))
            return
        if self._feed.full():
            raise HTTPException(503, "too many are looking at once: close a page, or try again later")
        reader = self._feed.join(after)
        leaving = asyncio.ensure_future(_left(receive, reader.end))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
            async for event in reader:
                await send(_piece(event))  # who does not read is cut off, and this returns
            await send(_piece(b"", more=False))
        finally:
            leaving.cancel()
            self._feed.leave(reader)


_FRESH = {"cache-control": "no-store"}
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx would collect what is to be sent at once.
    (b"x-accel-buffering", b"no"),
]


def _piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _left(receive: Receive, end: Callable[[], None]) -> None:
    """Wait until the reader is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    end()


def _json(content: Any, status: int = 200) -> Response:
    # ASCII, which Starlette's JSONResponse is not: texts may have surrogates in them, for a file's name that
    # is no UTF-8.
    body = json.dumps(content, separators=(",", ":"))
    return Response(body, status, _FRESH, media_type="application/json")


def _slot(request: Request) -> int:
    return _whole(request.path_params["slot"], "slot", 0, LARGEST, 404)


def _whole(text: str, name: str, least: int, most: int, status: int = 400) -> int:
    # Digits alone: int() also takes blanks, signs, underscores, and as many digits as it is given.
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise HTTPException(status, f"{name} is a whole number from {least} to {most}")


async def _body(request: Request) -> Any:
    """The JSON that was sent."""
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BODY:
                    raise HTTPException(413, f"at most {MOST_BODY} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {PATIENCE:g} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None


def _number_in(content: Any, name: str, least: int, most: int) -> int:
    value = content.get(name) if isinstance(content, dict) else None
    # bool is an int to Python, and not to anybody else.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise HTTPException(400, f'write {{"{name}": N}}, with a whole number from {least} to {most}')
    return value


async def refused(_: Request, error: Exception) -> Response:
    """What is not done now."""
    return _json({"error": str(error)}, 404 if isinstance(error, UnknownSlotError) else 409)


async def failed(request: Request, error: Exception) -> Response:
    """What was not understood."""
    if not isinstance(error, HTTPException):
        raise TypeError(f"not an HTTP error: {error!r}")
    why = error.detail
    if error.status_code == 405:
        why = f"{request.method} does nothing here: use {(error.headers or {}).get('Allow', 'GET')}"
    elif error.status_code == 404 and why == _NOT_FOUND:
        why = "there is nothing at this path: /api/v1/openapi.json tells what there is"
    response = _json({"error": why}, error.status_code)
    response.headers.update(error.headers or {})
    return response


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: failed,
    RefusedError: refused,
    UnknownSlotError: refused,
}
