"""How a request becomes a task: as by the event loop's `create_task`, without its detour where there is one.

uvloop's does nothing there but make an asyncio.Task, and as a method of an extension type it is nobody else's
either. A loop that somebody has given a task factory is asked, and so is any other loop: asyncio's own method
is one that tools for tracing replace.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

Make: TypeAlias = Callable[[Any], "asyncio.Task[None]"]
"""Makes a task of a coroutine, whose first step is a turn of the loop's."""

NAME = "request"
"""Of tasks before Python 3.12, which makes up a name for each whether anybody asks for it or not."""
PLAIN = "uvloop.loop"
"""The module whose `create_task` does no more than it has to."""


class Maker:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, in_fresh_contexts: bool) -> None:
        """`in_fresh_contexts`: with nothing of the context that a task is made in (--reset-contextvars)."""
        self._loop = loop
        self._direct: Make | None = None
        if in_fresh_contexts:
            self._loops: Make = lambda run: loop.create_task(run, context=contextvars.Context())
            return
        self._loops = loop.create_task
        owner = next(kind for kind in type(loop).__mro__ if "create_task" in vars(kind))
        if owner.__module__ == PLAIN:
            named: dict[str, Any] = {"name": NAME} if sys.version_info < (3, 12) else {}
            self._direct = functools.partial(asyncio.Task, loop=loop, **named)

    def now(self) -> Make:
        """What makes tasks as the loop would, while it has the factory that it has now."""
        if self._direct is None or self._loop.get_task_factory() is not None:
            return self._loops
        return self._direct
