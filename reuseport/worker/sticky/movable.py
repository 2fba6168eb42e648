"""The protocols, which keep what they have read of a request until its head is complete: it may be moved."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import httptools

from reuseport.worker.protocol.bounded import Bounded
from reuseport.worker.protocol.by_h11 import TransferableH11
from reuseport.worker.protocol.by_httptools import TransferableHttpTools
from reuseport.worker.sticky.moving import MOST

_SLOTS = ("_known", "_read", "_to", "brought")


class Movable(TransferableHttpTools):
    """What becomes of a connection read by httptools.

    httptools reads on when a head is complete, to the end of what has come. If the request is to be moved,
    nothing comes of that, for there is no cycle that a body or an end could be of. If it then cannot go, a
    new parser reads all of it again.
    """

    __slots__ = ()

    brought: bytes
    """What its mover has read, for a connection that was moved here."""
    _read: bytes | bytearray | None
    """All bytes of a request that has begun, while its head is not complete and it may be moved."""
    _to: int | None
    """The slot that it is to be moved to."""
    _known: bool
    """Where the request belongs has been asked already: it was moved here, or could not be moved."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.brought = b""
        self._read = self._to = None
        self._known = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """And what was brought is read, before anything else can be."""
        super().connection_made(transport)
        self.read_brought()

    def read_brought(self) -> None:
        """Where it belongs needs not be asked again."""
        if self.brought:
            brought, self.brought = self.brought, b""
            self._known = True
            super().data_received(brought)

    def data_received(self, data: bytes) -> None:
        """As before, but for a request that is to be moved."""
        if self.read_paused:
            # uvloop begins to read when `connection_made` is over, whatever that wanted.
            self.transport.pause_reading()
        if self._read is None:
            # Whether what comes now is the first of a request, and of nothing else.
            cycle = self.cycle
            if cycle is None:
                begins = self.scope is None
            else:
                complete = cycle.response_complete and not cycle.more_body
                begins = complete and cycle.scope is self.scope and not self.pipeline
            if not begins:
                super().data_received(data)
                return
            self._read = data
        else:
            # In place, if it has come in more than two parts: some send byte by byte.
            self._read = bytearray(self._read) if isinstance(self._read, bytes) else self._read
            self._read += data
        super().data_received(data)
        if self._to is not None and self._read is not None:
            self._move(self._to, bytes(self._read))
        elif self._read is not None and len(self._read) > MOST:
            self._read = None

    def handle_websocket_upgrade(self) -> None:
        """Not of one that is to be moved."""
        if self._to is None:
            self._read = None
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """To be sent where it is moved to."""
        if self._to is None:
            self._read = None
            super().send_400_response(msg)

    def mind(self, size: int) -> None:
        """Where it is moved to, somebody looks whether it is too large."""
        if self._to is None:
            super().mind(size)

    def refuse(self, status: int) -> None:
        """Nothing more is made of it."""
        self._read = None
        super().refuse(status)

    def on_headers_complete(self) -> None:
        """Here it is decided."""
        if self._to is not None:
            return
        if self._known:
            self._known = False
        else:
            movable = self._read is not None and len(self._read) <= MOST
            self._to = self.server_state.sessions.elsewhere(self.headers, self.url, movable)
            if self._to is not None:
                return
        self._read = None
        super().on_headers_complete()

    def _move(self, slot: int, read: bytes) -> None:
        self._to = self._read = None
        if not self.server_state.sessions.move(self, slot, read):
            # As the one before it, which is somewhere in a request that nobody has made anything of.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.noted = []
            self._known = True
            super().data_received(read)


class MovableHttpTools(Movable):
    """A connection read by httptools."""

    __slots__ = _SLOTS


class MovableBounded(Movable, Bounded):
    """... whose requests can be too large, or too late."""

    __slots__ = _SLOTS

    def on_body(self, body: bytes) -> None:
        """Counted where it is moved to."""
        if self._to is None:
            super().on_body(body)


class MovableH11(TransferableH11):
    """A connection read by h11.

    uvicorn's protocol has no seam between a head and its request. So another h11 reads heads first; the first
    one gets the last part of a head only when the request stays.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.brought = b""
        """What its mover has read, for a connection that was moved here."""
        self._read = bytearray()
        self._ahead: h11.Connection | None = None
        """Reads the head of a request that has begun."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """And what was brought is read, before anything else can be."""
        super().connection_made(transport)
        self.read_brought()

    def read_brought(self) -> None:
        """Where it belongs needs not be asked again."""
        if self.brought:
            brought, self.brought = self.brought, b""
            super().data_received(brought)

    def data_received(self, data: bytes) -> None:
        """As before, but for a request that is to be moved."""
        if self.flow.read_paused:
            # uvloop begins to read when `connection_made` is over, whatever that wanted.
            self.transport.pause_reading()
        if self._ahead is None and self.between_requests():
            most = self.config.h11_max_incomplete_event_size
            self._ahead = h11.Connection(h11.SERVER, MOST if most is None else most)
        if self._ahead is not None and self._goes(self._ahead, data):
            return
        super().data_received(data)

    def _goes(self, ahead: h11.Connection, data: bytes) -> bool:
        self._read += data
        try:
            ahead.receive_data(data)
            event = ahead.next_event()
        except h11.RemoteProtocolError:
            event = None  # the first one finds that, too, and says so
        if event is h11.NEED_DATA:
            return False
        read, self._ahead = bytes(self._read), None
        self._read.clear()
        if not isinstance(event, h11.Request):
            return False
        headers = [(name.lower(), value) for name, value in event.headers]
        sessions = self.server_state.sessions
        slot = sessions.elsewhere(headers, event.target, len(read) <= MOST)
        return slot is not None and sessions.move(self, slot, read)


MOVABLE: dict[type[asyncio.Protocol] | str, type[asyncio.Protocol]] = {
    TransferableHttpTools: MovableHttpTools,
    Bounded: MovableBounded,
    TransferableH11: MovableH11,
}
"""What serves with --sticky in the place of what would serve without."""
