"""The shared memory that workers write and the launcher reads, without a system call on either side.

A memfd (memfd_create(2)) of 64-bit words in host byte order, `SLOT_WORDS` for each slot:

    words  0..31   the launcher's: what belongs to the slot and outlives its workers
    words 32..63   desk 0
    words 64..95   desk 1

A slot has two desks because during a swap it has two workers, and every word has exactly one writer. Each
store is one aligned 8-byte word, which the hardware makes atomic; there is no lock and no torn value.
Counters of a desk start at 0 with each worker; the launcher folds them into the slot's words when the
worker is gone, so a sum never runs backwards.
"""

from __future__ import annotations

import enum
import fcntl
import mmap
import os
from collections.abc import Iterator

ROW_WORDS = 32
DESKS = 2
SLOT_WORDS = ROW_WORDS * (1 + DESKS)
WORD_BYTES = 8


class Desk(enum.IntEnum):
    """Words of a desk. The worker that sits there writes them."""

    HEARTBEAT = 0
    """CLOCK_MONOTONIC, nanoseconds, when the event loop last turned; 0 before the worker is ready."""
    IN_FLIGHT = 1
    """Requests being answered now."""
    CONNECTIONS = 2
    """Client connections open now."""
    REQUESTS = 3
    """Requests answered by this worker."""
    LAG = 4
    """How much later than asked the event loop woke the last time, nanoseconds."""


class SlotWord(enum.IntEnum):
    """Words of a slot. The launcher writes them."""

    GENERATION = 0
    """Of the worker spawned last."""
    SPAWNS = 1
    """Workers spawned for this slot."""
    REQUESTS_FOLDED = 2
    """Requests answered by workers of this slot that are gone."""


class Scoreboard:
    """One mapping. Its creator and each worker own their descriptor and close it with `close()`."""

    def __init__(self, fd: int) -> None:
        """Map an existing scoreboard and take the descriptor over. Raises OSError (mmap(2), fstat(2))."""
        self.fd = fd
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, slots: int) -> Scoreboard:
        """A new one for `slots` slots, all words 0. Raises OSError."""
        fd = os.memfd_create("reuseport-scoreboard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, slots * SLOT_WORDS * WORD_BYTES)
        # A worker that shrank the file would kill every reader with SIGBUS.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(fd)

    @property
    def slots(self) -> int:
        """How many slots there is room for."""
        return len(self._words) // SLOT_WORDS

    def slot(self, slot: int) -> memoryview[int]:
        """The launcher's words of a slot, to be indexed by SlotWord."""
        start = slot * SLOT_WORDS
        return self._words[start : start + ROW_WORDS]

    def desk(self, slot: int, desk: int) -> memoryview[int]:
        """A worker's words, to be indexed by Desk."""
        start = slot * SLOT_WORDS + ROW_WORDS * (1 + desk)
        return self._words[start : start + ROW_WORDS]

    def take_desk(self, slot: int, desk: int, generation: int) -> None:
        """Prepare a desk for a worker about to be spawned. The launcher's, while nobody sits there."""
        words = self.desk(slot, desk)
        for index in range(ROW_WORDS):
            words[index] = 0
        row = self.slot(slot)
        row[SlotWord.GENERATION] = generation
        row[SlotWord.SPAWNS] += 1

    def leave_desk(self, slot: int, desk: int) -> None:
        """Fold the counters of a worker that is gone into its slot's. The launcher's."""
        words = self.desk(slot, desk)
        self.slot(slot)[SlotWord.REQUESTS_FOLDED] += words[Desk.REQUESTS]
        for index in range(ROW_WORDS):
            words[index] = 0

    def requests(self, slot: int) -> int:
        """Requests answered in this slot, ever."""
        return self.slot(slot)[SlotWord.REQUESTS_FOLDED] + sum(
            words[Desk.REQUESTS] for words in self._desks(slot)
        )

    def in_flight(self, slot: int) -> int:
        """Requests being answered in this slot now."""
        return sum(words[Desk.IN_FLIGHT] for words in self._desks(slot))

    def _desks(self, slot: int) -> Iterator[memoryview[int]]:
        return (self.desk(slot, desk) for desk in range(DESKS))

    def close(self) -> None:
        """Unmap and close. No view may be in use any more."""
        self._words.release()
        self._map.close()
        os.close(self.fd)
