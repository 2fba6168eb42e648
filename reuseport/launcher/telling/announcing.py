"""What the service manager is to be told now, decided from a few facts. Pure: time is handed in.

Sources: sd_notify(3), systemd.service(5). What could not be sent is due again at the next look, so a queue
that is full delays the truth and never changes it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum

from reuseport.launcher.deciding.phases import SERVING, Phase
from reuseport.launcher.deciding.slots import Policy, Stage
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.printable import printable
from reuseport.records import record

EXTENSION = 15.0
"""Seconds that are asked for at a time: so long after we have gone silent the manager's own limit counts."""
EXTEND_EVERY = 5.0
LONGEST_STATUS = 400
"""Characters: a cause may be a traceback."""


class State(Enum):
    """What the manager believes of us."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


@record(frozen=True, slots=True)
class Facts:
    """The server at one moment. `reload`: its generation, slots done, slots in all."""

    stage: Stage
    ready: int
    workers: int
    generation: int
    reload: tuple[int, int, int] | None = None
    begun: int = 0
    """Reloads that have begun so far."""
    before: bool = False
    """One waits for --before-reload."""
    left: int = 0
    """Workers that are still there."""
    patient: bool = True
    """Everybody who is waited for has a deadline of ours, so whatever takes long has an end."""
    failed: str = ""
    """Why the last reload was aborted; empty: it was not."""


@record(frozen=True, slots=True)
class Rules:
    """What does not change. Seconds of the launcher's clock."""

    min_ready: int
    watchdog: float | None = None
    """The manager's interval; None: it has none."""
    start_by: float | None = None
    """When the first start has succeeded or failed, unless workers fail again and again."""


@record(frozen=True, slots=True)
class Told:
    """What has been sent."""

    state: State = State.STARTING
    begun: int = 0
    """Reloads that were told."""
    status: str = ""
    watchdog_at: float = 0.0
    """When the next sign of life is due."""
    extend_at: float = 0.0
    """When more time is asked for next."""

    def next_at(self, rules: Rules) -> float:
        """When something is due although nothing happens; infinite: never."""
        extend_at = math.inf if self.state is State.READY else self.extend_at
        return extend_at if rules.watchdog is None else min(self.watchdog_at, extend_at)


def ready(supervisor: Supervisor) -> int:
    """Slots whose worker is ready, among those wanted."""
    return sum(
        worker.phase is Phase.READY and worker.slot < supervisor.target
        for worker in supervisor.workers.values()
    )


def facts_of(supervisor: Supervisor, begun: int = 0, before: bool = False, failed: str = "") -> Facts:
    """What the supervisor knows of all this, and what the history has told."""
    workers = supervisor.workers.values()
    return Facts(
        stage=supervisor.stage(),
        ready=ready(supervisor),
        workers=supervisor.target,
        generation=supervisor.generation,
        reload=supervisor.reloading(),
        begun=begun,
        before=before,
        left=len(workers),
        # Who serves has none, and gets one when it is told to drain.
        patient=all(worker.deadline is not None or worker.phase in SERVING for worker in workers),
        failed=failed,
    )


def start_limit(policy: Policy) -> float | None:
    """Seconds that the first start can take; None: any number."""
    rounds = -(-policy.workers // policy.starts_at_once)
    return (policy.startup_timeout + policy.kill_grace) * rounds if policy.startup_timeout else None


def announce(told: Told, facts: Facts, rules: Rules, now: float) -> tuple[list[str], Told]:
    """The lines of one datagram, none if nothing is due, and what has been told once it is sent.

    `now` is of CLOCK_MONOTONIC, in seconds: the manager compares RELOADING with it.
    """
    lines: list[str] = []
    after = told
    state, begun = _state(told, facts, rules)
    if (state, begun) != (told.state, told.begun):
        lines += _entering(state, now)
        after = replace(after, state=state, begun=begun, extend_at=now)
    if (status := sentence(facts, rules)) != told.status:
        lines.append(f"STATUS={status}")
        after = replace(after, status=status)
    if now >= after.extend_at and _takes_long(state, facts, rules, now):
        lines.append(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}")
    if now >= after.extend_at:
        after = replace(after, extend_at=now + EXTEND_EVERY)
    if rules.watchdog is not None and now >= told.watchdog_at:
        lines.append("WATCHDOG=1")
        after = replace(after, watchdog_at=now + rules.watchdog / 2)
    return lines, after


def _state(told: Told, facts: Facts, rules: Rules) -> tuple[State, int]:
    """Where we are, in steps that the manager follows: no reload before READY, and none without a word."""
    if facts.stage == "stopping":
        return State.STOPPING, told.begun
    if told.state is State.STARTING:
        if facts.ready < rules.min_ready:
            return State.STARTING, told.begun
        return State.READY, facts.begun
    if facts.begun > told.begun:
        # It may be over by now. The manager waits for both words.
        return State.RELOADING, facts.begun
    return State.RELOADING if facts.reload is not None or facts.before else State.READY, told.begun


def _entering(state: State, now: float) -> list[str]:
    match state:
        case State.READY:
            return ["READY=1"]
        case State.RELOADING:
            return ["RELOADING=1", f"MONOTONIC_USEC={now * 1e6:.0f}"]
        case State.STOPPING:
            return ["STOPPING=1"]
        case State.STARTING:
            return []


def _takes_long(state: State, facts: Facts, rules: Rules, now: float) -> bool:
    """Whether to ask for more time. Not where we know no end ourselves: then the manager's limit counts."""
    if state is State.STARTING:
        return facts.patient and rules.start_by is not None and now < rules.start_by
    return facts.patient and not facts.before and state in (State.RELOADING, State.STOPPING)


def sentence(facts: Facts, rules: Rules) -> str:
    """For people: what `systemctl status` shows."""
    are = "worker is" if facts.workers == 1 else "workers are"
    text = f"{facts.ready} of {facts.workers} {are} ready"
    if facts.stage == "stopping":
        text = f"stopping: {facts.left} {'worker is' if facts.left == 1 else 'workers are'} left"
    elif facts.reload is not None:
        generation, done, of = facts.reload
        text = f"reloading to generation {generation}: {done} of {of} slots; {text}"
    elif facts.before:
        text = f"before a reload: --before-reload runs; {text}"
    elif facts.ready < rules.min_ready:
        text = f"{text}, {rules.min_ready} must be"
    else:
        text = f"{text}, generation {facts.generation}"
    if facts.failed and facts.reload is None and not facts.before and facts.stage != "stopping":
        text = f"{text}; the last reload was aborted: {facts.failed}"
    # A line break would begin another assignment.
    return printable(text[:LONGEST_STATUS])
