"""Gives a connection the addresses that its proxy has announced, wherever it goes from here.

It is done once, when the connection is made: its requests' scopes have them from then on, its WebSocket has
them, and who passes it on sends them along.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from reuseport.worker.protocol.announced import Announced

MOST_TRAVELS = 1024
"""Bytes of what goes along with a connection: a few addresses."""


def made_as(make: Callable[[], asyncio.Protocol], along: bytes) -> Callable[[], asyncio.Protocol]:
    """What makes the protocol of a connection that was passed on, and `along` with it. Raises ValueError."""
    return functools.partial(named, make, Announced.decode(along)) if along else make


def named(make: Callable[[], asyncio.Protocol], announced: Announced) -> asyncio.Protocol:
    """A protocol whose client and server are those announced, once it is connected."""
    protocol: Any = make()
    theirs = protocol.connection_made

    def connection_made(transport: asyncio.BaseTransport) -> None:
        del protocol.connection_made  # or it would hold on to itself
        brought, has_brought = getattr(protocol, "brought", b""), hasattr(protocol, "brought")
        if has_brought:
            protocol.brought = b""
        theirs(transport)
        protocol.travels = announced.encode()
        _name(protocol, announced)
        if has_brought:
            # --sticky: what its mover has read comes after its name.
            protocol.brought = brought
            protocol.read_brought()

    protocol.connection_made = connection_made
    made: asyncio.Protocol = protocol
    return made


def _name(protocol: Any, announced: Announced) -> None:
    if not announced.known:
        return
    protocol.client = client = announced.client
    protocol.server = server = announced.server or protocol.server
    secure = announced.secure
    base = getattr(protocol, "base", None)
    if base is not None:
        base.update(client=client, server=server)
        if secure:
            base["scheme"] = "https"
    elif secure:
        protocol.scheme = "https"
    websocket = protocol.ws_protocol_class
    if websocket is None:
        return

    def named_websocket(**options: Any) -> Any:
        """uvicorn's WebSocket protocols ask their transport when they are connected, and not again."""
        made = websocket(**options)
        theirs = made.connection_made

        def connection_made(transport: asyncio.BaseTransport) -> None:
            del made.connection_made
            theirs(transport)
            made.client, made.server = client, server
            if secure:
                made.scheme = "wss"

        made.connection_made = connection_made
        return made

    protocol.ws_protocol_class = named_websocket
