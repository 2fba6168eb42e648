"""Relief for who waits in vain: looks at accept queues while anybody waits, has stuck slots fostered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping

from reuseport.launcher.balance import LATE_NS
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Event
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.process import Process
from reuseport.launcher.watching.queues import QUICK, SLOW, Queues
from reuseport.launcher.watching.readings import Readings
from reuseport.scoreboard import Desk


class Relief:
    """From `begin` to `close`. Owns the queues' descriptor; `feed` gets a Stuck for whoever is.

    `on_somebody` is called when somebody has come, at most once in the rest of a Pace.
    """

    def __init__(
        self,
        loop: GuardedLoop,
        supervisor: Supervisor,
        processes: Mapping[int, Process],
        readings: Readings,
        feed: Callable[[Event], None],
        on_somebody: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._supervisor = supervisor
        self._processes = processes
        self._readings = readings
        self._feed = feed
        self._on_somebody = on_somebody
        self._queues = Queues()
        self._released = False

    def begin(self) -> None:
        """Costs nothing until the first client comes, and never more than the looks of a Pace."""
        if not self._released:
            self._loop.add_reader(self._queues.fileno(), self._on_waiting)

    def watch(self, slot: int, listeners: Iterable[socket.socket]) -> None:
        """Look at these, too; again does nothing. They must listen."""
        self._queues.watch(slot, listeners)

    def release(self) -> None:
        """Look no more: the listeners are about to be closed."""
        self._released = True
        self._loop.remove_reader(self._queues.fileno())
        self._queues.forget()

    def close(self) -> None:
        """Let go of the descriptor."""
        self._queues.close()

    def _on_waiting(self) -> None:
        """The first client in any queue: whether it is still there in a moment says who is stuck."""
        self._loop.remove_reader(self._queues.fileno())
        self._on_somebody()
        self._look()

    def _look(self) -> None:
        if self._released:
            return
        pace = QUICK if self._somebody_is_idle() else SLOW
        stuck = self._queues.look(self._serving_pulses(), self._loop.time(), pace.patience)
        if stuck is None:
            # Not at once: clients that come one by one, each to a worker that turns, would each wake us.
            self._loop.call_later(pace.rest, self.begin)
            return
        self._loop.call_later(pace.look, self._look)
        if stuck:
            self._on_stuck(stuck)

    def _somebody_is_idle(self) -> bool:
        return any(
            slot.steered is not None and not self._readings.word(slot.number, slot.steered, Desk.LOAD)
            for slot in self._supervisor.slots.values()
        )

    def _serving_pulses(self) -> dict[int, int]:
        """The heartbeat of each slot's worker, of slots that have one."""
        return {
            slot.number: self._readings.word(slot.number, slot.steered, Desk.HEARTBEAT)
            for slot in self._supervisor.slots.values()
            if slot.steered is not None
        }

    def _on_stuck(self, stuck: frozenset[int]) -> None:
        """Have them fostered, if there is anybody who could and does not yet."""
        late, loads = set(), {}
        overdue = time.monotonic_ns() - LATE_NS
        for number, process in self._processes.items():
            place = process.spawn.slot, process.spawn.desk
            loads[number] = self._readings.word(*place, Desk.LOAD)
            silent = self._readings.word(*place, Desk.HEARTBEAT) < overdue
            if process.spawn.slot in stuck or (loads[number] and silent):
                late.add(number)
        fosters = {slot: self._supervisor.slots[slot].foster for slot in stuck}
        if len(late) < len(loads) and any(foster is None or foster in late for foster in fosters.values()):
            self._feed(ev.Stuck(stuck, frozenset(late), loads))
