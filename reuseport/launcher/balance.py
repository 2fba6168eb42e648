"""`--balance`: how connections find a worker. The rung of the ladder is chosen here, once, and logged once.

Where the kernel steers, the launcher does it all on its duplicates of the listeners, which are the workers'
very sockets: it attaches the program, and says whom a slot is for. The scoreboard is then the array that the
program reads. Everywhere else nothing is attached, and the scoreboard is plain shared memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Literal

from reuseport.errors import ConfigurationError, HostError, ReuseportError
from reuseport.kernel import probe
from reuseport.kernel.mending import drop_program
from reuseport.kernel.plan import Policy, Words
from reuseport.kernel.probe import Answer, Ladder, Level, Verdict
from reuseport.kernel.steering import Steering
from reuseport.records import record
from reuseport.scoreboard import DESKS, ROW_WORDS, Desk, Scoreboard, SlotWord
from reuseport.settings.table import Settings

LATE_NS = 25_000_000
"""A worker with work beats every 10 ms: silent for so long, it is passed over."""
STALE_NS = 2_000_000_000
"""The same for a worker without work, which beats once a second at rest."""

WORDS = Words(
    row=ROW_WORDS,
    fence=SlotWord.FENCE,
    serving_desk=SlotWord.SERVING_DESK,
    assigned=SlotWord.ASSIGNED,
    heartbeat=Desk.HEARTBEAT,
    load=Desk.LOAD,
    accepted=Desk.SETTLED,
    desks=DESKS,
)

Rule = Literal["least-loaded", "round-robin", "cpu", "hash"]

log = logging.getLogger("reuseport")


@record(frozen=True, slots=True)
class Choice:
    """The rule in force, and why: one line for the log."""

    rule: Rule
    reason: str
    level: Level
    """The rung we stand on, whatever rule is in force."""

    @property
    def steered(self) -> bool:
        """The kernel needs a program for it."""
        return self.rule in ("least-loaded", "round-robin")


def choose(asked: str, ladder: Ladder, by_cpu: Answer) -> Choice:
    """What `--balance` comes to on this rung; `by_cpu`: whether the kernel heeds SO_INCOMING_CPU.

    Raises HostError for what was asked for by name and cannot be had.
    """
    match asked:
        case "least-loaded" | "round-robin":
            if ladder.steers.verdict is not Verdict.YES:
                raise HostError(f"--balance {asked} cannot be had: {ladder.steers.reason}")
            return Choice(asked, f"level {ladder.level}, {ladder.reason}", ladder.level)
        case "auto" if ladder.level is Level.STEERED:
            return Choice("least-loaded", f"level {ladder.level}, {ladder.reason}", ladder.level)
        case "cpu":
            if by_cpu.verdict is Verdict.NO:
                raise HostError(f"--balance cpu cannot be had: {by_cpu.reason}")
            return Choice("cpu", by_cpu.reason, ladder.level)
        case _:
            return Choice("hash", f"level {ladder.level}, {ladder.reason}", ladder.level)


class Balance:
    """What the launcher tells the kernel about slots. Borrows scoreboard and steering."""

    def __init__(
        self,
        choice: Choice,
        scoreboard: Scoreboard,
        steering: Steering | None,
        slots: int,
        cpus: Sequence[int] = (),
    ) -> None:
        self.choice = choice
        self.scoreboard = scoreboard
        self._steering = steering
        self._slots = slots
        self._cpus = cpus
        self._told: dict[int, int | None] = dict.fromkeys(range(scoreboard.slots))
        """By slot, what the scoreboard is to say: the desk that serves, or None for a fence."""
        self.tell_again()

    def cpu(self, slot: int) -> int | None:
        """Where the slot's workers are to run; None: where the scheduler likes."""
        return self._cpus[slot % len(self._cpus)] if self._cpus else None

    def steer(self, slot: int, desk: int | None, listeners: Sequence[socket.socket]) -> None:
        """New connections to the slot are for the worker at this desk; None: for nobody. Raises OSError.

        `listeners` are the slot's, one for each endpoint, and listen.
        """
        self._told[slot] = desk
        self._tell(slot, desk)
        if desk is not None and self._steering is not None:
            for group, listener in enumerate(listeners):
                self._steering.attach(listener, group, slot)

    def tell_again(self) -> None:
        """Say of each slot what was said. A worker can write there, too, and fence others: not for long."""
        for slot, desk in self._told.items():
            self._tell(slot, desk)

    def _tell(self, slot: int, desk: int | None) -> None:
        words = self.scoreboard.slot(slot)
        if desk is None:
            words[SlotWord.FENCE] = 1
        else:
            words[SlotWord.SERVING_DESK] = desk
            words[SlotWord.FENCE] = 0

    def join_again(self, slot: int, group: int, listener: socket.socket) -> None:
        """The listener had left its group, and is back: it is the slot's as before. Raises OSError."""
        if self._steering is not None and self._told[slot] is not None:
            self._steering.attach(listener, group, slot)

    def insist(self, group: int, listener: socket.socket, *, alone: bool) -> bool:
        """Have the group choose as we want it; whether a program was taken off that we do not want.

        With others in the group (not `alone`), theirs may be what chooses. Raises OSError.
        """
        if self._steering is not None:
            self._steering.insist(group, listener)
            return False
        return alone and drop_program(listener)

    def resize(self, slots: int, listeners: Sequence[socket.socket]) -> None:
        """Choose among so many slots from now on; `listeners` are those of a slot that listens."""
        if self._steering is None or slots == self._slots:
            return
        try:
            self._steering.resize(slots, listeners)
        except (OSError, ReuseportError) as error:
            # The next scaling tries again. Until then those beyond are reached by fosters and handoffs only.
            log.error("steering goes on with %d slots instead of %d: %s", self._slots, slots, error)  # noqa: TRY400
            return
        self._slots = slots


@contextlib.contextmanager
def chosen(settings: Settings, slots: int, capacity: int, endpoints: int) -> Iterator[Balance]:
    """Probe, choose, log, and make the scoreboard: room for `capacity` slots, of which `slots` are served.

    `endpoints` is how many listeners each slot has. Raises ConfigurationError and HostError for what cannot
    be had, OSError at a limit.
    """
    choice = _decide(settings, endpoints)
    with contextlib.ExitStack() as undo:
        if choice.steered:
            rule: Policy = "round-robin" if choice.rule == "round-robin" else "least-loaded"
            steering = Steering.create(capacity, slots, rule, LATE_NS, STALE_NS, WORDS, endpoints)
            undo.callback(steering.close)
            scoreboard = Scoreboard(os.dup(steering.state_fd), capacity)
        else:
            steering = None
            scoreboard = Scoreboard.create(capacity)
        undo.callback(scoreboard.close)
        log.info("balance: %s (%s)", choice.rule, choice.reason)
        pinned = settings.pin_cpus or choice.rule == "cpu"
        cpus = sorted(os.sched_getaffinity(0)) if pinned else ()
        yield Balance(choice, scoreboard, steering, slots, cpus)


def _decide(settings: Settings, endpoints: int) -> Choice:
    asked = settings.balance
    if not endpoints:
        if asked in ("auto", "hash"):
            return Choice("hash", "nothing to choose: all workers accept from one listener", Level.HASHED)
        raise ConfigurationError(
            f"--balance {asked} needs a TCP address: a unix socket or fd:// is one listener for all workers"
        )
    if settings.join:
        # One program chooses for the whole group: ours would leave nothing to who was there before.
        if asked in ("least-loaded", "round-robin"):
            raise ConfigurationError(
                f"--balance {asked} would starve whom --join shares the port with: hash it"
            )
        asked = "hash" if asked == "auto" else asked
    ladder = probe.climb()
    by_cpu = probe.prefers_cpu() if asked == "cpu" else Answer(Verdict.UNKNOWN, "not asked")
    return choose(asked, ladder, by_cpu)
