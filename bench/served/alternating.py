"""A worker that serves in several ways in turn, a tenth of a second each, and keeps account: for --http.

Whatever a neighbour on the machine costs, and however the interpreter's memory lies, meets all ways alike:

    bare      requests are not counted, no access log
    metered   they are
    access    the same, and the access log
    logging   the same, but Python's logging writes the lines

The account, CPU nanoseconds and requests of each turn of each way, is written to $BENCH_ACCOUNT all the time.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from reuseport.worker.protocol.connection import State, TransferableHttpTools
from reuseport.worker.protocol.state import noting

WAYS = ("bare", "metered", "access", "logging")
TURN = 0.1
"""Seconds that one way lasts."""
SETTLE = 0.02
"""Seconds of them that do not count: some requests have begun in another way."""


class Turns:
    """Which way it is now. Begins with the first connection."""

    way = WAYS[0]
    begun = False

    def __init__(self) -> None:
        self.account: dict[str, list[tuple[int, int]]] = {way: [] for way in WAYS}
        self._path = Path(os.environ["BENCH_ACCOUNT"])

    def begin(self, state: State) -> None:
        """In the running loop; once or often."""
        if not self.begun:
            self.begun = True
            self._task = asyncio.get_running_loop().create_task(self._turn(state))

    async def _turn(self, state: State) -> None:
        order = list(WAYS)
        while True:
            for self.way in order:
                await asyncio.sleep(SETTLE)
                spent, answered = time.process_time_ns(), state.total_requests
                await asyncio.sleep(TURN - SETTLE)
                spent, answered = time.process_time_ns() - spent, state.total_requests - answered
                self.account[self.way].append((spent, answered))
            order.reverse()
            self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self.account), encoding="ascii")
        new.replace(self._path)


@functools.cache
def turns() -> Turns:
    """The process's."""
    return Turns()


class Alternating(TransferableHttpTools):
    """Looks at each request which way it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        turns().begin(self.server_state)
        counted, ours = self.count, self.log_access
        theirs = noting(logging.getLogger("uvicorn.access"))
        self.ways: dict[str, tuple[Any, Any]] = {
            "bare": (_uncounted, None),
            "metered": (counted, None),
            "access": (counted, ours),
            "logging": (counted, theirs),
        }

    def on_headers_complete(self) -> None:
        self.count, self.log_access = self.ways[turns().way]
        super().on_headers_complete()


def _uncounted(_status: int, _took: int) -> None:
    """In the place of what counts."""
