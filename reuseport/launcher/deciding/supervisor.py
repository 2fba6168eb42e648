"""The supervisor: every decision about workers is made in this file. No I/O here.

`handle(event, now)` takes an event and the time and returns the actions that follow; `next_deadline()` says
until when nothing happens by itself. After each event `_advance` asks, in this order: whose patience is over,
who is to leave, who is missing, who is to be replaced, who accepts for whom. So a rollout is state, no call
stack, and a stop in the middle of one is acted on at once. The file is long because it is the thing: who is
there (`roster`, `slots`), who starts (`starting`), whose loop turns (`silence`), plans (`rollout`), fosters
(`fostering`) and the end (`ending`) stand beside it, decisions do not.

Promises, checked by the property test: at most DESKS workers in a slot, of which one serves; nobody drains
without a ready successor, unless stopping or scaling down; where clients can connect somebody accepts; every
worker serves or has a deadline, but for who may shut down for as long as it likes; nothing starts while
stopping; from any state a stop ends in `Exit`, even if somebody holds what was sent SIGKILL.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import looking, reports, requests, silence
from reuseport.launcher.deciding.conversation import follows
from reuseport.launcher.deciding.ending import CUT_SHORT, Ending
from reuseport.launcher.deciding.events import Action, Blame, Event, Reason, Request
from reuseport.launcher.deciding.fostering import arrange
from reuseport.launcher.deciding.phases import SERVING, Cue, Phase, after
from reuseport.launcher.deciding.rollout import Rollout
from reuseport.launcher.deciding.roster import Roster
from reuseport.launcher.deciding.siblings import acquaint, introduce
from reuseport.launcher.deciding.slots import Policy, Slot, Stage, Worker
from reuseport.launcher.deciding.starting import FirstStart, fill, start_swaps
from reuseport.messages import (
    CannotFoster,
    Failed,
    Holds,
    Leaving,
    LimitReached,
    Listens,
    Ready,
    ShuttingDown,
    ToLauncher,
    Waits,
)


class Supervisor:
    """Keeps `policy.workers` slots served. Pure: time and randomness are handed in."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self.policy = policy
        self._roster = Roster(policy)
        self._rollout = Rollout(self._roster)
        self._ending = Ending(self._roster)
        self._rng = rng
        self._begun = False
        self._first = FirstStart()
        self._announced = False
        self._told = ""
        """The last startup failure that was told."""
        self._now = 0.0

    @property
    def target(self) -> int:
        """How many slots are to be served, those out of service included."""
        return self._roster.target

    @property
    def generation(self) -> int:
        """The one that serves when no reload runs."""
        return self._rollout.current

    @property
    def slots(self) -> dict[int, Slot]:
        """By number; not to be changed by others."""
        return self._roster.slots

    @property
    def workers(self) -> dict[int, Worker]:
        """By number; not to be changed by others."""
        return self._roster.workers

    # ── the two calls ─────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: Event, now: float, late: float = 0.0) -> list[Action]:  # noqa: C901 - one branch an event is the point
        """Take in one event; return what is to be done now, in this order.

        `late` is how many seconds later than asked the launcher itself was woken: after a SIGSTOP of the
        whole group, or a paused machine, silence proves nothing about the workers, and no deadline of theirs
        ran.
        """
        if late > 0:
            self._roster.be_patient(late, now)
        match event:
            case ev.Begin():
                self._begun = True
            case ev.Heard(number, message):
                self._on_heard(self.workers[number], message, now)
            case ev.Violated(number, how):
                self._on_violated(self.workers[number], how, now)
            case ev.Deaf(number):
                self._on_deaf(self.workers[number], now)
            case ev.WorkerExited(number):
                self._on_exited(self.workers[number], event, now)
            case ev.Outgrown(number, detail):
                self._rollout.recycle(self.workers[number], Reason.MAX_RSS, detail, now)
            case ev.Unlistened(number):
                self._rollout.recycle(self.workers[number], Reason.RESTART, "its listener was closed", now)
            case ev.Tick(pulses, loads):
                for number, load in loads.items():
                    self.workers[number].load = load
                for number, pulse in pulses.items():
                    self._on_pulse(self.workers[number], pulse, now)
            case ev.Stuck(stuck, behind, loads):
                silence.stick(self.workers.values(), stuck, behind, loads, now)
            case ev.Seen(number, where):
                looking.seen(self._roster, number, where, now)
            case ev.StopRequested() if not self._ending.decided:
                self._stop(0, self.policy.shutdown_delay, now)
            case ev.StopRequested() if self._ending.insists(now):
                self._ending.hurry(now)
            case ev.QuitRequested():
                self._stop(0, 0.0, now)
                self._ending.hurry(now)
            case ev.Broken():
                self._stop(CUT_SHORT, 0.0, now)
                self._ending.fail()
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
        yield from self._roster.deadlines()
        if self._ending.drain_at is not None:
            yield self._ending.drain_at
        if self._ending.decided:
            return
        for worker in self.workers.values():
            if worker.retire_at is not None:
                yield worker.retire_at
        if self._first.over:
            for slot in self.slots.values():
                if slot.missing() and not slot.full() and not slot.drained:
                    yield slot.retry_at
            yield from self._rollout.deadlines()

    # ── what happened ─────────────────────────────────────────────────────────────────────────────────

    def _on_heard(self, worker: Worker, message: ToLauncher, now: float) -> None:  # noqa: C901 - ditto
        said = follows(worker.said, message)
        if said is None:
            kind = type(message).__name__
            self._on_violated(worker, f"it says {kind} after it has said {worker.said.value}", now)
            return
        worker.said = said
        match message:
            case Listens():
                worker.listens = True
                self.slots[worker.slot].opened = True
            case Ready():
                self._on_ready(worker, now)
            case Failed(blame, text):
                worker.blame = Blame.OPERATOR if blame == "operator" else Blame.APPLICATION
                self._roster.report(reports.could_not_start(worker, text, self._told))
                self._told = text
            case LimitReached(requests):
                self._rollout.recycle(worker, Reason.MAX_REQUESTS, reports.answered(requests), now)
            case Leaving():
                self._on_leaving(worker, now)
            case CannotFoster(slot):
                self._roster.excuse(worker, slot, now)
            case Waits() if worker.phase is Phase.DRAINING:
                worker.waits = message
            case ShuttingDown(cut_off) if worker.phase is Phase.DRAINING:
                self._ending.cut_short |= self._ending.decided and cut_off > 0
                self._roster.let_shut_down(worker, self._ending.shutdown_limit(), now)
            case Waits() | ShuttingDown() | Holds():
                pass  # nothing follows, whether it is true or not

    def _on_ready(self, worker: Worker, now: float) -> None:
        worker.phase = after(worker.phase, Cue.LISTENING)
        if worker.phase is not Phase.READY:
            return
        slot = self.slots[worker.slot]
        predecessors = [other for other in slot.workers if other is not worker and other.phase in SERVING]
        worker.deadline = worker.look_at = None
        worker.ready_at = worker.heard_at = now
        if self.policy.lifetime:
            jitter = self._rng.uniform(0, self.policy.lifetime_jitter)
            worker.retire_at = now + self.policy.lifetime + jitter
        slot.generation = worker.generation
        slot.opened = True
        self._first.over = True
        self._told = ""
        self._roster.report(reports.ready(worker, now))
        for predecessor in predecessors:
            self._roster.drain(predecessor, (slot.number,), now)
        self._rollout.fulfil(slot.number, worker.generation)
        if self._ending.decided and self._ending.drain_at is None:
            self._roster.drain(worker, (), now)
        elif self.policy.stealing:
            self._roster.actions += introduce(worker, self.slots, self.target)
        if not self._announced and all(self._roster.served(number) for number in self._roster.wanted()):
            self._announced = True
            self._roster.report(reports.all_ready(self.target))

    def _on_exited(self, worker: Worker, exited: ev.WorkerExited, now: float) -> None:
        before = worker.phase
        self._first.over |= exited.ready
        self._roster.bury(worker)
        if self._ending.decided and not exited.clean and before not in (Phase.STARTING, Phase.DYING):
            self._ending.cut_short = True
        if before in (Phase.DRAINING, Phase.DYING):
            self._roster.report(reports.exited(worker, exited.how))
            return
        self._roster.report(reports.crashed(worker, exited.how))
        if before is Phase.STARTING:
            self._first.failed(worker.blame or exited.blame)
        self._lost(worker, exited.how, Reason.CRASH, now)

    def _on_leaving(self, worker: Worker, now: float) -> None:
        if worker.phase is Phase.DYING and worker.ready_at is None:
            # Terminated while it started, it took that for a wish: it was ready a moment before. Insist.
            self._roster.actions.append(ev.Terminate(worker.number))
        elif not worker.leaving:
            self._rollout.recycle(worker, Reason.TERMINATED, "it was sent SIGTERM", now)
        elif worker.phase in SERVING:
            self._roster.let_drain(worker, now)
            self._roster.report(reports.drains_by_itself(worker))
            self._lost(worker, "was sent SIGTERM twice", Reason.TERMINATED, now)
        worker.leaving = True

    def _on_violated(self, worker: Worker, how: str, now: float) -> None:
        """It may be somebody else's by now: nothing that it still says counts, and it is not asked to go."""
        lost = worker.phase is Phase.STARTING or worker.phase in SERVING
        self._roster.report(reports.violated(worker, how))
        self._roster.kill(worker, now)
        if lost:
            self._first.failed(Blame.APPLICATION)
            self._lost(worker, how, Reason.VIOLATION, now)

    def _on_deaf(self, worker: Worker, now: float) -> None:
        """Nothing can be told to it any more: SIGTERM is the only word left, and it reads that as Leaving."""
        if worker.phase is Phase.STARTING:
            why = f"worker in slot {worker.slot} closed its channel before it was ready"
            self._roster.report(reports.aborted(worker, why, Reason.CRASH))
            self._roster.abort(worker, now)
            self._lost(worker, why, Reason.CRASH, now)
        else:
            worker.leaving = True
            self._rollout.recycle(worker, Reason.TERMINATED, "it closed its channel", now)

    def _on_pulse(self, worker: Worker, pulse: int, now: float) -> None:
        if (told := silence.listen(worker, pulse, now, self.policy)) is not None:
            self._roster.report(told)
            if self.policy.stealing and worker.phase is Phase.READY and not self._ending.decided:
                self._roster.actions += acquaint(worker, self.slots, self.target)
        if (why := silence.hangs(worker, now, self.policy)) is not None:
            self._roster.report(reports.aborted(worker, why, Reason.HANG))
            self._roster.abort(worker, now)
            self._lost(worker, why, Reason.HANG, now)

    def _on_request(self, request: Request, now: float) -> None:
        if (why := self.objection(request)) is not None:
            self._roster.report(reports.refused(requests.name(request), why))
            return
        requests.carry_out(request, self._roster, self._rollout, now)

    # ── what follows ──────────────────────────────────────────────────────────────────────────────────

    def _advance(self, now: float) -> None:
        self._lose_patience(now)
        looking.look(self._roster, now)
        if not self._ending.decided and self._begun:
            for number in self._roster.retire(now):
                self._rollout.forget(number)
            self._rollout.settle(now)
            if self._first.verdict() is None:  # else wait for the others' answer before trying again
                fill(self._roster, self._rollout, self.policy.starts_at_once, now)
            self._start_swaps(now)
            self._give_up_first_start(now)
        if self._ending.decided:
            self._ending.advance(now)
        if not self._ending.decided or self._ending.drain_at is not None:
            self._roster.actions += arrange(self.slots, self.workers, now)
        if not self._ending.decided:  # who is stopping leaves it as it is
            self._roster.steer()

    def _lose_patience(self, now: float) -> None:
        """Act on every deadline that is over, and on every lifetime."""
        for worker in list(self.workers.values()):
            if worker.retire_at is not None and now >= worker.retire_at:
                worker.retire_at = None
                self._rollout.recycle(worker, Reason.LIFETIME, "it reached its lifetime", now)
            if worker.deadline is None or now < worker.deadline:
                continue
            if worker.phase is Phase.STARTING:
                why = reports.not_ready(worker, self.policy.startup_timeout)
                self._roster.report(reports.aborted(worker, why, Reason.CRASH))
                self._roster.abort(worker, now)
                self._first.failed(Blame.APPLICATION)
                self._lost(worker, why, Reason.CRASH, now)
            elif worker.killed:
                self._roster.report(reports.held(worker, self.policy.held))
                self._roster.abandon(worker)
            else:
                self._roster.report(reports.killed(worker, self._ending.shutdown_limit()))
                self._roster.kill(worker, now)

    def _start_swaps(self, now: float) -> None:
        start_swaps(self._roster, self._rollout, now)

    def _give_up_first_start(self, now: float) -> None:
        """Exit when everything that was started has failed and nothing ever was ready."""
        starting = any(worker.phase is Phase.STARTING for worker in self.workers.values())
        blame = self._first.verdict()
        if blame is not None and not starting:
            self._roster.report(reports.gives_up())
            self._stop(blame.value, 0.0, now)

    def _stop(self, code: int, delay: float, now: float) -> None:
        """Decide the end, unless it is decided."""
        if not self._ending.decided:
            self._rollout.close()
            self._ending.begin(code, delay, now)

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────

    def _lost(self, worker: Worker, why: str, reason: Reason, now: float) -> None:
        """A worker that should have gone on did not: decide when its slot is tried again."""
        if self._ending.decided:
            return
        slot = self.slots[worker.slot]
        pause = self._roster.lose(worker, reason, self._rng.random(), now)
        if pause and slot.missing() and not slot.drained and self._first.over:
            self._roster.report(reports.backs_off(slot.number, pause))
        self._rollout.lost(worker, why, now)

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────

    def objection(self, request: Request) -> str | None:
        """Why this would be refused now; None: `handle` carries it out."""
        if self._ending.decided and not isinstance(request, ev.StopRequested):
            return "stopping"
        wanted = self._roster.wanted()
        drained = set(range(self.target)) - set(wanted)
        served = [number for number in wanted if self._roster.served(number)]
        return requests.objection(request, self.target, self.policy.capacity, drained, served)

    @property
    def ever_ready(self) -> bool:
        """Whether a worker ever was."""
        return self._first.over

    def generations(self) -> frozenset[int]:
        """Those of which workers may still be started."""
        return frozenset() if self._ending.decided else self._rollout.generations()

    def awaits(self, worker: int) -> bool:
        """Whether this worker is to start, or starts."""
        return (found := self.workers.get(worker)) is not None and found.phase is Phase.STARTING

    def promised(self) -> int:
        """The generation that a reload brings if it is asked for now: at once, or after the one that runs."""
        return self._rollout.promised()

    def reloading(self) -> tuple[int, int, int] | None:
        """The generation of the reload that runs, how many slots have it, and how many are to."""
        return self._rollout.progress()

    def stage(self) -> Stage:
        """Where the server as a whole is."""
        if self._ending.decided:
            return "stopping"
        if not self._announced:
            return "starting"
        return "serving" if self._rollout.generation is None else "reloading"
