"""What a steering program is made for: how many slots, by which rule, over which layout of the scoreboard."""

from __future__ import annotations

from typing import Literal, TypeAlias

from reuseport.records import record

Policy: TypeAlias = Literal["least-loaded", "round-robin"]

WORD_BYTES = 8


@record(frozen=True)
class Words:
    """Where the program finds what it reads: indices of 64-bit words.

    A slot has rows of `row` words: the launcher's, and one for each of `desks`. `fence` (not 0: leave the
    slot out), `serving_desk` (from 0) and `assigned` count within the launcher's row; `heartbeat`
    (CLOCK_MONOTONIC, nanoseconds; 0: not ready), `load` (requests running and connections that have not
    asked yet: what the worker has to do) and `accepted` within a desk's.
    """

    row: int
    fence: int
    serving_desk: int
    assigned: int
    heartbeat: int
    load: int
    accepted: int
    desks: int = 2

    @property
    def slot_bytes(self) -> int:
        """From one slot's words to the next slot's."""
        return (1 + self.desks) * self.row * WORD_BYTES

    @property
    def row_bytes(self) -> int:
        return self.row * WORD_BYTES


@record(frozen=True)
class Plan:
    """What a program is made for. Raises ValueError for what cannot be.

    A worker is late when its heartbeat is older than `late_ns` while it has work, `stale_ns` while it has
    none: one that has work beats more often, so the same silence says more of it. Whoever gets work writes
    the heartbeat before the load, or it would be late for the moment in between.
    """

    slots: int
    policy: Policy
    late_ns: int
    stale_ns: int
    words: Words

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"steering needs at least one slot, not {self.slots}")
        if not 0 < self.stale_ns < 1 << 62:
            raise ValueError(f"stale_ns must be positive nanoseconds, not {self.stale_ns}")
        if not 0 < self.late_ns < self.stale_ns:
            raise ValueError(f"late_ns must be positive and less than {self.stale_ns}, not {self.late_ns}")


@record(frozen=True)
class Maps:
    """Descriptors of the scoreboard, the turn (one word), and the group's sockets. Borrowed."""

    state: int
    turn: int
    sockets: int
