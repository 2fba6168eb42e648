"""The supervisor: every decision about workers, and all state they depend on, live in this file. No I/O here.

`handle(event, now)` takes an event and the time and returns the actions that follow; `next_deadline()` says
until when nothing happens by itself. After each event `_advance` asks, in this order: whose patience is over,
who is to leave, who is missing, who is to be replaced, who accepts for whom. So a rollout is state, no call
stack, and a stop in the middle of one is acted on at once. The file is long because it is the thing: plans
(`rollout`), fosters (`fostering`) and records (`slots`) stand beside it, decisions do not.

Promises, checked by the property test: at most two workers in a slot; nobody drains without a ready
successor, unless stopping or scaling down; where clients can connect somebody accepts; every worker serves
or has a deadline or was sent SIGKILL; nothing starts while stopping; from any state a stop ends in `Exit`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports, requests
from reuseport.launcher.deciding.events import Action, Blame, Event, Reason, Report, Request
from reuseport.launcher.deciding.fostering import arrange
from reuseport.launcher.deciding.phases import SERVING, Cue, Phase, after
from reuseport.launcher.deciding.rollout import Rollout
from reuseport.launcher.deciding.slots import Policy, Slot, Stage, Worker


class Supervisor:
    """Keeps `policy.workers` slots served. Pure: time and randomness are handed in."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self.policy = policy
        self.target = policy.workers
        self.slots: dict[int, Slot] = {}
        self.workers: dict[int, Worker] = {}
        self.generation = 1
        self._rng = rng
        self._last_number = 0
        self._last_generation = 1
        self._begun = False
        self.ever_ready = False
        self._announced = False
        self._first_blame: Blame | None = None
        self._rollout = Rollout()
        self._stopping: int | None = None
        """The exit code, once the end is decided."""
        self._drain_at: float | None = None
        self._exited = False
        self._now = 0.0
        self._actions: list[Action] = []

    # ── the two calls ─────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: Event, now: float) -> list[Action]:  # noqa: C901 - one branch an event is the point
        """Take in one event; return what is to be done now, in this order."""
        match event:
            case ev.Begin():
                self._begun = True
            case ev.WorkerListens(number):
                self.workers[number].listens = True
                self.slots[self.workers[number].slot].opened = True
            case ev.WorkerReady(number):
                self._on_ready(self.workers[number], now)
            case ev.WorkerLeaving(number):
                self._on_leaving(self.workers[number], now)
            case ev.WorkerExited(number, how, blame):
                self._on_exited(self.workers[number], how, blame, now)
            case ev.LimitReached(number, reason, detail):
                self._on_limit(self.workers[number], reason, detail, now)
            case ev.Tick(pulses, loads, late):
                self._be_patient(late)
                for number, load in loads.items():
                    self.workers[number].load = load
                for number, pulse in pulses.items():
                    self._on_pulse(self.workers[number], pulse, late, now)
            case ev.Stuck(stuck, behind, loads):
                self._on_stuck(stuck, behind, loads, now)
            case ev.StopRequested() if self._stopping is not None:
                self._quit(now)
            case ev.StopRequested():
                self._stop(0, self.policy.shutdown_delay, now)
            case ev.QuitRequested():
                self._quit(now)
            case ev.ReloadRequested() | ev.ScaleRequested() | ev.ScaleTo():
                self._on_request(event, now)
            case ev.DrainRequested() | ev.RestartRequested():
                self._on_request(event, now)
        self._now = now
        self._advance(now)
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float | None:
        """When a Tick is due although nothing happened; None when nothing waits for time.

        What was due by the last event and is still listed waits for something else: a free desk, another
        worker's start. An event will tell, so it is no deadline.
        """
        return min((due for due in self._deadlines() if due > self._now), default=None)

    def _deadlines(self) -> Iterator[float]:
        for worker in self.workers.values():
            if worker.deadline is not None:
                yield worker.deadline
            if worker.retire_at is not None and self._stopping is None:
                yield worker.retire_at
        if self._drain_at is not None:
            yield self._drain_at
        if self._stopping is None and self.ever_ready:
            for slot in self.slots.values():
                if slot.missing() and not slot.full() and not slot.drained:
                    yield slot.retry_at
            for swap in self._rollout.swaps:
                if swap.successor is None:
                    yield swap.not_before

    # ── what happened ─────────────────────────────────────────────────────────────────────────────────

    def _on_ready(self, worker: Worker, now: float) -> None:
        worker.phase = after(worker.phase, Cue.LISTENING)
        if worker.phase is not Phase.READY:
            return
        slot = self.slots[worker.slot]
        predecessors = [other for other in slot.workers if other is not worker and other.phase in SERVING]
        worker.deadline = None
        worker.ready_at = worker.heard_at = now
        if self.policy.lifetime:
            jitter = self._rng.uniform(0, self.policy.lifetime_jitter)
            worker.retire_at = now + self.policy.lifetime + jitter
        slot.generation = worker.generation
        slot.opened = True
        self.ever_ready = True
        self._report(reports.ready(worker, now))
        for predecessor in predecessors:
            self._drain(predecessor, (slot.number,), now)
        self._rollout.fulfil(slot.number, worker.generation)
        if self._stopping is not None and self._drain_at is None:
            self._drain(worker, (), now)
        if not self._announced and all(self._served(number) for number in self._wanted()):
            self._announced = True
            self._report(reports.all_ready(self.target))

    def _on_exited(self, worker: Worker, how: str, blame: Blame, now: float) -> None:
        before = worker.phase
        worker.phase = after(before, Cue.EXIT)
        slot = self.slots[worker.slot]
        slot.workers.remove(worker)
        del self.workers[worker.number]
        if before in (Phase.DRAINING, Phase.DYING):
            self._report(reports.exited(worker, how))
            return
        self._report(reports.crashed(worker, how))
        if before is Phase.STARTING and not self.ever_ready:
            self._first_blame = self._first_blame or blame
        self._lost(worker, how, Reason.CRASH, now)

    def _on_leaving(self, worker: Worker, now: float) -> None:
        if worker.phase is Phase.DYING and worker.ready_at is None:
            # Terminated while it started, it took that for a wish: it was ready a moment before. Insist.
            self._actions.append(ev.Terminate(worker.number))
        elif not worker.leaving:
            self._on_limit(worker, Reason.TERMINATED, "it was sent SIGTERM", now)
        elif worker.phase in SERVING:
            worker.phase = after(worker.phase, Cue.DRAIN)
            worker.deadline = now + self.policy.graceful_timeout + self.policy.kill_grace
            self._report(reports.drains_by_itself(worker))
            self._lost(worker, "was sent SIGTERM twice", Reason.TERMINATED, now)
        worker.leaving = True

    def _on_limit(self, worker: Worker, reason: Reason, detail: str, now: float) -> None:
        wanted = self._stopping is None and worker.phase in SERVING
        if wanted and self._rollout.recycle(worker.slot, reason, now):
            self._report(reports.recycled(worker, reason, detail))

    def _on_pulse(self, worker: Worker, pulse: int, late: float, now: float) -> None:
        if pulse != worker.pulse or late > 0:
            if worker.phase is Phase.STALLED and pulse != worker.pulse:
                self._report(reports.turns_again(worker, now - worker.heard_at))
                worker.phase = after(worker.phase, Cue.TURNING)
            worker.pulse = pulse
            worker.heard_at = now
            worker.late = False
            if worker.stuck_at is not None and now - worker.stuck_at >= self.policy.stuck_for:
                worker.stuck_at = None
            return
        if worker.stuck_at is not None:
            worker.stuck_at = now
        silent = now - worker.heard_at
        if worker.phase is Phase.READY and silent >= self.policy.stall_after:
            worker.phase = after(worker.phase, Cue.SILENT)
            self._report(reports.stalled(worker, silent))
        if worker.phase is Phase.STALLED and 0 < self.policy.worker_timeout <= silent:
            why = f"event loop in slot {worker.slot} has been silent for {silent:.1f} s (--worker-timeout)"
            self._report(reports.aborted(worker, why, Reason.HANG))
            self._abort(worker, now)
            self._lost(worker, why, Reason.HANG, now)

    def _on_stuck(
        self, stuck: frozenset[int], late: frozenset[int], loads: Mapping[int, int], now: float
    ) -> None:
        for worker in self.workers.values():
            worker.late = worker.number in late
            worker.load = loads.get(worker.number, worker.load)
            if worker.slot in stuck and worker.phase is Phase.READY:
                worker.stuck_at = now

    def _be_patient(self, late: float) -> None:
        """The launcher did not run for `late` seconds, so that time is nobody's fault."""
        for worker in self.workers.values():
            if worker.deadline is not None:
                worker.deadline += late

    def _on_request(self, request: Request, now: float) -> None:
        why = self.objection(request)
        if why is not None:
            self._report(reports.refused(requests.name(request), why))
            return
        match request:
            case ev.ReloadRequested() if self._rollout.generation is not None:
                self._rollout.again = True
                self._report(reports.reload_follows(self._last_generation + 1))
            case ev.ReloadRequested():
                self._begin_reload(now)
            case ev.ScaleRequested(by):
                self._scale(min(max(self.target + by, 1), self.policy.capacity))
            case ev.ScaleTo(workers):
                self._scale(workers)
            case ev.DrainRequested(slot):
                self._slot(slot).drained = True
                self._report(reports.drained(slot))
            case ev.RestartRequested(slot):
                self._restart(self._slot(slot), now)

    def _scale(self, wanted: int) -> None:
        if wanted == self.target:
            return
        self._report(reports.scaled(self.target, wanted))
        for number in range(self.target, wanted):
            slot = self._slot(number)
            slot.reason = Reason.SCALE
            slot.drained = False
            # It may have served an older generation before it was scaled away.
            slot.generation = self._rollout.generation or self.generation
        self.target = wanted

    def _restart(self, slot: Slot, now: float) -> None:
        serving = slot.serving()
        if serving is not None and not slot.drained:
            self._on_limit(serving, Reason.RESTART, "somebody asked for it", now)
            return
        if slot.drained:
            # It may have missed a reload meanwhile.
            slot.generation = self._rollout.generation or self.generation
        slot.drained = False
        slot.reason = Reason.RESTART
        slot.retry_at = now
        self._report(reports.restarted(slot.number))

    # ── what follows ──────────────────────────────────────────────────────────────────────────────────

    def _advance(self, now: float) -> None:
        self._lose_patience(now)
        if self._stopping is None and self._begun:
            self._retire(now)
            self._settle_reload(now)
            self._fill(now)
            self._start_swap(now)
            self._give_up_first_start(now)
        if self._stopping is not None:
            self._finish_stop(now)
        if self._stopping is None or self._drain_at is not None:
            self._actions += arrange(self.slots, self.workers)
        if self._stopping is None:
            self._steer()

    def _steer(self) -> None:
        """Tell the kernel whom each slot's connections are for. Who is stopping leaves it as it is."""
        for slot in self.slots.values():
            serving = slot.serving()
            desk = None if serving is None else serving.desk
            if desk != slot.steered:
                slot.steered = desk
                self._actions.append(ev.Steer(slot.number, desk))

    def _lose_patience(self, now: float) -> None:
        """Act on every deadline that is over, and on every lifetime."""
        for worker in list(self.workers.values()):
            if worker.retire_at is not None and now >= worker.retire_at:
                worker.retire_at = None
                self._on_limit(worker, Reason.LIFETIME, "it reached its lifetime", now)
            if worker.deadline is None or now < worker.deadline:
                continue
            if worker.phase is Phase.STARTING:
                why = (
                    f"worker in slot {worker.slot} was not ready within "
                    f"{self.policy.startup_timeout:g} s (--startup-timeout)"
                )
                self._report(reports.aborted(worker, why, Reason.CRASH))
                self._abort(worker, now)
                if not self.ever_ready:
                    self._first_blame = self._first_blame or Blame.APPLICATION
                self._lost(worker, why, Reason.CRASH, now)
            else:
                self._report(reports.killed(worker))
                self._kill(worker)

    def _retire(self, now: float) -> None:
        """Let the workers of slots beyond the target, and of those that are out of service, go.

        The listeners stay, and a sibling fosters them: without steering, closing one resets who is just in
        its handshake. A slot that never had any is forgotten.
        """
        heirs = tuple(number for number in self._wanted() if self._served(number))
        for slot in [slot for slot in self.slots.values() if slot.number >= self.target or slot.drained]:
            self._rollout.forget(slot.number)
            for worker in slot.workers:
                if worker.phase is Phase.STARTING and not worker.listens:
                    self._terminate(worker, now)
                elif worker.phase in SERVING and heirs:
                    self._drain(worker, heirs, now)
            if not slot.workers and not slot.opened and not slot.drained:
                del self.slots[slot.number]

    def _fill(self, now: float) -> None:
        """Start the missing workers, a few at a time."""
        if self._first_blame is not None and not self.ever_ready:
            return  # the first start has failed once: wait for the others' answer before trying again
        starting = sum(worker.phase is Phase.STARTING for worker in self.workers.values())
        for number in self._wanted():
            slot = self._slot(number)
            if starting >= self.policy.starts_at_once:
                return
            if slot.missing() and not slot.full() and now >= slot.retry_at:
                self._spawn(slot, slot.generation, slot.reason, now)
                starting += 1

    def _start_swap(self, now: float) -> None:
        """Start the next planned replacement; there is one at a time."""
        swap = self._rollout.next(self._slot, now)
        if swap is not None:
            slot = self._slot(swap.slot)
            reload = self._rollout.generation if swap.reason is Reason.RELOAD else None
            swap.successor = self._spawn(slot, reload or slot.generation, swap.reason, now).number

    def _give_up_first_start(self, now: float) -> None:
        """Exit when everything that was started has failed and nothing ever was ready."""
        starting = any(worker.phase is Phase.STARTING for worker in self.workers.values())
        if self._first_blame is not None and not self.ever_ready and not starting:
            self._report(reports.gives_up())
            self._stop(self._first_blame.value, 0.0, now)

    # ── reload ────────────────────────────────────────────────────────────────────────────────────────

    def _begin_reload(self, now: float) -> None:
        self._last_generation += 1
        slots = self._wanted()
        self._rollout.begin_reload(self._last_generation, slots, now)
        self._report(reports.reload_begun(self._last_generation, len(slots)))

    def _settle_reload(self, now: float) -> None:
        """Declare the reload done when no swap of it is left."""
        if not self._rollout.reloaded():
            return
        self.generation = self._rollout.generation or self.generation
        self._report(reports.reload_done(self.generation))
        self._end_reload(now)

    def _abort_reload(self, why: str, now: float) -> None:
        generation = self._rollout.generation
        if generation is None:
            raise RuntimeError("there is no reload to abort")
        slots = self._wanted()
        reloaded = sum(self._slot(number).generation == generation for number in slots)
        self._report(reports.reload_aborted(generation, why, self.generation, reloaded, len(slots)))
        self._end_reload(now)

    def _end_reload(self, now: float) -> None:
        self._rollout.end_reload()
        if self._rollout.again:
            self._begin_reload(now)

    # ── stop ──────────────────────────────────────────────────────────────────────────────────────────

    def _stop(self, code: int, delay: float, now: float) -> None:
        """Decide the end: nothing starts any more; who serves drains after `delay` seconds."""
        self._stopping = code
        self._drain_at = now + delay
        self._rollout.clear()
        for worker in self.workers.values():
            if worker.phase is Phase.STARTING and worker.listens:
                # Clients are in its queue: it is ready in a moment, and drains.
                worker.deadline = now + self.policy.kill_grace
            elif worker.phase is Phase.STARTING:
                self._terminate(worker, now)
        self._report(reports.stops(delay))

    def _quit(self, now: float) -> None:
        if self._stopping is None:
            self._stop(0, 0.0, now)
        self._report(reports.quits())
        self._drain_at = None
        for worker in self.workers.values():
            self._kill(worker)

    def _finish_stop(self, now: float) -> None:
        if self._drain_at is not None and now >= self._drain_at:
            self._drain_at = None
            # First, so that a worker that has taken its whole queue closes the last copy of its listeners.
            self._actions.append(ev.Release())
            for worker in self.workers.values():
                if worker.phase in SERVING:
                    self._drain(worker, (), now)
        if not self.workers and not self._exited and self._stopping is not None:
            self._exited = True
            self._drain_at = None
            self._actions.append(ev.Exit(self._stopping))

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, slot: Slot, generation: int, reason: Reason, now: float) -> Worker:
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
        )
        slot.workers.append(worker)
        self.workers[worker.number] = worker
        self._actions.append(ev.Spawn(worker.number, slot.number, worker.desk, generation, reason))
        return worker

    def _drain(self, worker: Worker, heirs: tuple[int, ...], now: float) -> None:
        worker.phase = after(worker.phase, Cue.DRAIN)
        worker.deadline = now + self.policy.graceful_timeout + self.policy.kill_grace
        self._actions.append(ev.Drain(worker.number, self.policy.graceful_timeout, heirs))

    def _terminate(self, worker: Worker, now: float) -> None:
        worker.phase = after(worker.phase, Cue.CONDEMN)
        worker.deadline = now + self.policy.kill_grace
        self._actions.append(ev.Terminate(worker.number))

    def _abort(self, worker: Worker, now: float) -> None:
        worker.phase = after(worker.phase, Cue.CONDEMN)
        worker.deadline = now + self.policy.kill_grace
        self._actions.append(ev.Abort(worker.number))

    def _kill(self, worker: Worker) -> None:
        worker.phase = after(worker.phase, Cue.CONDEMN)
        worker.deadline = None
        self._actions.append(ev.Kill(worker.number))

    def _lost(self, worker: Worker, why: str, reason: Reason, now: float) -> None:
        """A worker that should have gone on did not: decide when its slot is tried again."""
        if self._stopping is not None:
            return
        slot = self.slots[worker.slot]
        stable = worker.ready_at is not None and now - worker.ready_at >= self.policy.stable_after
        slot.losses = 1 if stable else slot.losses + 1
        pause = self.policy.backoff(slot.losses) * self._rng.uniform(0.5, 1.0)
        slot.retry_at = now + pause
        slot.reason = reason
        if pause and slot.missing() and not slot.drained and self.ever_ready:
            self._report(reports.backs_off(slot.number, pause))
        swap = self._rollout.of_successor(worker.number)
        if swap is None:
            return
        if swap.reason is Reason.RELOAD:
            self._abort_reload(why, now)
        else:
            swap.successor = None
            swap.not_before = slot.retry_at

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────

    def objection(self, request: Request) -> str | None:
        """Why this would be refused now; None: `handle` carries it out."""
        if self._stopping is not None and not isinstance(request, ev.StopRequested):
            return "stopping"
        wanted = self._wanted()
        drained = set(range(self.target)) - set(wanted)
        served = [number for number in wanted if self._served(number)]
        return requests.objection(request, self.target, self.policy.capacity, drained, served)

    def promised(self) -> int:
        """The generation that a reload brings if it is asked for now: at once, or after the one that runs."""
        return self._last_generation + 1

    def reloading(self) -> tuple[int, int, int] | None:
        """The generation of the reload that runs, how many slots have it, and how many are to."""
        if self._rollout.generation is None:
            return None
        wanted = len(self._wanted())
        left = sum(swap.reason is Reason.RELOAD for swap in self._rollout.swaps)
        return self._rollout.generation, max(0, wanted - left), wanted

    def stage(self) -> Stage:
        """Where the server as a whole is."""
        if self._stopping is not None:
            return "stopping"
        if not self._announced:
            return "starting"
        return "serving" if self._rollout.generation is None else "reloading"

    def _slot(self, number: int) -> Slot:
        return self.slots.setdefault(number, Slot(number, self._rollout.generation or self.generation))

    def _served(self, number: int) -> bool:
        slot = self.slots.get(number)
        return slot is not None and slot.serving() is not None

    def _wanted(self) -> list[int]:
        """The slots that are to be served."""
        return [
            number
            for number in range(self.target)
            if number not in self.slots or not self.slots[number].drained
        ]

    def _report(self, report: Report) -> None:
        self._actions.append(report)
