"""The supervisor: every decision about workers is made in this file. No I/O here.

`handle(event, now)` takes an event and the time and returns the actions that follow; `next_deadline()` says
until when nothing happens by itself. After each event `_advance` asks, in this order: whose patience is over,
who is to leave, who is missing, who is to be replaced, who accepts for whom. So a rollout is state, no call
stack, and a stop in the middle of one is acted on at once. The file is long because it is the thing: who is
there (`roster`, `slots`), whose loop turns (`silence`), plans (`rollout`) and fosters (`fostering`) stand
beside it, decisions do not.

Promises, checked by the property test: at most two workers in a slot; nobody drains without a ready
successor, unless stopping or scaling down; where clients can connect somebody accepts; every worker serves
or has a deadline or was sent SIGKILL; nothing starts while stopping; from any state a stop ends in `Exit`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports, requests, silence
from reuseport.launcher.deciding.events import Action, Blame, Event, Reason, Report, Request
from reuseport.launcher.deciding.fostering import arrange
from reuseport.launcher.deciding.phases import SERVING, Cue, Phase, after
from reuseport.launcher.deciding.rollout import Rollout
from reuseport.launcher.deciding.roster import Roster
from reuseport.launcher.deciding.slots import Policy, Slot, Stage, Worker


class Supervisor:
    """Keeps `policy.workers` slots served. Pure: time and randomness are handed in."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self.policy = policy
        self.generation = 1
        self._roster = Roster(policy)
        self._rng = rng
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

    @property
    def target(self) -> int:
        """How many slots are to be served, those out of service included."""
        return self._roster.target

    @property
    def slots(self) -> dict[int, Slot]:
        """By number; not to be changed by others."""
        return self._roster.slots

    @property
    def workers(self) -> dict[int, Worker]:
        """By number; not to be changed by others."""
        return self._roster.workers

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
                self._roster.be_patient(late)
                for number, load in loads.items():
                    self.workers[number].load = load
                for number, pulse in pulses.items():
                    self._on_pulse(self.workers[number], pulse, late, now)
            case ev.Stuck(stuck, behind, loads):
                silence.stick(self.workers.values(), stuck, behind, loads, now)
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
        actions, self._roster.actions = self._roster.actions, []
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
            self._roster.drain(predecessor, (slot.number,), now)
        self._rollout.fulfil(slot.number, worker.generation)
        if self._stopping is not None and self._drain_at is None:
            self._roster.drain(worker, (), now)
        if not self._announced and all(self._roster.served(number) for number in self._roster.wanted()):
            self._announced = True
            self._report(reports.all_ready(self.target))

    def _on_exited(self, worker: Worker, how: str, blame: Blame, now: float) -> None:
        before = worker.phase
        self._roster.bury(worker)
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
            self._roster.actions.append(ev.Terminate(worker.number))
        elif not worker.leaving:
            self._on_limit(worker, Reason.TERMINATED, "it was sent SIGTERM", now)
        elif worker.phase in SERVING:
            self._roster.let_drain(worker, now)
            self._report(reports.drains_by_itself(worker))
            self._lost(worker, "was sent SIGTERM twice", Reason.TERMINATED, now)
        worker.leaving = True

    def _on_limit(self, worker: Worker, reason: Reason, detail: str, now: float) -> None:
        wanted = self._stopping is None and worker.phase in SERVING
        if wanted and self._rollout.recycle(worker.slot, reason, now):
            self._report(reports.recycled(worker, reason, detail))

    def _on_pulse(self, worker: Worker, pulse: int, late: float, now: float) -> None:
        told = silence.listen(worker, pulse, late, now, self.policy)
        if told is not None:
            self._report(told)
        why = silence.hangs(worker, now, self.policy)
        if why is not None:
            self._report(reports.aborted(worker, why, Reason.HANG))
            self._roster.abort(worker, now)
            self._lost(worker, why, Reason.HANG, now)

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
                self._roster.scale(self.target + by, self._newest())
            case ev.ScaleTo(workers):
                self._roster.scale(workers, self._newest())
            case ev.DrainRequested(slot):
                self._slot(slot).drained = True
                self._report(reports.drained(slot))
            case ev.RestartRequested(slot):
                self._restart(self._slot(slot), now)

    def _restart(self, slot: Slot, now: float) -> None:
        serving = slot.serving()
        if serving is not None and not slot.drained:
            self._on_limit(serving, Reason.RESTART, "somebody asked for it", now)
            return
        if slot.drained:
            # It may have missed a reload meanwhile.
            slot.generation = self._newest()
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
            self._roster.actions += arrange(self.slots, self.workers)
        if self._stopping is None:  # who is stopping leaves it as it is
            self._roster.steer()

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
                self._roster.abort(worker, now)
                if not self.ever_ready:
                    self._first_blame = self._first_blame or Blame.APPLICATION
                self._lost(worker, why, Reason.CRASH, now)
            else:
                self._report(reports.killed(worker))
                self._roster.kill(worker)

    def _retire(self, now: float) -> None:
        """Let the workers of slots beyond the target, and of those that are out of service, go.

        The listeners stay, and a sibling fosters them: without steering, closing one resets who is just in
        its handshake. A slot that never had any is forgotten.
        """
        heirs = tuple(number for number in self._roster.wanted() if self._roster.served(number))
        for slot in [slot for slot in self.slots.values() if slot.number >= self.target or slot.drained]:
            self._rollout.forget(slot.number)
            for worker in slot.workers:
                if worker.phase is Phase.STARTING and not worker.listens:
                    self._roster.terminate(worker, now)
                elif worker.phase in SERVING and heirs:
                    self._roster.drain(worker, heirs, now)
            if not slot.workers and not slot.opened and not slot.drained:
                del self.slots[slot.number]

    def _fill(self, now: float) -> None:
        """Start the missing workers, a few at a time."""
        if self._first_blame is not None and not self.ever_ready:
            return  # the first start has failed once: wait for the others' answer before trying again
        starting = sum(worker.phase is Phase.STARTING for worker in self.workers.values())
        for number in self._roster.wanted():
            slot = self._slot(number)
            if starting >= self.policy.starts_at_once:
                return
            if slot.missing() and not slot.full() and now >= slot.retry_at:
                self._roster.spawn(slot, slot.generation, slot.reason, now)
                starting += 1

    def _start_swap(self, now: float) -> None:
        """Start the next planned replacement; there is one at a time."""
        swap = self._rollout.next(self._slot, now)
        if swap is not None:
            slot = self._slot(swap.slot)
            reload = self._rollout.generation if swap.reason is Reason.RELOAD else None
            swap.successor = self._roster.spawn(slot, reload or slot.generation, swap.reason, now).number

    def _give_up_first_start(self, now: float) -> None:
        """Exit when everything that was started has failed and nothing ever was ready."""
        starting = any(worker.phase is Phase.STARTING for worker in self.workers.values())
        if self._first_blame is not None and not self.ever_ready and not starting:
            self._report(reports.gives_up())
            self._stop(self._first_blame.value, 0.0, now)

    # ── reload ────────────────────────────────────────────────────────────────────────────────────────

    def _begin_reload(self, now: float) -> None:
        self._last_generation += 1
        slots = self._roster.wanted()
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
        slots = self._roster.wanted()
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
                self._roster.terminate(worker, now)
        self._report(reports.stops(delay))

    def _quit(self, now: float) -> None:
        if self._stopping is None:
            self._stop(0, 0.0, now)
        self._report(reports.quits())
        self._drain_at = None
        for worker in self.workers.values():
            self._roster.kill(worker)

    def _finish_stop(self, now: float) -> None:
        if self._drain_at is not None and now >= self._drain_at:
            self._drain_at = None
            # First, so that a worker that has taken its whole queue closes the last copy of its listeners.
            self._roster.actions.append(ev.Release())
            for worker in self._roster.serving():
                self._roster.drain(worker, (), now)
        if not self.workers and not self._exited and self._stopping is not None:
            self._exited = True
            self._drain_at = None
            self._roster.actions.append(ev.Exit(self._stopping))

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────

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
        wanted = self._roster.wanted()
        drained = set(range(self.target)) - set(wanted)
        served = [number for number in wanted if self._roster.served(number)]
        return requests.objection(request, self.target, self.policy.capacity, drained, served)

    def promised(self) -> int:
        """The generation that a reload brings if it is asked for now: at once, or after the one that runs."""
        return self._last_generation + 1

    def reloading(self) -> tuple[int, int, int] | None:
        """The generation of the reload that runs, how many slots have it, and how many are to."""
        if self._rollout.generation is None:
            return None
        wanted = len(self._roster.wanted())
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
        return self._roster.slot(number, self._newest())

    def _newest(self) -> int:
        """The generation that whoever starts now belongs to."""
        return self._rollout.generation or self.generation

    def _report(self, report: Report) -> None:
        self._roster.report(report)
