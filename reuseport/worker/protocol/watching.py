"""h11 with limits: what comes of a request is counted as h11 tells of it, before anybody else hears of it.

h11 reads the size of a head by itself. Of a request that says in two ways how its body ends it believes one,
as it may; but a proxy before us may have believed the other, so the connection could not go on in any case
(RFC 9112, 6.1), and it is refused, as by httptools.
"""

from __future__ import annotations

from typing import Any

import h11

from reuseport.worker.protocol.limits import Limits


class Watching(h11.Connection):
    """A server's end of a connection."""

    def __init__(self, max_incomplete_event_size: int, limits: Limits) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._limits = limits
        self._taken = 0
        """Bytes of the body so far."""

    def next_event(self) -> Any:
        """As h11's. Raises RemoteProtocolError beyond a limit, with the status to be answered."""
        event = super().next_event()
        if type(event) is h11.Data:
            self._taken += len(event.data)
            if 0 < self._limits.body_size < self._taken:
                raise h11.RemoteProtocolError("the body is too large", 413)
        elif type(event) is h11.Request:
            self._taken = 0
            self._look_at(event)
        return event

    def _look_at(self, request: h11.Request) -> None:
        headers = request.headers
        if 0 < self._limits.fields < len(headers):
            raise h11.RemoteProtocolError("too many header fields", 431)
        lengths = [int(value) for name, value in headers if name == b"content-length"]
        if lengths and any(name == b"transfer-encoding" for name, _ in headers):
            raise h11.RemoteProtocolError("the body ends in two ways", 400)
        if 0 < self._limits.body_size < max(lengths, default=0):
            raise h11.RemoteProtocolError("the body is too large", 413)
