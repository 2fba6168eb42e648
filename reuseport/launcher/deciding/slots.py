"""The supervisor's plain data, and the questions it asks of it. No I/O, no transitions of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reuseport.launcher.deciding.conversation import Said
from reuseport.launcher.deciding.events import Blame, Reason
from reuseport.launcher.deciding.phases import SERVING, Phase
from reuseport.messages import Waits
from reuseport.records import record

DESKS = 3
"""Workers a slot can hold at once: the one that serves, its successor, and predecessors that still drain.

With two, a reload that follows another would wait for the first one's streams, up to the graceful timeout, or
have to cut off what the timeout is promised to. With any number, a machine would hold as many times its
memory as somebody reloads within that time.
"""

Stage = Literal["starting", "serving", "reloading", "stopping"]
"""Of the whole server: `starting` until all slots have been served at once for the first time."""


@record(frozen=True, slots=True)
class Policy:
    """What the operator decided. Seconds; 0 means never for the timeouts and the lifetime."""

    workers: int
    capacity: int
    opened: int = 0
    """So many of the first slots have listeners to which clients connect before anybody serves."""
    starts_at_once: int = 4
    graceful_timeout: float = 30.0
    shutdown_delay: float = 0.0
    shutdown_timeout: float | None = None
    """Of lifespan shutdown; None: any time in a stop, `held_up` where somebody waits for the slot."""
    worker_timeout: float = 30.0
    startup_timeout: float = 60.0
    lifetime: float = 0.0
    lifetime_jitter: float = 0.0
    reload_at_once: int = 1
    """Slots: how many workers a reload may add to those that serve."""
    awaited: float = 0.0
    """For so long a worker that was replaced counts among them while it drains; inf: until it is gone."""
    stealing: bool = False
    """Workers accept for blocked siblings."""

    # From here on nobody has needed a flag yet.
    last_look: float = 1.0  # before patience ends, so that the log can say what it ended with
    kill_grace: float = 5.0  # after a drain or an abort: time to cut requests off, or to dump stacks
    held: float = 5.0  # after SIGKILL: who is not gone then is held, by a debugger or the kernel
    held_up: float = 30.0  # for lifespan shutdown, unless the operator has said how long
    stall_after: float = 1.0  # ten missed heartbeats
    rest: float = 1.0  # between two heartbeats of a worker that has nothing to do, at most
    stuck_for: float = 0.5  # a foster stays for so long after its help was needed: who blocked blocks again
    excuse: float = 5.0  # whoever has no descriptor free to foster with has connections that end
    backoff_first: float = 0.5  # before the second restart in a row; the first one is immediate
    backoff_most: float = 30.0
    stable_after: float = 10.0  # a worker that was ready this long did not crash "again"

    def backoff(self, losses: int) -> float:
        """Seconds until the next try, before jitter: none after the first loss in a row, then doubled."""
        if losses <= 1:
            return 0.0
        # The exponent is bounded before it is one: 2.0 ** 1100 is an OverflowError.
        return min(self.backoff_most, self.backoff_first * 2.0 ** min(losses - 2, 16))


@dataclass(slots=True)
class Worker:
    """One process, from its spawn to its exit."""

    number: int
    slot: int
    desk: int
    generation: int
    reason: Reason
    spawned_at: float
    phase: Phase = Phase.STARTING
    said: Said = Said.NOTHING
    deadline: float | None = None
    """When patience with a starting, draining or dying worker ends; None where lifespan shutdown may take as
    long as it likes."""
    killed: bool = False
    """It was sent SIGKILL."""
    ready_at: float | None = None
    retire_at: float | None = None
    pulse: int = 0
    heard_at: float = 0.0
    load: int = 0
    """What it had to do when we last looked."""
    late: bool = False
    """It had something to do and did not turn when we last looked."""
    look_at: float | None = None
    """When to ask what it executes, because it takes long."""
    where: str = ""
    """What it executed when it was last asked; empty: it is not known."""
    drains_since: float | None = None
    looked_at: bool = False
    """It has been told that it takes long to start."""
    stuck_at: float | None = None
    """When clients were last found waiting for it although it did not turn; None once that is over."""
    excused_until: float = 0.0
    """It had no descriptor free to foster with: until then others are asked."""
    leaving: bool = False
    """It was sent SIGTERM by somebody, or cannot be told anything any more."""
    blame: Blame | None = None
    """Who must act on its not becoming ready, if it has said so."""
    waits: Waits | None = None
    """What its drain waits for, as it has last said."""
    shuts_down: bool = False
    """Its requests are over, and the application's lifespan shutdown runs."""
    listens: bool = False
    """It has said that it listens, and accepts in a moment."""

    def attends(self) -> bool:
        """Who connects to the slot is accepted by this worker, now or within milliseconds."""
        if self.phase is Phase.READY:
            return self.stuck_at is None
        return self.listens and self.phase is Phase.STARTING


@dataclass(slots=True)
class Slot:
    """The numbered place; it outlives its workers."""

    number: int
    generation: int
    """Of the worker that was last ready here: what a restart is labelled with."""
    workers: list[Worker] = field(default_factory=list)
    losses: int = 0
    """Workers lost in a row without one that was stable in between."""
    retry_at: float = 0.0
    reason: Reason = Reason.START
    """Why the next worker is spawned, if one is missing."""
    opened: bool = False
    """The listeners exist, in escrow, and clients connect to them."""
    drained: bool = False
    """Somebody took it out of service; a restart puts it back."""
    foster: int | None = None
    """The worker of another slot that accepts here meanwhile."""
    steered: int | None = None
    """The desk whose worker the kernel gives new connections to; None: the slot is fenced."""

    def serving(self) -> Worker | None:
        """The worker that holds the slot."""
        return next((worker for worker in self.workers if worker.phase in SERVING), None)

    def starting(self) -> Worker | None:
        """The worker that is on its way to readiness."""
        return next((worker for worker in self.workers if worker.phase is Phase.STARTING), None)

    def unattended(self) -> bool:
        """Clients connect here, and nobody accepts: the worker is gone, or its event loop does not turn."""
        return self.opened and not any(worker.attends() for worker in self.workers)

    def missing(self) -> bool:
        """Nobody serves this slot and nobody is on the way to."""
        return self.serving() is None and self.starting() is None

    def full(self) -> bool:
        """No desk is free."""
        return len(self.workers) >= DESKS

    def free_desk(self) -> int:
        """A scoreboard row of this slot that no living worker writes."""
        taken = {worker.desk for worker in self.workers}
        return next(desk for desk in range(DESKS) if desk not in taken)
