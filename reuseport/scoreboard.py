"""The shared memory that workers write and the launcher reads, without a system call on either side.

A memfd (memfd_create(2)), or where the kernel steers the array that its program reads (a BPF map), of 64-bit
words in host byte order, `SLOT_WORDS` for each slot:

    words   0..63    the slot's: what launcher and steering program tell
    words  64..127   desk 0
    words 128..191   desk 1
    words 192..255   desk 2

A slot has three desks: for who serves, for its successor during a swap, and for a predecessor that still
waits for a stream when the next swap begins. Every word has exactly one writer. Each store is one aligned
8-byte word, which the hardware makes atomic; there is no lock and no torn value. Counters of a desk start at
0 with each worker.

That a word has one writer is a promise of who keeps the rules: every worker maps all of it, and one that was
taken over can write anywhere. So nothing is kept here that only the launcher needs (its totals), and it
believes nothing that cannot be true (its readings). Nobody can resize the file: that would kill every reader
(SIGBUS).
"""

from __future__ import annotations

import enum
import fcntl
import mmap
import os

ROW_WORDS = 64
DESKS = 3
SLOT_WORDS = ROW_WORDS * (1 + DESKS)
WORD_BYTES = 8

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, each the longest that its bucket counts; one bucket more has all that lasts longer.

Those of OpenTelemetry's semantic conventions for http.server.request.duration.
"""


class Desk(enum.IntEnum):
    """Words of a desk. The worker that sits there writes them."""

    HEARTBEAT = 0
    """CLOCK_MONOTONIC, nanoseconds, when the event loop last turned; 0 before the worker is ready."""
    LOAD = 1
    """What the worker has to do now: requests being answered, and connections about to ask their first."""
    SETTLED = 2
    """How many of the connections that the kernel assigned to the slot are no longer under way to the worker:
    accepted, or given up. What the steering program counts on; it may also go back."""
    WORK = 3
    """Requests being answered, summed over time, in nanoseconds: its growth per time is their mean."""
    IN_FLIGHT = 4
    """Requests being answered now."""
    CONNECTIONS = 5
    """Client connections open now."""
    ACCEPTED = 6
    """Connections this worker has accepted, also for other slots."""
    REQUESTS = 7
    """Requests answered by this worker."""
    LAG = 8
    """The most by which the event loop woke later than asked in the last tenth of a second, nanoseconds."""
    CPU = 9
    """CPU time the process has used, user and system, nanoseconds."""
    ACTIVE = 10
    """Connections that have had an answer lately: those that bring load (worker/protocol/activity.py)."""
    HANDOFFS_SENT = 11
    """Connections passed to another worker."""
    HANDOFFS_RECEIVED = 12
    """Connections taken up from another worker."""
    HANDOFFS_REFUSED = 13
    """Times an inbox had no room; the connection stayed, and was offered again."""
    REBALANCED = 14
    """Connections passed to a worker that had less to do; they count as HANDOFFS_SENT, too."""
    LINGERED_TLS = 15
    """Connections of a leaving worker that could not go over because they are encrypted."""
    LINGERED_PROTOCOL = 16
    """... because they speak WebSocket, HTTP/2 or through a parser we do not know."""
    LINGERED_STOP = 17
    """... because there was nobody to go to: the whole server stops."""
    # Of the words below a request stores into three, in two cache lines: their order is the reason.
    RESPONSES_1XX = 18
    """Responses by the class of their status; here, WebSocket handshakes that were accepted (101)."""
    RESPONSES_2XX = 19
    RESPONSES_3XX = 20
    RESPONSES_4XX = 21
    RESPONSES_5XX = 22
    DURATION_SUM = 23
    """Time from a request to the end of its response, summed over what the buckets count, nanoseconds."""
    DURATION_BUCKET_0 = 24
    """Responses to HTTP requests that took so long (DURATION_BOUNDS), each counted in one bucket."""
    DURATION_BUCKET_1 = 25
    DURATION_BUCKET_2 = 26
    DURATION_BUCKET_3 = 27
    DURATION_BUCKET_4 = 28
    DURATION_BUCKET_5 = 29
    DURATION_BUCKET_6 = 30
    DURATION_BUCKET_7 = 31
    DURATION_BUCKET_8 = 32
    DURATION_BUCKET_9 = 33
    DURATION_BUCKET_10 = 34
    DURATION_BUCKET_11 = 35
    DURATION_BUCKET_12 = 36
    DURATION_BUCKET_13 = 37
    DURATION_BUCKET_14 = 38
    WEBSOCKETS = 39
    """WebSocket connections open now."""
    ABANDONED = 40
    """Requests that ended before their response was complete: the client left, or the task was cancelled."""
    PSS = 41
    """Proportional set size, bytes, while somebody wants to know (worker/footprint.py); 0 before."""
    RESCUED = 42
    """Connections that the rescue thread sent to the own slot's inbox while the event loop was blocked. It
    alone writes this word; they do not count as HANDOFFS_SENT."""
    COLLECTING = 43
    """Time that Python's garbage collector has stopped the worker, nanoseconds."""
    SILENT = 44
    """Connections closed because their client never began to ask (--arrival-timeout)."""
    SLOW_HEAD = 45
    """... because a request's headers did not come to an end in time (--head-timeout)."""
    SLOW_BODY = 46
    """... because no more of a body came (--body-timeout)."""
    NOT_READING = 47
    """... because the client did not take what was written (--write-timeout)."""
    HEAD_TOO_LARGE = 48
    """... because of --limit-request-head or --limit-request-fields."""
    BODY_TOO_LARGE = 49
    """... because of --limit-request-body."""
    WAITED = 50
    """Requests refused because they had waited for longer than --max-wait."""
    UNANNOUNCED = 51
    """Connections closed because what should have been a PROXY protocol header was none."""

    ACCEPT_WAIT = 52
    """The longest that a connection had waited to be accepted, of those asked lately, nanoseconds."""
    STICKY_HITS = 53
    """Requests with a session key that came to the slot they belong to (worker/sticky/sessions.py)."""
    STICKY_MOVED = 54
    """... that were moved to it."""
    STICKY_MISSED = 55
    """... that belong to another slot, and were served here."""
    CERTIFICATE = 56
    """When the first of the worker's certificates ends, seconds since the epoch; 0: it has none."""
    RESTING = 57
    """Not 0: no connection is open and nothing is to be done, so the event loop turns once a second, or when
    something comes. Means nothing beside a LOAD."""
    STOLEN = 58
    """Connections accepted from another slot's listener while its worker was blocked; in ACCEPTED, too."""


RESPONSES = tuple(Desk(word) for word in range(Desk.RESPONSES_1XX, Desk.RESPONSES_5XX + 1))
"""By status class, from 1xx on."""
DURATION_BUCKETS = tuple(
    Desk(word) for word in range(Desk.DURATION_BUCKET_0, Desk.DURATION_BUCKET_0 + len(DURATION_BOUNDS) + 1)
)
"""In the order of DURATION_BOUNDS, and the one for what lasts longer."""

TURNED_AWAY = tuple(Desk(word) for word in range(Desk.SILENT, Desk.UNANNOUNCED + 1))
"""Clients that were not served, by reason."""

COUNTERS = (
    Desk.ACCEPTED,
    Desk.REQUESTS,
    Desk.CPU,
    Desk.HANDOFFS_SENT,
    Desk.HANDOFFS_RECEIVED,
    Desk.HANDOFFS_REFUSED,
    Desk.REBALANCED,
    Desk.LINGERED_TLS,
    Desk.LINGERED_PROTOCOL,
    Desk.LINGERED_STOP,
    *RESPONSES,
    Desk.DURATION_SUM,
    *DURATION_BUCKETS,
    Desk.ABANDONED,
    Desk.RESCUED,
    Desk.COLLECTING,
    *TURNED_AWAY,
    Desk.STICKY_HITS,
    Desk.STICKY_MOVED,
    Desk.STICKY_MISSED,
    Desk.STOLEN,
)
"""The words of a desk that only grow; the launcher adds them to its totals when the worker is gone."""


_RUNS_OVER = 1 << 64


class SlotWord(enum.IntEnum):
    """Words of a slot. The launcher writes them, but for ASSIGNED."""

    FENCE = 0
    """Not 0: the kernel is to leave the slot out, nobody serves it."""
    SERVING_DESK = 1
    """Where the worker sits whom new connections are for."""
    ASSIGNED = 2
    """Connections the kernel has assigned to the slot. The steering program's word; 0 without steering."""
    WATCHED = 3
    """CLOCK_MONOTONIC, nanoseconds, when somebody last wanted to know what is dear to measure; 0: never."""


def add(words: memoryview[int], word: int, more: int = 1) -> None:
    """Count in a word that may hold anything, for others can write there: never raises, runs over instead."""
    words[word] = (words[word] + more) % _RUNS_OVER


class Scoreboard:
    """One mapping. Its creator and each worker own their descriptor and close it with `close()`."""

    def __init__(self, fd: int, slots: int) -> None:
        """Map a scoreboard that exists, for `slots` slots, and take it over. Raises OSError (mmap(2)).

        A memfd, or the BPF array that a steering program reads: that one has no size to ask for.
        """
        self.fd = fd
        self._map = mmap.mmap(fd, slots * SLOT_WORDS * WORD_BYTES)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, slots: int) -> Scoreboard:
        """A new one for `slots` slots, all words 0. Raises OSError."""
        fd = os.memfd_create("reuseport-scoreboard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, slots * SLOT_WORDS * WORD_BYTES)
        # A worker that shrank the file would kill every reader with SIGBUS.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(fd, slots)

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

    def word(self, slot: int, desk: int, word: int) -> int:
        """One word of a desk as it stands, 0 to 2**64 - 1."""
        return self._words[slot * SLOT_WORDS + ROW_WORDS * (1 + desk) + word]

    def clear(self, slot: int, desk: int) -> None:
        """All words of a desk 0. The launcher's, while nobody sits there."""
        words = self.desk(slot, desk)
        for index in range(ROW_WORDS):
            words[index] = 0

    def close(self) -> None:
        """Unmap and close. No view may be in use any more."""
        self._words.release()
        self._map.close()
        os.close(self.fd)
