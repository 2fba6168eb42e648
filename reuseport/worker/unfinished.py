"""Which requests a leaving worker still waits for: how many, and the oldest, so that somebody can mend it.

Asked a few times in a drain that takes long, so it costs requests nothing.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from reuseport.records import record
from reuseport.worker.protocol.state import State

MOST_PATH = 200
"""Characters of a path that are told."""


@record(frozen=True, slots=True)
class Unfinished:
    """`requests`, WebSockets among them; `oldest` has run for `seconds`, None where nobody noted it."""

    requests: int
    oldest: str
    seconds: float | None

    def __str__(self) -> str:
        many = f"{self.requests} requests; the oldest" if self.requests > 1 else "a request"
        age = "" if self.seconds is None else f", for {self.seconds:.0f} s"
        return f"{many}{age}: {self.oldest}"


def unfinished(state: State) -> Unfinished | None:
    """What runs now; None: nothing does."""
    running = sorted((_seen(task) for task in state.tasks), key=lambda one: (one[0] is None, one[0]))
    if not running:
        return None
    begun, what = running[0]
    age = None if begun is None else (time.monotonic_ns() - begun) / 1e9
    return Unfinished(len(running), what, age)


def _seen(task: Any) -> tuple[int | None, str]:
    """When it began (CLOCK_MONOTONIC, ns), if somebody has noted that, and what it is.

    Asked of the task itself, which is a method of a request's cycle or a WebSocket's protocol: the client may
    have left, or have had its answer, and the connection knows nothing of it any more.
    """
    frame = getattr(task.get_coro(), "cr_frame", None)
    runs = None if frame is None else frame.f_locals.get("self")
    scope = getattr(runs, "scope", None)
    if scope is None:
        return None, "a task that is no request"
    # Quoted, as in the access log: a path is the client's, and the log has one line for each event.
    return getattr(runs, "begun", None), f"{_method(scope)} {quote(scope['path'])[:MOST_PATH]}"


def _method(scope: Any) -> str:
    method: str = scope.get("method", "WebSocket")
    return method
