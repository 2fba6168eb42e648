"""What a connection behind httptools bears of its client: what it waits for, how large a head may be; and
whether it waits for nothing, so that it can go elsewhere.

httptools tells nothing of a header field before its end, and asks nobody before it keeps it. So sizes are
looked at after a read, and only after one that is long enough to hold too much, or that ends within a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reuseport.scoreboard import Desk
from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.awaited import (
    BODY,
    HEAD,
    IS_SILENT,
    OWES_NOTHING,
    READING,
    RESTS,
    Sign,
    Waits,
    untaken,
)
from reuseport.worker.protocol.cycle import Cycle
from reuseport.worker.protocol.head import Header
from reuseport.worker.protocol.kept import Kept, quiet

BEGUN: dict[str, Any] = {}
"""The scope of a request whose headers are not complete."""


NONE = -1 << 40
"""Of this read's bytes not one is to be counted."""


class Bearing(Kept):
    """The rest of the connection is by_httptools'."""

    read_paused: bool
    write_paused: bool
    scheme: Any
    scope: Any
    url: bytes
    headers: list[Header]
    pipeline: list[Cycle]
    cycle: Cycle | None
    running: Cycle | None
    begun: Cycle | None
    brief: int
    """Bytes of a read in which no head can be too large; -1 while one has begun and not ended."""
    unread: int
    """Bytes that are sure to have come of that one; in a body, since its last part. Negative: one has come in
    this read.
    """

    def resting(self) -> bool:
        """Whether it surely waits for the next request, and nothing else. For most connections, most of the
        time, a look asks no more.
        """
        cycle = self.cycle
        if cycle is None or self.write_paused:
            return False
        return cycle.response_complete and cycle.scope is self.scope

    def awaits(self) -> tuple[Waits, Sign]:
        """What it waits for from its client, and a sign that it is still the same."""
        if self.transport.get_write_buffer_size():
            return READING, untaken(self.transport)
        cycle = self.cycle
        if cycle is None:
            if self.scope is BEGUN:
                return HEAD, self.headers
            return IS_SILENT if self.rested == NEVER else RESTS
        if self.read_paused or self.pipeline:
            return OWES_NOTHING
        if not cycle.response_complete:
            owes = cycle.more_body and not cycle.waiting_for_100_continue and cycle.scope is self.scope
            return (BODY, cycle) if owes else OWES_NOTHING
        if self.scope is BEGUN:
            return HEAD, self.headers
        return RESTS

    def mind(self, size: int) -> None:
        """After reading `size` bytes that began no request, or so many that one's head may be too large."""
        state = self.server_state
        limits = state.limits
        unfinished = self.scope is BEGUN
        whole = self.begun is not None and not (unfinished or self.pipeline or self.brief < 0)
        if whole and size <= limits.head_size and len(self.headers) <= limits.fields:
            # Most that come here: with a body or long headers, and far from any limit.
            return
        if unfinished:
            if self.brief < 0:
                self.unread += size
            else:
                # Where others were in the read that it began in, nobody knows how much of that was its own.
                alone = self.begun is None and not self.pipeline and self._answered()
                self.unread = size if alone else _size(len(self.url), self.headers)
            self.brief = -1
        elif self.brief < 0:
            self.brief = state.shared.brief if state.shared is not None else 0
            self.unread = 0
        elif self.cycle is not None and self.cycle.more_body and self.cycle.scope is self.scope:
            # Chunks end in fields, too, and the parser keeps them all.
            self.unread = max(0, self.unread + size)
            if 0 < limits.head_size < self.unread:
                self._refuse_trailers(self.cycle)
                return
        else:
            self.unread = 0
        for target, headers, long in self._heads():
            if 0 < limits.fields < len(headers) or 0 < limits.head_size < long:
                state.requests.turn_away(Desk.HEAD_TOO_LARGE)
                self.refuse(414 if 0 < limits.head_size < target else 431)
                return

    def _refuse_trailers(self, cycle: Cycle) -> None:
        self.server_state.requests.turn_away(Desk.HEAD_TOO_LARGE)
        if cycle.response_complete:
            self.transport.abort()  # it has had its answer
        else:
            self.refuse(431)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _heads(self) -> Iterator[tuple[int, list[Header], int]]:
        """Of what has not been looked at: the length of the target, the headers so far, the bytes of both."""
        for cycle in (self.begun, *self.pipeline):
            if cycle is not None:
                scope = cycle.scope
                target = len(scope["raw_path"]) + len(scope["query_string"])
                yield target, scope["headers"], _size(target, scope["headers"])
        if self.scope is BEGUN:
            # Not added up again with each byte that drips in.
            yield len(self.url), self.headers, self.unread

    def hush(self) -> bool:
        """Take the word from the application; whether it has not begun to speak."""
        self.begun = None
        self.pipeline.clear()
        speaks = False
        for cycle in {self.running, self.cycle}:
            if cycle is not None and not cycle.response_complete:
                speaks |= cycle.response_started or cycle is not self.cycle
                cycle.disconnected = True
                cycle.tell()
        return not speaks

    # ── can it go elsewhere? ──────────────────────────────────────────────────────────────────────────

    def between_requests(self) -> bool:
        """Whether every request that has begun is answered."""
        if self.cycle is None:
            return self.scope is None
        # A request that has begun has a scope of its own before it has a cycle.
        return not self.pipeline and self.cycle.response_complete and self.cycle.scope is self.scope

    def idle(self) -> bool:
        """Whether the descriptor is all there is to this connection."""
        if self.scheme == "https" or not quiet(self.transport) or not self.between_requests():
            return False
        # Paused by ourselves, it is about to read on: a finalizer blocks between an answer's end and that.
        if self.read_paused:
            return False
        # A body of which a rest is still to come is bytes of this request, however complete the response.
        return self.cycle is None or not self.cycle.more_body


def _size(target: int, headers: list[Header]) -> int:
    return target + sum(len(name) + len(value) + 4 for name, value in headers)
