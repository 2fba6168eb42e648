"""What a worker may say when, as a table: what it has said so far decides. No I/O here.

Not its phase: that is moved by orders which may cross its words. A pair that is missing is a violation; one
that can happen and means nothing new is an explicit self-loop.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

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


class Said(enum.Enum):
    """How far a worker has told its story."""

    NOTHING = "nothing"
    FAILED = "that it failed"
    LISTENS = "that it listens"
    READY = "that it is ready"
    SHUTTING_DOWN = "that it shuts down"


CONVERSATION: Mapping[tuple[Said, type[ToLauncher]], Said] = MappingProxyType(
    {
        (Said.NOTHING, Listens): Said.LISTENS,
        (Said.NOTHING, Failed): Said.FAILED,
        # Whoever sends SIGTERM does not look how far it is.
        (Said.NOTHING, Leaving): Said.NOTHING,
        (Said.FAILED, Leaving): Said.FAILED,
        (Said.LISTENS, Ready): Said.READY,
        (Said.LISTENS, Failed): Said.FAILED,
        (Said.LISTENS, Leaving): Said.LISTENS,
        (Said.LISTENS, Holds): Said.LISTENS,
        (Said.READY, LimitReached): Said.READY,
        (Said.READY, Leaving): Said.READY,
        (Said.READY, CannotFoster): Said.READY,
        (Said.READY, Holds): Said.READY,
        (Said.READY, Waits): Said.READY,
        (Said.READY, ShuttingDown): Said.SHUTTING_DOWN,
        # The last answer may have been the one too many.
        (Said.SHUTTING_DOWN, LimitReached): Said.SHUTTING_DOWN,
        (Said.SHUTTING_DOWN, Leaving): Said.SHUTTING_DOWN,
        (Said.SHUTTING_DOWN, Holds): Said.SHUTTING_DOWN,
    }
)


def follows(said: Said, message: ToLauncher) -> Said | None:
    """How far it is after this message; None: it may not say so now."""
    return CONVERSATION.get((said, type(message)))
