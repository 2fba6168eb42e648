"""Who is there: slots and workers, and what is done to one worker. No I/O here, and no policy of its own.

Each verb moves the worker's phase and notes the action that follows; whether and when is the supervisor's to
decide. So no other file changes a phase, but for silence.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.events import Action, Reason, Report
from reuseport.launcher.deciding.phases import SERVING, Cue, Phase, after
from reuseport.launcher.deciding.slots import Policy, Slot, Worker
from reuseport.messages import Drain, ToWorker

MOST_HEIRS = 16
"""Each costs the leaving worker a descriptor, and no message can bring more than 253."""


class Roster:
    """The slots with their workers, and the actions that are not carried out yet."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.target = policy.workers
        self.slots = {number: Slot(number, 1, opened=True) for number in range(policy.opened)}
        self.workers: dict[int, Worker] = {}
        self.actions: list[Action] = []
        self.killed = 0
        """How many were sent SIGKILL."""
        self._last_number = 0

    # ── what is done to one worker ────────────────────────────────────────────────────────────────────

    def spawn(self, slot: Slot, generation: int, reason: Reason, now: float) -> Worker:
        """A new one, at a free desk of the slot."""
        self._last_number += 1
        timeout = self.policy.startup_timeout
        worker = Worker(
            number=self._last_number,
            slot=slot.number,
            desk=slot.free_desk(),
            generation=generation,
            reason=reason,
            spawned_at=now,
            deadline=now + timeout if timeout else None,
            look_at=now + timeout / 2 if timeout else None,
        )
        slot.workers.append(worker)
        self.workers[worker.number] = worker
        self.actions.append(ev.Spawn(worker.number, slot.number, worker.desk, generation, reason))
        return worker

    def drain(self, worker: Worker, heirs: tuple[int, ...], now: float) -> None:
        """It serves, and is to leave; its connections go to the slots `heirs`."""
        self.let_drain(worker, now)
        self.tell(worker, Drain(self.policy.graceful_timeout, heirs))

    def let_drain(self, worker: Worker, now: float) -> None:
        """It drains by itself."""
        worker.phase = after(worker.phase, Cue.DRAIN)
        worker.drains_since = now
        worker.deadline = now + self.policy.graceful_timeout + self.policy.kill_grace

    def let_shut_down(self, worker: Worker, limit: float, now: float) -> None:
        """Its requests are over: lifespan shutdown has so many seconds, 0 = any number."""
        worker.shuts_down, worker.waits = True, None
        worker.deadline = now + limit if limit else None

    def disinherit(self, worker: Worker) -> None:
        """It drains, and its heirs leave, too: the whole server stops."""
        self.tell(worker, Drain(self.policy.graceful_timeout))

    def terminate(self, worker: Worker, now: float) -> None:
        """SIGTERM: it serves nobody yet."""
        self._condemn(worker, now)
        self.actions.append(ev.Terminate(worker.number))

    def abort(self, worker: Worker, now: float) -> None:
        """SIGABRT: its stacks first."""
        self._condemn(worker, now)
        self.actions.append(ev.Abort(worker.number))

    def _condemn(self, worker: Worker, now: float) -> None:
        worker.phase = after(worker.phase, Cue.CONDEMN)
        worker.deadline = now + self.policy.kill_grace

    def kill(self, worker: Worker, now: float) -> None:
        """SIGKILL: nothing is asked of it any more, but that it is gone."""
        worker.phase = after(worker.phase, Cue.CONDEMN)
        if not worker.killed:
            worker.killed = True
            worker.deadline = now + self.policy.held
        self.killed += 1
        self.actions.append(ev.Kill(worker.number))

    def abandon(self, worker: Worker) -> None:
        """SIGKILL does not end it: go on as if it had."""
        self.bury(worker)
        self.actions.append(ev.Abandon(worker.number))

    def bury(self, worker: Worker) -> None:
        """Its process is gone."""
        worker.phase = after(worker.phase, Cue.EXIT)
        self.slots[worker.slot].workers.remove(worker)
        del self.workers[worker.number]

    def look(self, worker: Worker, again_at: float | None, now: float) -> None:
        """Ask what it executes, now and at another time that lies ahead."""
        worker.look_at = again_at if again_at is not None and again_at > now else None
        self.actions.append(ev.Look(worker.number))

    # ── all of them ───────────────────────────────────────────────────────────────────────────────────

    def slot(self, number: int, generation: int) -> Slot:
        """The slot; where there was none yet, one for this generation."""
        return self.slots.setdefault(number, Slot(number, generation))

    def excuse(self, worker: Worker, slot: int, now: float) -> None:
        """It cannot foster this slot: somebody else is to, and it is not asked again for a while."""
        worker.excused_until = now + self.policy.excuse
        if slot in self.slots and self.slots[slot].foster == worker.number:
            self.slots[slot].foster = None

    def scale(self, wanted: int, generation: int) -> None:
        """Serve so many slots; new ones with this generation."""
        if wanted == self.target:
            return
        self.report(reports.scaled(self.target, wanted))
        for number in range(self.target, wanted):
            slot = self.slot(number, generation)
            slot.reason = Reason.SCALE
            slot.drained = False
            # It may have served an older generation before it was scaled away.
            slot.generation = generation
        self.target = wanted

    def steer(self) -> None:
        """Tell the kernel whom each slot's connections are for."""
        for slot in self.slots.values():
            serving = slot.serving()
            desk = None if serving is None else serving.desk
            if desk != slot.steered:
                slot.steered = desk
                self.actions.append(ev.Steer(slot.number, desk))

    def be_patient(self, late: float, now: float) -> None:
        """The launcher did not run for `late` seconds until `now`: no deadline ran meanwhile."""
        for worker in self.workers.values():
            if worker.deadline is not None:
                worker.deadline += late
            worker.heard_at = now
            worker.late = False

    def tell(self, worker: Worker, message: ToWorker) -> None:
        """Have it told."""
        self.actions.append(ev.Tell(worker.number, message))

    def report(self, report: Report) -> None:
        """Have it told, between the actions before and those after it."""
        self.actions.append(report)

    def deadlines(self) -> Iterator[float]:
        """When patience with a worker ends, whether the server stops or not."""
        return (worker.deadline for worker in self.workers.values() if worker.deadline is not None)

    def retire(self, now: float) -> list[int]:
        """Let the workers of slots beyond the target, and of those that are out of service, go; these slots.

        The listeners stay, and a sibling fosters them: without steering, closing one resets who is just in
        its handshake. A slot that never had any is forgotten.
        """
        heirs = self.heirs()
        retired = [slot for slot in self.slots.values() if slot.number >= self.target or slot.drained]
        for slot in retired:
            for worker in slot.workers:
                if worker.phase is Phase.STARTING and not worker.listens:
                    self.terminate(worker, now)
                elif worker.phase in SERVING and heirs:
                    self.drain(worker, heirs, now)
            if not slot.workers and not slot.opened and not slot.drained:
                del self.slots[slot.number]
        return [slot.number for slot in retired]

    def lose(self, worker: Worker, reason: Reason, chance: float, now: float) -> float:
        """It should have gone on: its slot is tried again after the pause returned. `chance`: 0 to 1."""
        slot = self.slots[worker.slot]
        stable = worker.ready_at is not None and now - worker.ready_at >= self.policy.stable_after
        slot.losses = 1 if stable else slot.losses + 1
        pause = self.policy.backoff(slot.losses) * (0.5 + chance / 2)
        slot.retry_at = now + pause
        slot.reason = reason
        return pause

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────

    def served(self, number: int) -> bool:
        """A worker holds the slot."""
        slot = self.slots.get(number)
        return slot is not None and slot.serving() is not None

    def wanted(self) -> list[int]:
        """The slots that are to be served."""
        return [
            number
            for number in range(self.target)
            if number not in self.slots or not self.slots[number].drained
        ]

    def replaced(self, now: float) -> list[Worker]:
        """Who was, and is still awaited: it drains, and its successor serves."""
        return [
            worker
            for number in self.wanted()
            if self.served(number)
            for worker in self.slots[number].workers
            if worker.drains_since is not None and now < worker.drains_since + self.policy.awaited
        ]

    def heirs(self) -> tuple[int, ...]:
        """The slots that connections of one that is given up go to: a few, of those with least to do."""
        served = [slot for number in self.wanted() if (slot := self.slots.get(number)) is not None]
        serving = [worker for slot in served if (worker := slot.serving()) is not None]
        serving.sort(key=lambda worker: (worker.load, worker.slot))
        return tuple(worker.slot for worker in serving[:MOST_HEIRS])
