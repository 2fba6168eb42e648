"""What launcher and worker say to each other: plain data, one alphabet each way. `channel` carries it.

    launcher → worker    Start, first and once · Foster, Unfoster · Pass · Drain · ReopenLogs
    worker → launcher    Failed, or Listens and Ready · LimitReached · Leaving

And without words: the signals that a worker is started with blocked.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal, TypeAlias

GROUP_SIGNALS = frozenset(
    {
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
"""A terminal or a log rotation sends these to launcher and workers alike; the launcher alone acts on them.

A worker is executed with them blocked, and unblocks them when it has set handlers: their default would end
one that just starts.
"""

STACKS_SIGNAL: int = signal.SIGRTMIN + 5
"""A worker dumps the stacks of its threads and goes on. A real-time signal, because applications use the
others, and not the first few, which libraries take. Blocked, too, until the worker is ready for it.
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Who the worker is and what it serves.

    Descriptors: the scoreboard, which has rows for `slots` slots; the receiving end of the slot's inbox; the
    file that STACKS_SIGNAL dumps into; `shared` sockets that all workers accept from; and then the slot's own
    listeners, one for each endpoint, bound by the launcher, which keeps a duplicate of each: the escrow.
    """

    settings: str
    slot: int
    desk: int
    generation: int
    slots: int
    shared: int
    cpu: int | None = None
    """Where all its threads are to run (--pin-cpus)."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept no more, pass idle connections on, finish within `timeout` seconds, exit.

    Descriptors: the sending end of the inbox of each heir; none when the whole server stops.
    """

    timeout: float


@dataclass(frozen=True, slots=True)
class Foster:
    """Accept also for another slot, until told otherwise.

    Descriptors: the receiving end of that slot's inbox, and its listeners.
    """

    slot: int


@dataclass(frozen=True, slots=True)
class Unfoster:
    """The slot is served again: accept for it no more."""

    slot: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass up to `count` connections on, each when it becomes idle after an answer, within a second.

    Descriptor: the sending end of the inbox of the slot that they are for.
    """

    count: int


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Open the log files again: they were rotated."""


@dataclass(frozen=True, slots=True)
class Listens:
    """The application is up, and the worker is about to call listen(2): clients connect from now on."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The listeners accept."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker never becomes ready and exits. `text` is for people; `blame` says who must act."""

    blame: Literal["operator", "application"]
    text: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The worker has answered as many requests as --limit-max-requests allows, and goes on answering."""

    requests: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """Somebody sent the worker SIGTERM: it asks to be replaced, and serves until it is told to drain.

    The second time it tells that it does not wait, and drains.
    """


ToWorker: TypeAlias = Start | Drain | Foster | Unfoster | Pass | ReopenLogs
"""What the launcher says."""
ToLauncher: TypeAlias = Listens | Ready | Failed | LimitReached | Leaving
"""What a worker says."""
Message: TypeAlias = ToWorker | ToLauncher

KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(Start, Drain, Foster, Unfoster, Pass, ReopenLogs),
        *(Listens, Ready, Failed, LimitReached, Leaving),
    )
}
