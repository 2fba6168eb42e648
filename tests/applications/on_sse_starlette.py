# requires: sse-starlette
"""sse-starlette: streams that end when the server stops, by its own handler of SIGTERM."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import httpx
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route


async def counted(request: Request) -> EventSourceResponse:
    async def events() -> AsyncIterator[dict[str, str]]:
        for number in range(int(request.query_params.get("most", 10_000))):
            yield {"event": "count", "data": str(number)}
            await asyncio.sleep(0.02)

    return EventSourceResponse(events())


app = Starlette(routes=[Route("/events", counted)])


def use(url: str) -> object:
    """As browsers do: whose stream was ended asks again. sse-starlette ends what is open at SIGTERM."""
    while True:
        try:
            with httpx.stream("GET", f"{url}/events?most=5", timeout=20) as stream:
                return stream.status_code, list(stream.iter_lines())
        except httpx.RemoteProtocolError as error:
            if "incomplete chunked read" not in str(error):
                raise


def follow(url: str, begun: threading.Event) -> object:
    seen = 0
    with httpx.stream("GET", f"{url}/events", timeout=20) as stream:
        for line in stream.iter_lines():
            seen += line.startswith("data:")
            if seen == 3:
                begun.set()
    return "ended"
