"""Listeners on our port that are not ours: any program of our user may join the group at any time.

The start refuses them, or takes them in (--join); who comes later is only seen, and told. Each of our own is
known by its inode, which no two sockets have at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from reuseport.kernel.listener import EXHAUSTED
from reuseport.kernel.strangers import Stranger, listeners_on
from reuseport.launcher.ports import Ports

EVERY = 5.0
"""Seconds between looks: /proc/net/tcp is read as far as its listeners go, some 100 µs."""


class Neighbours:
    """Who else listens where our clients connect. `steered`: our program chooses for the whole group."""

    def __init__(self, ports: Ports, *, steered: bool) -> None:
        self._ports = ports
        self._gets = (
            "the kernel gives it no connection" if steered else "it gets its share of the connections"
        )
        self._known: dict[int, Stranger] = {}
        self._next = 0.0

    def look(self, now: float) -> Iterator[str]:
        """A sentence for each one that has come or gone since the last look."""
        if now < self._next:
            return
        self._next = now + EVERY
        try:
            news = list(self._news())
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            return  # no descriptor is free to look with: at the next look, perhaps
        yield from news

    def _news(self) -> Iterator[str]:
        ours = {os.fstat(listener.fileno()).st_ino for listener in self._ports.listening()}
        if not ours:
            return  # they are the workers' alone: the server stops, and they would look like somebody else's
        found = {
            stranger.inode: stranger
            for endpoint in self._ports.endpoints()
            for stranger in listeners_on(endpoint)
            if stranger.inode not in ours
        }
        for inode in found.keys() - self._known.keys():
            stranger = found[inode]
            yield f"{stranger.describe()} listens on {stranger.address}, too: {self._gets}"
        for inode in self._known.keys() - found.keys():
            yield f"the other listener on {self._known[inode].address} is gone"
        self._known = found
