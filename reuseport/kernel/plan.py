"""What a steering program is made for: how many slots, by which rule, over which layout of the scoreboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Policy: TypeAlias = Literal["least-loaded", "round-robin"]

WORD_BYTES = 8


@dataclass(frozen=True)
class Words:
    """Where the program finds what it reads: indices of 64-bit words.

    A slot has three rows of `row` words: the launcher's, desk 0, desk 1. `fence` (not 0: leave the slot out),
    `serving_desk` (0 or 1) and `assigned` count within the launcher's row; `heartbeat` (CLOCK_MONOTONIC,
    nanoseconds; 0: not ready), `in_flight` and `accepted` within a desk's.
    """

    row: int
    fence: int
    serving_desk: int
    assigned: int
    heartbeat: int
    in_flight: int
    accepted: int

    @property
    def slot_bytes(self) -> int:
        """From one slot's words to the next slot's."""
        return 3 * self.row * WORD_BYTES

    @property
    def row_bytes(self) -> int:
        return self.row * WORD_BYTES


@dataclass(frozen=True)
class Plan:
    """What a program is made for. Raises ValueError for what cannot be."""

    slots: int
    policy: Policy
    stale_ns: int
    words: Words

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"steering needs at least one slot, not {self.slots}")
        if not 0 < self.stale_ns < 1 << 62:
            raise ValueError(f"stale_ns must be positive nanoseconds, not {self.stale_ns}")

    @property
    def state_bytes(self) -> int:
        """The scoreboard's size: the rows of all slots, one after the other."""
        return self.slots * self.words.slot_bytes


@dataclass(frozen=True)
class Maps:
    """Descriptors of the scoreboard, the turn (one word), and the group's sockets. Borrowed."""

    state: int
    turn: int
    sockets: int
