"""The life of a worker as a table: which cue moves it from which phase to which. No I/O here.

A pair that is missing from the table cannot happen while launcher and worker keep their contract, and
is a typed error; a pair that can happen and means nothing is an explicit self-loop. The diagram in
README.md is drawn from this table by `diagram()`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Phase(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    STALLED = "stalled"
    DRAINING = "draining"
    DYING = "dying"
    GONE = "gone"


class Cue(enum.Enum):
    """What moves a worker on."""

    LISTENING = "listening"  # its listeners accept: the ready message came
    SILENT = "loop silent"  # its event loop has not turned for a while
    TURNING = "loop turns"
    DRAIN = "drain"  # it was told to drain
    CONDEMN = "condemn"  # it was sent a signal that ends it
    EXIT = "exit"  # its process is gone


class ImpossibleCueError(Exception):
    """A cue that cannot come in this phase did come: a defect of the launcher, never of the operator."""


TRANSITIONS: Mapping[tuple[Phase, Cue], Phase] = MappingProxyType(
    {
        (Phase.STARTING, Cue.LISTENING): Phase.READY,
        (Phase.STARTING, Cue.CONDEMN): Phase.DYING,
        (Phase.STARTING, Cue.EXIT): Phase.GONE,
        (Phase.READY, Cue.SILENT): Phase.STALLED,
        (Phase.READY, Cue.TURNING): Phase.READY,
        (Phase.READY, Cue.DRAIN): Phase.DRAINING,
        (Phase.READY, Cue.CONDEMN): Phase.DYING,
        (Phase.READY, Cue.EXIT): Phase.GONE,
        (Phase.STALLED, Cue.SILENT): Phase.STALLED,
        (Phase.STALLED, Cue.TURNING): Phase.READY,
        (Phase.STALLED, Cue.DRAIN): Phase.DRAINING,
        (Phase.STALLED, Cue.CONDEMN): Phase.DYING,
        (Phase.STALLED, Cue.EXIT): Phase.GONE,
        # A drain has its own deadline, so a silent loop changes nothing about it.
        (Phase.DRAINING, Cue.SILENT): Phase.DRAINING,
        (Phase.DRAINING, Cue.TURNING): Phase.DRAINING,
        (Phase.DRAINING, Cue.CONDEMN): Phase.DYING,
        (Phase.DRAINING, Cue.EXIT): Phase.GONE,
        # The ready message of a worker that was just given up may still be on its way.
        (Phase.DYING, Cue.LISTENING): Phase.DYING,
        (Phase.DYING, Cue.SILENT): Phase.DYING,
        (Phase.DYING, Cue.TURNING): Phase.DYING,
        (Phase.DYING, Cue.CONDEMN): Phase.DYING,
        (Phase.DYING, Cue.EXIT): Phase.GONE,
    }
)

SERVING = frozenset({Phase.READY, Phase.STALLED})
"""The phases in which a worker holds its slot: it accepts, or will as soon as its loop turns."""


def after(phase: Phase, cue: Cue) -> Phase:
    """The phase that follows `phase` on `cue`. Raises ImpossibleCueError for a pair not in the table."""
    try:
        return TRANSITIONS[phase, cue]
    except KeyError:
        raise ImpossibleCueError(f"a {phase.value} worker cannot get the cue {cue.value!r}") from None


def diagram() -> str:
    """The table as text, one line per phase, self-loops left out: what README.md shows."""
    lines = []
    for phase in Phase:
        moves = [
            f"{cue.value} → {target.value}"
            for (source, cue), target in TRANSITIONS.items()
            if source is phase and target is not phase
        ]
        if moves:
            lines.append(f"{phase.value:<9} {' · '.join(moves)}")
    return "\n".join(lines)
