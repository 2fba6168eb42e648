"""What has happened: one record for each change, in a bounded ring. Log, commands and page show these. Pure.

Whoever writes a record says when; whoever watches is called with each new one, at once.
"""

from __future__ import annotations

import collections
import enum
import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

from reuseport.records import record

ROOM = 1024
"""Records that are kept: a reload of 64 slots is some 200."""
MOST_TEXT = 2_000_000
"""Characters of all their texts together: workers that cannot start say why, at any length they like."""

Level = Literal["debug", "info", "warning", "error"]


class Kind(enum.StrEnum):
    """What a record is about; part of the API, so names are only ever added."""

    STARTING = "starting"
    READY = "ready"
    ALL_READY = "all_ready"
    COULD_NOT_START = "could_not_start"
    EXITED = "exited"
    VIOLATION = "violation"
    CRASHED = "crashed"
    BACKOFF = "backoff"
    STALLED = "stalled"
    TURNING = "turning"
    KILLED = "killed"
    RECYCLE = "recycle"
    RELOAD_BEGUN = "reload_begun"
    RELOAD_DONE = "reload_done"
    RELOAD_ABORTED = "reload_aborted"
    SCALED = "scaled"
    REFUSED = "refused"
    DRAINED = "drained"
    RESTARTED = "restarted"
    FOSTERED = "fostered"
    UNFOSTERED = "unfostered"
    HANDOFFS = "handoffs"
    REBALANCED = "rebalanced"
    STOLEN = "stolen"
    STOPPING = "stopping"
    FOREIGN_LISTENER = "foreign_listener"
    LOGS_REOPENED = "logs_reopened"
    IMPLAUSIBLE = "implausible"
    TAMPERED = "tampered"
    CERTIFICATE = "certificate"


@record(frozen=True)
class Record:
    """One change. `seq` counts from 1 without a gap, `time` is seconds since the epoch, `text` the log's."""

    seq: int
    time: float
    kind: Kind
    level: Level
    slot: int | None
    generation: int | None
    cause: str | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """As the API has it."""
        # Not asdict(), which copies each value deeply and takes ten times as long.
        return {name: getattr(self, name) for name in _NAMES}

    @functools.cached_property
    def encoded(self) -> bytes:
        """As JSON, made once: who asks for all records again and again is not to take the launcher's time."""
        return _JSON.encode(self.to_dict()).encode()


_NAMES = tuple(field.name for field in fields(Record))


_JSON = json.JSONEncoder(separators=(",", ":"))


class History:
    """The last `room` records, oldest first; fewer if their texts are longer than `most_text` together."""

    def __init__(self, room: int = ROOM, most_text: int = MOST_TEXT) -> None:
        self._room = room
        self._most_text = most_text
        self._text = 0
        """Characters of the records that are kept."""
        self._records: collections.deque[Record] = collections.deque()
        self._watchers: list[Callable[[Record], None]] = []
        self.last = 0
        """The number of the newest record; 0 before the first."""

    def add(
        self,
        time: float,
        kind: Kind,
        text: str,
        *,
        level: Level = "info",
        slot: int | None = None,
        generation: int | None = None,
        cause: str | None = None,
    ) -> Record:
        """Write one down and tell whoever watches."""
        self.last += 1
        record = Record(self.last, time, kind, level, slot, generation, cause, text)
        self._records.append(record)
        self._text += len(text)
        # The newest stays, whatever its length.
        while len(self._records) > 1 and (len(self._records) > self._room or self._text > self._most_text):
            self._text -= len(self._records.popleft().text)
        for watcher in list(self._watchers):
            watcher(record)
        return record

    def after(self, seq: int, limit: int = ROOM) -> tuple[list[Record], int]:
        """The first `limit` records that are newer than `seq`, and how many of those newer are forgotten."""
        first = self._records[0].seq if self._records else self.last + 1
        lost = max(0, first - 1 - max(seq, 0))
        start = max(0, seq + 1 - first)
        return list(itertools.islice(self._records, start, start + limit)), lost

    def watch(self, watcher: Callable[[Record], None]) -> Callable[[], None]:
        """Call `watcher` with each new record, until the returned function is called."""
        self._watchers.append(watcher)

        def unwatch() -> None:
            self._watchers.remove(watcher)

        return unwatch
