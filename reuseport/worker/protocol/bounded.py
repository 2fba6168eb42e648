"""httptools where a request can be too large, or too late: two questions more, where somebody asks them."""

from __future__ import annotations

from typing import Any

from reuseport.scoreboard import Desk
from reuseport.worker.protocol.by_httptools import TransferableHttpTools
from reuseport.worker.protocol.lateness import late, too_late


class Bounded(TransferableHttpTools):
    """A connection whose requests may wait for so long only, and bring so much."""

    __slots__ = ("excess", "taken")

    taken: int
    """Bytes of the body so far."""
    excess: bool
    """It is too large, or says that it will be."""

    def connection_made(self, transport: Any) -> None:
        """As it is."""
        super().connection_made(transport)
        self.excess = False
        self.taken = 0

    def on_headers_complete(self) -> None:
        """Late, or too large: the application does not hear of it."""
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            return  # an upgrade
        limits = self.server_state.limits
        self.taken = 0
        lengths = [int(value) for name, value in self.headers if name == b"content-length"]
        if 0 < limits.body_size < max(lengths, default=0):
            self.excess = True
            self.begun = None
        elif not self.pipeline and late(self.transport, limits):
            # Behind another one it has waited for that, too.
            self.server_state.requests.turn_away(Desk.WAITED)
            cycle.app = too_late

    def on_body(self, body: bytes) -> None:
        """Not beyond the limit."""
        self.taken += len(body)
        if not self.excess and 0 < self.server_state.limits.body_size < self.taken:
            self.excess = True
            if self.begun is self.cycle:
                self.begun = None
        if not self.excess:
            super().on_body(body)

    def data_received(self, data: bytes) -> None:
        """Refused when all that has come is parsed."""
        super().data_received(data)
        if self.excess and self.parser is not None:
            self.excess = False
            self.server_state.requests.turn_away(Desk.BODY_TOO_LARGE)
            self.refuse(413)
