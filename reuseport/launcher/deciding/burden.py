"""How much work waits in a worker, from what the scoreboard has on it: a look every WINDOW seconds. Pure.

The **burden** is the CPU time that waits: of the active connections as many as have a request waiting or
being answered, times the CPU time of a request. For connections that ask again as soon as they are answered,
that is how long each of them waits. Connections alone say nothing of what they cost, CPU time alone nothing
once all CPUs are used up, and lateness alone is the scheduler's noise on a busy machine.

What a request costs is learned once round all connections at a time, so that no dear one is left out.
Requests in flight are seen as far as the worker has read them; those in the buffers of its sockets are not,
so for a loop that never rests all active connections are taken to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from reuseport.records import record

WINDOW = 0.25
"""Seconds between two looks."""
LOOKS = 2
"""Looks before anything follows from them, if all active connections have a request waiting ..."""
DOUBT = 8
"""... and if half have or fewer: what comes by chance is often uneven for a moment."""
ROUNDS = 4
"""Times that all connections have been answered before it is known what a request costs. With fewer, twice in
a row: the first time, some may be of before the last change."""
SILENT_NS = 300_000_000
"""From so long without a turn on, an event loop is blocked: an idle one beats every tenth of a second ..."""
RESTING_NS = 1_500_000_000
"""... or at rest every second."""

IN_FLIGHT = 0.8
"""Requests in flight from which on a worker is hot ..."""
BUSY = 0.5
"""... if it is also busy for so much of the time ..."""
LATE_NS = 5_000_000
"""... or its event loop was so late."""
IDLE = 0.1
"""Requests in flight below which it does not matter what they cost."""
RESTS, NEVER_RESTS = 0.8, 0.95
"""Shares of the time that a loop is busy: up to here nobody waits unseen, and from there on everybody may."""


@record(frozen=True, slots=True)
class Reading:
    """What is known of the worker that serves a slot. Nanoseconds; `heartbeat` as `now` is counted.

    `ready`: it may be given connections, as far as the launcher knows. `rests`: it has nothing to do, and
    beats once a second.
    """

    worker: int
    ready: bool
    rests: bool
    heartbeat: int
    load: int
    work: int
    requests: int
    cpu: int
    lag: int
    active: int
    rebalanced: int
    awake: int | None
    """For how long its event loop has run or waited for a CPU; None: not known."""


class Seen:
    """What looks at one worker have shown since something changed for it."""

    def __init__(self, reading: Reading, now: int) -> None:
        self.last = reading
        self._at = now
        self._told = (now, reading.cpu)
        """When it last told how much CPU time it has used, and how much. It tells every tenth of a second,
        but not while it is busy with one turn of its loop."""
        self._share = 0.0
        """Of a CPU."""
        self._busy = 0.0
        self.forget()

    def forget(self) -> None:
        """Something has changed, and what was seen before is of no use."""
        self.hot = 0
        """Looks in a row in which it was."""
        self._waiting: deque[float] = deque(maxlen=DOUBT)
        self._burdens: deque[float] = deque(maxlen=DOUBT)
        self._cost = 0.0
        """Seconds of CPU time for a request."""
        self._rounds = 0.0
        """How often all connections have been answered."""
        self._base = self.last
        """Since when."""
        self._paused = False

    def take_in(self, reading: Reading, now: int) -> None:
        """One look more."""
        # WORK is as of the heartbeat. Who has not turned since has in flight what it had then.
        turned = reading.heartbeat - self.last.heartbeat
        in_flight = (reading.work - self.last.work) / turned if turned > 0 else float(reading.load)
        busy = self._learn_busy(reading, now)
        self._learn_cost(reading, in_flight)
        unseen = min(1.0, max(0.0, (self._busy - RESTS) / (NEVER_RESTS - RESTS)))
        # No more than are active: streams and WebSockets are in flight and do not wait.
        waiting = min(max(in_flight, unseen * reading.active), reading.active)
        self._waiting.append(waiting)
        self._burdens.append(waiting * self._cost)
        hot = in_flight >= IN_FLIGHT and (busy >= BUSY or reading.lag >= LATE_NS)
        self.hot = self.hot + 1 if hot else 0
        self.last = reading
        self._at = now

    def _learn_busy(self, reading: Reading, now: int) -> float:
        """The share of the time that its loop does not rest, as far as that is known, or its process uses."""
        at, cpu = self._told
        if reading.cpu != cpu:
            self._share = (self._share + (reading.cpu - cpu) / max(1, now - at)) / 2
            self._told = (now, reading.cpu)
        busy = self._share
        if reading.awake is not None and self.last.awake is not None:
            busy = max(busy, (reading.awake - self.last.awake) / max(1, now - self._at))
        self._busy += (busy - self._busy) / 4
        return busy

    def _learn_cost(self, reading: Reading, in_flight: float) -> None:
        if in_flight < IDLE:
            # What comes after a pause may be something else.
            self._paused = True
            self._rounds = 0.0
            self._base = reading
            return
        answered = reading.requests - self._base.requests
        # Also those that are not active yet, because they wait for their first answer.
        rounds = answered / max(1, reading.active, min(in_flight, 2 * reading.active))
        if rounds < 1:
            return
        if self._paused and reading.lag >= SILENT_NS:
            # So long a turn of the loop answers everybody once: the others were before the pause ended.
            answered = min(answered, max(1, reading.active))
        cost = (reading.cpu - self._base.cpu) / 1e9 / answered
        self._cost = (self._cost + cost) / 2 if self._rounds >= ROUNDS else cost
        self._rounds += max(rounds, ROUNDS / 2)
        self._paused = False
        self._base = reading

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────

    def known(self) -> bool:
        """It has been looked at for long enough to say how burdened it is, more or less."""
        return len(self._waiting) >= LOOKS and (self._rounds > 0 or self._idle())

    def certain(self) -> bool:
        """... and that it is not so for a moment only."""
        return len(self._waiting) >= self._evidence()

    def least(self) -> float:
        """Its least burden in the last looks, in seconds."""
        return min(_last(self._burdens, self._evidence()))

    def most(self) -> float:
        """Its greatest burden in the last looks, in seconds."""
        return max(_last(self._burdens, self._evidence()))

    def takes(self, now: int) -> bool:
        """It can be given connections: its loop turns, and it is known what its requests cost.

        Not who is busy with something else, such as WebSockets: nobody knows what that comes to.
        """
        silent = RESTING_NS if self.last.rests else SILENT_NS
        turns = self.last.ready and now - self.last.heartbeat < silent
        understood = self._rounds >= ROUNDS or self._idle()
        return turns and understood and (self._share < BUSY or self.last.active > 0)

    def _idle(self) -> bool:
        return max(_last(self._waiting, LOOKS)) < IDLE

    def _evidence(self) -> int:
        """How many looks it takes."""
        often = min(_last(self._waiting, LOOKS)) / max(1, self.last.active)
        return DOUBT if often <= (LOOKS / DOUBT) ** 0.5 else int(LOOKS / often**2)


def _last(values: deque[float], number: int) -> Iterator[float]:
    return islice(reversed(values), number)
