"""What a running server tells about itself and can be asked to do: the seam between launcher and admin.

The launcher implements `Instance`; whatever shows or steers it (control socket, page, metrics) knows no more
than this. The dictionaries are what the API sends as JSON. Times are seconds since the epoch, durations
seconds, sizes bytes; counters are totals since the launcher's start that never run backwards.

Times are for people: somebody may set the clock back. What comes first is told by `uptime` and by the numbers
of records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol, TypeAlias, TypedDict

from reuseport.history import History


class RefusedError(Exception):
    """What was asked for is not done now; the text says why."""


class UnknownSlotError(Exception):
    """There is no such slot, or no worker in it."""


class ReloadStatus(TypedDict):
    """The reload that runs."""

    generation: int
    done: int
    of: int


class BalanceStatus(TypedDict):
    """How the kernel chooses a worker, and why so."""

    rule: str
    level: int
    reason: str


class WorkerStatus(TypedDict):
    """A worker beside the one that the slot is shown with."""

    pid: int | None
    generation: int
    state: str


class QueueStatus(TypedDict):
    """Connections that wait to be accepted, summed over the slot's listeners."""

    length: int
    limit: int


class Durations(TypedDict):
    """Responses by how long they took: `counts` by scoreboard.DURATION_BOUNDS, not cumulative."""

    counts: list[int]
    sum: float


class HandoffStatus(TypedDict):
    """Live connections passed between workers; `rescued` while the event loop was blocked, not in `sent`."""

    sent: int
    received: int
    refused: int
    rebalanced: int
    rescued: int


class StickyStatus(TypedDict):
    """Requests with a session key that came in here: they belong here (`hits`), they were moved to the slot
    that they belong to, or they were served here although they belong elsewhere (`missed`).
    """

    hits: int
    moved: int
    missed: int


class LingeredStatus(TypedDict):
    """Connections of leaving workers that could not go over: encrypted, of a protocol that cannot, or because
    the whole server stopped.
    """

    tls: int
    protocol: int
    stop: int


class HolderStatus(TypedDict):
    """A worker that holds a name which only one can have (only_one)."""

    name: str
    slot: int
    pid: int


class WaitingStatus(TypedDict):
    """A worker that drains, and the requests it waits for; `seconds` of the oldest may be unknown."""

    pid: int | None
    requests: int
    oldest: str
    seconds: float | None


class SlotStatus(TypedDict):
    """A slot, and the worker that serves it, or is on its way to."""

    slot: int
    wanted: bool
    state: str
    generation: int
    pid: int | None
    started_at: float | None
    successor: WorkerStatus | None
    predecessors: list[WorkerStatus]
    waiting: list[WaitingStatus]
    retry_at: float | None
    foster: int | None
    executes: str | None
    """Where its main thread was when it was asked, because its event loop is silent or it takes long to
    start."""
    requests: int
    responses: dict[str, int]
    abandoned: int
    in_flight: int
    connections: int
    websockets: int
    accepted: int
    stolen: int
    """Of those accepted, how many waited for other slots whose workers were blocked."""
    assigned: int
    accept_queue: QueueStatus
    accept_wait: float
    """Seconds, of connections accepted in the last five to ten."""
    lag: float
    heartbeat_age: float | None
    cpu: float
    collecting: float
    """Seconds that the garbage collector has stopped its workers."""
    rss: int | None
    pss: int | None
    open_fds: int | None
    durations: Durations
    handoffs: HandoffStatus
    sticky: StickyStatus
    lingered: LingeredStatus
    turned_away: dict[str, int]
    """Clients that were not served, by what they did: scoreboard.TURNED_AWAY in small letters."""
    spawns: int
    restarts: int
    implausible: int
    last_exit: str | None


class KernelStatus(TypedDict):
    """The host's own counters, of all its sockets; None where it does not keep them."""

    listen_overflows: int | None
    migrate_success: int | None
    migrate_failure: int | None


class Status(TypedDict):
    """Everything at one moment."""

    version: str
    pid: int
    application: str
    started_at: float
    now: float
    uptime: float
    last: int
    addresses: list[str]
    state: str
    generation: int
    reload: ReloadStatus | None
    workers: int
    ready: int
    balance: BalanceStatus
    slots: list[SlotStatus]
    only_one: list[HolderStatus]
    spawns: Mapping[str, int]
    exits: Mapping[str, int]
    reloads: Mapping[str, int]
    violations: int
    fosters: Mapping[str, int]
    handoffs: int
    rebalanced: int
    certificate_expires: float | None
    """When the first of the certificates that are served ends; None without TLS."""
    kernel: KernelStatus


class Sample(TypedDict):
    """The sums of one moment, for charts."""

    time: float
    requests: int
    errors: int
    in_flight: int
    connections: int
    accept_queue: int
    lag: float
    cpu: float
    rss: int
    ready: int
    durations: Sequence[int]


class Stacks(TypedDict):
    """Where every thread of a worker stands."""

    slot: int
    pid: int
    stacks: str


class Readiness(TypedDict):
    """What probes are about."""

    state: str
    ready: int
    workers: int
    ever_ready: bool


class Instance(Protocol):
    """A running launcher, as seen from its own event loop. Nothing here blocks."""

    @property
    def history(self) -> History:
        """What has happened."""

    def status(self) -> Status:
        """Everything now; memory and descriptors as of the last `look`."""

    def sample(self) -> Sample:
        """The sums now."""

    def readiness(self) -> Readiness:
        """What probes ask for, at the price of a few attributes."""

    async def look(self) -> None:
        """Bring memory and descriptors up to date, unless they are: /proc is read in a thread."""

    def reload(self) -> int:
        """Ask for a reload; the generation it will bring. Raises RefusedError."""

    def scale(self, workers: int) -> None:
        """Serve so many slots. Raises RefusedError."""

    def drain(self, slot: int) -> None:
        """Take the slot out of service until it is restarted. Raises RefusedError."""

    def restart(self, slot: int) -> None:
        """Replace its worker, or start one where there is none. Raises RefusedError."""

    def stop(self) -> None:
        """Stop gracefully. Raises RefusedError when that is under way: a second time would be at once."""

    async def stacks(self, slot: int) -> Stacks:
        """All Python stacks of the slot's worker, which goes on. Raises UnknownSlotError, RefusedError."""


Attach: TypeAlias = Callable[[asyncio.AbstractEventLoop, Instance], Callable[[], Coroutine[None, None, None]]]
"""Begins to show and steer the instance in this loop, and returns what ends that."""
