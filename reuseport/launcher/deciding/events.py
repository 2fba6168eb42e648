"""What goes into the supervisor (events) and what comes out of it (actions): plain frozen data.

Times are seconds of the monotonic clock. A worker is named by its number, which is never used twice. What it
says and what it is told are messages (messages.py): they are carried, not spelt again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from reuseport.history import Kind, Level
from reuseport.messages import ToLauncher, ToWorker
from reuseport.records import record


class Reason(enum.Enum):
    """Why a worker is spawned; also the label of the spawn counter."""

    START = "start"
    CRASH = "crash"
    HANG = "hang"
    RELOAD = "reload"
    MAX_REQUESTS = "max_requests"
    MAX_RSS = "max_rss"
    LIFETIME = "lifetime"
    TERMINATED = "terminated"
    VIOLATION = "violation"
    SCALE = "scale"
    RESTART = "restart"


class Blame(enum.Enum):
    """Who must act on a worker that never became ready; the value is the launcher's exit code."""

    OPERATOR = 2
    APPLICATION = 3


# ── events ────────────────────────────────────────────────────────────────────────────────────────────


@record(frozen=True, slots=True)
class Begin:
    """The reservation stands: start the workers. The first event, given once."""


@record(frozen=True, slots=True)
class Heard:
    """The worker said something."""

    worker: int
    message: ToLauncher


@record(frozen=True, slots=True)
class Violated:
    """The worker does not keep to what was agreed; `how` says in words with what."""

    worker: int
    how: str


@record(frozen=True, slots=True)
class Deaf:
    """The worker's channel has ended, and the worker has not."""

    worker: int


@record(frozen=True, slots=True)
class WorkerExited:
    """The worker's process is gone. `how` says it in words, `blame` who must act if it never was ready.

    `clean`: by itself, with status 0, as far as anybody knows. `ready`: its last word was that it is, on
    which nobody has acted.
    """

    worker: int
    how: str
    blame: Blame = Blame.APPLICATION
    clean: bool = True
    ready: bool = False


@record(frozen=True, slots=True)
class Outgrown:
    """The worker uses more memory than it may, and should be recycled."""

    worker: int
    detail: str


@record(frozen=True, slots=True)
class Unlistened:
    """Somebody had closed the worker's listener. Its event loop may have given it up, as uvloop does."""

    worker: int


@record(frozen=True, slots=True)
class Tick:
    """Time went on. Of each worker its heartbeat and its load, as the scoreboard has them."""

    pulses: Mapping[int, int]
    loads: Mapping[int, int]


@record(frozen=True, slots=True)
class Stuck:
    """Clients wait in the accept queues of `slots`, whose workers' event loops have not turned meanwhile.

    `late` are all workers that have something to do and have not beaten lately: none of them is to help.
    `loads` as in Tick, by LOAD.
    """

    slots: frozenset[int]
    late: frozenset[int]
    loads: Mapping[int, int]


@record(frozen=True, slots=True)
class Seen:
    """What the worker's main thread executes, as it was asked with Look; empty: it did not say."""

    worker: int
    where: str


@record(frozen=True, slots=True)
class StopRequested:
    """Stop gracefully; a second one, a second later, stops at once."""


@record(frozen=True, slots=True)
class QuitRequested:
    """Stop at once."""


@record(frozen=True, slots=True)
class Broken:
    """A callback of the launcher's own failed: stop gracefully, and exit with a status that says so."""


@record(frozen=True, slots=True)
class ReloadRequested:
    """Replace every worker, slot by slot. During a reload: once more after it."""


@record(frozen=True, slots=True)
class ScaleRequested:
    """Serve `by` slots more (or fewer, negative)."""

    by: int


@record(frozen=True, slots=True)
class ScaleTo:
    """Serve so many slots."""

    workers: int


@record(frozen=True, slots=True)
class DrainRequested:
    """Take the slot out of service: its worker drains, and siblings foster it until it is restarted."""

    slot: int


@record(frozen=True, slots=True)
class RestartRequested:
    """Replace the slot's worker, start before stop; where there is none, or it was drained, start one now."""

    slot: int


Event = (
    Begin
    | Heard
    | Violated
    | Deaf
    | WorkerExited
    | Outgrown
    | Unlistened
    | Tick
    | Stuck
    | Seen
    | StopRequested
    | QuitRequested
    | Broken
    | ReloadRequested
    | ScaleRequested
    | ScaleTo
    | DrainRequested
    | RestartRequested
)

Request = StopRequested | ReloadRequested | ScaleRequested | ScaleTo | DrainRequested | RestartRequested
"""What an operator may ask for, by signal or command."""

# ── actions ───────────────────────────────────────────────────────────────────────────────────────────


@record(frozen=True, slots=True)
class Spawn:
    """Start a worker process for a slot; `desk` is the scoreboard row of the slot that it may write."""

    worker: int
    slot: int
    desk: int
    generation: int
    reason: Reason


@record(frozen=True, slots=True)
class Tell:
    """Tell the worker so. Which descriptors go with it follows from the message."""

    worker: int
    message: ToWorker


@record(frozen=True, slots=True)
class Steer:
    """New connections to the slot are for the worker at this desk; None: the kernel leaves the slot out."""

    slot: int
    desk: int | None


@record(frozen=True, slots=True)
class Terminate:
    """SIGTERM to a worker that serves nobody yet."""

    worker: int


@record(frozen=True, slots=True)
class Abort:
    """SIGABRT: the worker dumps the stacks of all its threads and dies."""

    worker: int


@record(frozen=True, slots=True)
class Kill:
    """SIGKILL."""

    worker: int


@record(frozen=True, slots=True)
class Abandon:
    """It is not gone although it was sent SIGKILL: let go of it. If it ever is, it is a stray."""

    worker: int


@record(frozen=True, slots=True)
class Look:
    """Ask the worker what its main thread executes; it goes on. Seen tells, soon or never."""

    worker: int


@record(frozen=True, slots=True)
class Release:
    """Close the launcher's duplicates of all listeners: the server stops, its workers have the last."""


@record(frozen=True, slots=True)
class Report:
    """A change of state: a line for the log and a record for the history, made in reports.py."""

    level: Level
    kind: Kind
    text: str
    slot: int | None = None
    generation: int | None = None
    cause: str | None = None


@record(frozen=True, slots=True)
class Exit:
    """All workers are gone: end the launcher with this exit code. The last action."""

    code: int


Action = Spawn | Tell | Steer | Terminate | Abort | Kill | Abandon | Look | Release | Report | Exit
