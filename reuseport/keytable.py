"""Which slot has answered with which session key: shared memory that workers write and read (--sticky).

A memfd (memfd_create(2)) of 64-bit words. A key is there as its tag, eight bytes of a keyed hash, never as
itself; a tag's hash chooses a bucket, and in each bucket every slot has WAYS words that its worker alone
writes. So a slot remembers WAYS * BUCKETS keys, about the newest ones: in a full bucket the oldest of that
slot is forgotten. Slots stand side by side in a bucket, GROUP at a time, so that to look up a tag is to
search a kilobyte for each group that is in use, however many keys there are.

As in the scoreboard, that a word has one writer is a promise of who keeps the rules, and nothing is believed:
a tag that is nonsense is nobody's, a slot that is wrong serves requests that it does not know. Nobody can
resize the file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

TAG = 8
"""Bytes."""
WAYS = 8
BUCKETS = 2048
GROUP = 16
"""Slots."""

_OWN = TAG * WAYS
"""Bytes of a slot in a bucket."""
_BUCKET = GROUP * _OWN
_GROUP = BUCKETS * _BUCKET


class KeyTable:
    """One mapping. Its creator and each worker own their descriptor and close it with `close()`."""

    def __init__(self, fd: int, slots: int) -> None:
        """Map a table that exists, for `slots` slots, and take it over. Raises OSError (mmap(2))."""
        self.fd = fd
        self._groups = -(-slots // GROUP)
        self._map = mmap.mmap(fd, self._groups * _GROUP)
        self._turns = bytearray(BUCKETS)
        """Of each bucket: which of our words is the oldest. A worker begins with the first."""
        self._used = 1
        """Groups with slots that anybody serves."""

    @classmethod
    def create(cls, slots: int) -> KeyTable:
        """A new one, without a key. Raises OSError."""
        fd = os.memfd_create("reuseport-sessions", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, -(-slots // GROUP) * _GROUP)
        # Whoever shrank it would kill every reader with SIGBUS.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(fd, slots)

    def reach(self, slot: int) -> None:
        """Look from now on also where this slot writes."""
        self._used = max(self._used, min(self._groups, slot // GROUP + 1))

    def find(self, tag: bytes) -> Iterator[int]:
        """The slots that have answered with it, from the lowest on; nearly always one or none."""
        at = _bucket(tag)
        for group in range(self._used):
            start = group * _GROUP + at
            found = self._map.find(tag, start, start + _BUCKET)
            while found >= 0:
                if found % TAG == 0:  # not the end of one tag and the beginning of the next
                    yield group * GROUP + (found - start) // _OWN
                found = self._map.find(tag, found + 1, start + _BUCKET)

    def put(self, tag: bytes, slot: int) -> None:
        """Remember that this slot has answered with it, in the place of the oldest that is in the way."""
        at = _bucket(tag)
        bucket = at // _BUCKET
        turn = self._turns[bucket]
        self._turns[bucket] = (turn + 1) % WAYS
        group, place = divmod(slot, GROUP)
        start = group * _GROUP + at + place * _OWN + turn * TAG
        # One aligned word: who reads sees all of it, or what was there before.
        self._map[start : start + TAG] = tag

    def close(self) -> None:
        """Unmap and close."""
        self._map.close()
        os.close(self.fd)


def _bucket(tag: bytes) -> int:
    """Where its bucket begins in each group."""
    return int.from_bytes(tag[:2], "little") % BUCKETS * _BUCKET
