"""`reuseport doctor`, the throw-away process: import the application, and look for pools of connections.

They are found where the garbage collector knows of them, by the modules of their classes: nothing of theirs
is imported here, and nothing is opened. What an application makes in its lifespan is not there yet.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reuseport import logs
from reuseport.errors import ConfigurationError
from reuseport.messages import Failed, Found
from reuseport.settings.table import Settings
from reuseport.worker.begin import begin
from reuseport.worker.ending import end_soon

UNLIMITED = 1 << 31
"""What redis has for a pool without a limit."""


def main() -> int:
    """Import APP, say what it has."""
    channel, order, _ = begin(sys.argv[1:])
    from reuseport.worker.application import Application, StartupError
    from reuseport.worker.stage import set_stage

    settings = set_stage(Settings.from_json(order.settings), order.slot)
    said: Found | Failed
    try:
        logs.configure(settings, logs.Place("doctor"))
        Application(settings).try_out()
    except ConfigurationError as error:
        said = Failed("operator", str(error))
    except StartupError as error:
        said = error.failed
    else:
        found = list(pools(gc.get_objects()))
        said = Found(tuple(name for name, _ in found), tuple(most for _, most in found))
    channel.send(said)
    channel.leave_open()
    end_soon(0)
    return 0


def pools(objects: Iterable[object]) -> Iterator[tuple[str, int]]:
    """Of each pool what it is, and how many connections it may open; an unlimited one is left out."""
    for each in objects:
        kind = type(each)
        package = str(kind.__module__).partition(".")[0]
        most = _MOST.get(package)
        if most is None:
            continue
        # Of any kind and release: whoever has none of these is no pool that we know.
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            number = most(each)
            if 0 < number < UNLIMITED:
                yield f"{package} {kind.__name__}", number


def _of_sqlalchemy(pool: Any) -> int:
    """QueuePool and AsyncAdaptedQueuePool: pool_size and max_overflow, which is -1 for no limit."""
    return int(pool.size() + pool._max_overflow) if pool._max_overflow >= 0 else UNLIMITED


_MOST: dict[str, Callable[[Any], int]] = {
    "sqlalchemy": _of_sqlalchemy,
    "redis": lambda pool: int(pool.max_connections),
}
