"""What launcher and worker say to each other: plain data, one alphabet each way. `channel` carries it.

    launcher → worker    Start, first and once · Reach · Sibling · Foster, Unfoster · Pass · Drain
                         · ReopenLogs · Tickets
    worker → launcher    Failed, or Listens and Ready · LimitReached · Leaving · CannotFoster · Holds
                         · Waits · ShuttingDown
    launcher → mold      Prepare, first and once · Preload, at most once · Cast
    worker → doctor      Found or Failed, once
    mold → launcher      Failed, or Prepared · Born or Unborn, for each Cast

Whole numbers are 0 to 2**53, seconds 0 to 1e9. Slots are named by their numbers; the descriptors that belong
to a message are the launcher's to add.

Without words there are signals, too (signals.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from reuseport.records import record

PACKET = 192 * 1024
"""Bytes a message may have: below what net.core.wmem_max allows a send buffer by default, 208 KiB."""
MOST_TEXT = 16_000
"""Characters of a text to the launcher: one message must hold it, and JSON writes a character beyond the
Basic Multilingual Plane in 12 bytes."""
MOST_NAMES = 16
"""That a worker tells of what it holds."""


@record(frozen=True, slots=True)
class Start:
    """Who the worker is and what it serves.

    Descriptors: the scoreboard, which has rows for `slots` slots; the receiving end of the slot's inbox; the
    file that STACKS_SIGNAL dumps into; the inbox's sending end, for the rescue; `locks` files (one, or none)
    whose bytes the worker may lock, opened for it alone; with --sticky the table of keys, the receiving end
    of the slot's session inbox, and the sending ends of those of the slots `ways`; `shared` sockets that all
    workers accept from; and then the slot's own listeners, one for each endpoint, bound by the launcher,
    which keeps a duplicate of each: the escrow.
    """

    settings: str
    slot: int
    desk: int
    generation: int
    slots: int
    shared: int
    cpu: int | None = None
    """Where all its threads are to run (--pin-cpus)."""
    locks: int = 0
    secret: str = ""
    """Hexadecimal, with --sticky: what session keys are hashed with."""
    ways: tuple[int, ...] = ()
    tickets: tuple[str, ...] = field(default=(), repr=False)
    """As in Tickets; none without TLS."""


@record(frozen=True, slots=True)
class Reach:
    """Requests can be moved to these slots, too (--sticky).

    Descriptors: the sending end of the session inbox of each.
    """

    slots: tuple[int, ...]


@record(frozen=True, slots=True)
class Tickets:
    """The keys of TLS session tickets from now on, in hexadecimal digits, the newest first."""

    keys: tuple[str, ...] = field(repr=False)


@record(frozen=True, slots=True)
class Drain:
    """Accept no more, pass idle connections on to the slots `heirs`, finish within `timeout` seconds, exit.

    Descriptors: the sending end of the inbox of each heir; none when the whole server stops.
    """

    timeout: float
    heirs: tuple[int, ...] = ()


@record(frozen=True, slots=True)
class Foster:
    """Accept also for another slot, until told otherwise.

    Descriptors: the receiving end of that slot's inbox; with --sticky that of its session inbox; its
    listeners.
    """

    slot: int


@record(frozen=True, slots=True)
class Unfoster:
    """The slot is served again: accept for it no more."""

    slot: int


@record(frozen=True, slots=True)
class Sibling:
    """Another slot is served, by a worker who has just become ready: accept there, too, while it is blocked
    and you have nothing to do. Holds until a drain; said again for each new worker of the slot.

    Descriptors: its listeners.
    """

    slot: int


@record(frozen=True, slots=True)
class Pass:
    """Pass up to `count` connections on to `slot`, each when it is idle after an answer, within a second.

    Descriptor: the sending end of that slot's inbox.
    """

    count: int
    slot: int


@record(frozen=True, slots=True)
class ReopenLogs:
    """Open the log files again: they were rotated."""


@record(frozen=True, slots=True)
class Listens:
    """The application is up, and the worker is about to call listen(2): clients connect from now on."""


@record(frozen=True, slots=True)
class Ready:
    """The listeners accept."""


@record(frozen=True, slots=True)
class Failed:
    """The worker never becomes ready and exits. `text` is for people; `blame` says who must act."""

    blame: Literal["operator", "application"]
    text: str


@record(frozen=True, slots=True)
class LimitReached:
    """The worker has answered as many requests as --limit-max-requests allows, and goes on answering."""

    requests: int


@record(frozen=True, slots=True)
class Leaving:
    """Somebody sent the worker SIGTERM: it asks to be replaced, and serves until it is told to drain.

    The second time it tells that it does not wait, and drains.
    """


@record(frozen=True, slots=True)
class CannotFoster:
    """The order to foster this slot came without its descriptors: none was free here. Choose another."""

    slot: int


@record(frozen=True, slots=True)
class Holds:
    """The names that the worker holds now (exclusion.py), MOST_NAMES at most: for people to read."""

    names: tuple[str, ...]


@record(frozen=True, slots=True)
class Waits:
    """The drain takes long: for so many requests, of which the oldest has run for `seconds`, if known."""

    requests: int
    oldest: str
    seconds: float | None


@record(frozen=True, slots=True)
class ShuttingDown:
    """The drain is over, with `cut_off` requests cancelled: the application's lifespan shutdown begins."""

    cut_off: int


# ── launcher and mold ─────────────────────────────────────────────────────────────────────────────────


@record(frozen=True, slots=True)
class Prepare:
    """Import what workers with these settings share. First and once."""

    settings: str


@record(frozen=True, slots=True)
class Preload:
    """Import the application, too (--preload): everything that it may find is in its place."""


@record(frozen=True, slots=True)
class Cast:
    """Fork this worker. Descriptor: its end of its channel."""

    worker: int
    slot: int
    generation: int


@record(frozen=True, slots=True)
class Prepared:
    """Everything is imported, the application too if it is to be: a worker is there at once."""


@record(frozen=True, slots=True)
class Born:
    """The worker is the launcher's child, and waits for its Start."""

    worker: int
    pid: int


@record(frozen=True, slots=True)
class Unborn:
    """The worker could not be forked; `text` is for people."""

    worker: int
    text: str


# ── throw-away processes ──────────────────────────────────────────────────────────────────────────────


@record(frozen=True, slots=True)
class Found:
    """The application imports, and has these pools of connections, each of so many at most."""

    names: tuple[str, ...]
    most: tuple[int, ...]


ToWorker: TypeAlias = Start | Reach | Drain | Foster | Unfoster | Sibling | Pass | ReopenLogs | Tickets
"""What the launcher says."""
ToLauncher: TypeAlias = (
    Listens | Ready | Failed | LimitReached | Leaving | CannotFoster | Holds | Waits | ShuttingDown
)
"""What a worker says."""
ToMold: TypeAlias = Prepare | Preload | Cast
"""What the launcher says to a mold."""
FromMold: TypeAlias = Failed | Prepared | Born | Unborn
"""What a mold says."""
ToDoctor: TypeAlias = Found | Failed
"""What the doctor's process says."""
Message: TypeAlias = ToWorker | ToLauncher | ToMold | FromMold | ToDoctor

Said = TypeVar("Said", bound=Message)


@record(frozen=True, slots=True)
class Alphabet(Generic[Said]):
    """Everything that may be said in one direction, and how much of it."""

    kinds: Mapping[str, type[Said]]
    most_text: int
    """Characters of a text."""
    most_descriptors: int
    """That may come with one message."""


def _named(*kinds: type[Said]) -> Mapping[str, type[Said]]:
    return MappingProxyType({kind.__name__: kind for kind in kinds})


TO_WORKER: Alphabet[ToWorker] = Alphabet(
    _named(Start, Reach, Drain, Foster, Unfoster, Sibling, Pass, ReopenLogs, Tickets),
    most_text=PACKET,
    most_descriptors=253,
)
"""253: SCM_MAX_FD, include/net/scm.h."""
TO_LAUNCHER: Alphabet[ToLauncher] = Alphabet(
    _named(Listens, Ready, Failed, LimitReached, Leaving, CannotFoster, Holds, Waits, ShuttingDown),
    most_text=MOST_TEXT,
    most_descriptors=0,
)
"""No descriptor: the launcher wants none of a worker's."""

TO_MOLD: Alphabet[ToMold] = Alphabet(_named(Prepare, Preload, Cast), most_text=PACKET, most_descriptors=1)
FROM_MOLD: Alphabet[FromMold] = Alphabet(
    _named(Failed, Prepared, Born, Unborn), most_text=MOST_TEXT, most_descriptors=0
)

TO_DOCTOR: Alphabet[ToDoctor] = Alphabet(_named(Found, Failed), most_text=MOST_TEXT, most_descriptors=0)

ALPHABETS: tuple[Alphabet[Any], ...] = (TO_WORKER, TO_LAUNCHER, TO_MOLD, FROM_MOLD, TO_DOCTOR)
