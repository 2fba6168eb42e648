"""The answer when nobody can serve: 503 and why, by hand, for the web framework is what is missing."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial

MOST = 64
"""Visitors at a time: for more there is the accept queue."""
PATIENCE = 5.0
"""Seconds until a visitor is cut off, whatever it does."""
MOST_HEAD = 16 * 1024
"""Bytes of a request: it is not understood, only read, for closing before that would reset the connection."""


async def apologize(visitor: socket.socket, why: str) -> None:
    """Answer one visitor, and wait until it is gone. Owns the socket."""
    loop = asyncio.get_running_loop()
    transport, apology = await loop.connect_accepted_socket(
        partial(Apology, loop.create_future(), why), visitor
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await apology.gone
    except TimeoutError:
        pass
    finally:
        transport.abort()


class Apology(asyncio.Protocol):
    """One visitor's connection; `gone` is done when it is closed."""

    def __init__(self, gone: asyncio.Future[None], why: str) -> None:
        self.gone = gone
        self._why = why
        self._head = b""
        self._said = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio's."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the request's head is over; a body, which nobody waits for, is thrown away."""
        if self._said:
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > MOST_HEAD:
            self._said = True
            self._transport.write(answer(self._why))
            self._transport.write_eof()

    def eof_received(self) -> bool:
        """It has our answer, or wants none: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """asyncio's."""
        if not self.gone.done():
            self.gone.set_result(None)


def answer(why: str) -> bytes:
    """As the API words an error."""
    body = json.dumps({"error": f"control and admin cannot be served: {why}"}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"cache-control: no-store\r\nretry-after: 1\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
