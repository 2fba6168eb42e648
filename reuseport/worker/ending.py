"""The end of a finished worker: its threads have a moment, then it goes without them.

The interpreter waits for every thread that is no daemon, and for those of executors, for ever: a worker that
has answered everything and whose lifespan shutdown is over would hold its slot, or a whole stop, for nothing.
What has to be finished belongs into lifespan shutdown, which is waited for.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading

MOMENT = 2.0
"""Seconds."""

log = logging.getLogger("uvicorn.error")


def end_soon(status: int) -> None:
    """From now on the process has MOMENT to end by itself; then it ends with this status.

    What the application has registered with atexit is called in either case, in its turn.
    """
    over = threading.Event()
    # The last to be registered is the first to be called: the interpreter has waited for the threads.
    atexit.register(over.set)
    threading.Thread(target=_end, args=(over, status), name="last-moment", daemon=True).start()


def _end(over: threading.Event, status: int) -> None:
    if over.wait(MOMENT):
        return
    main = threading.main_thread()
    left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main]
    log.warning("left behind: threads of the application that are no daemons: %s", ", ".join(left))
    atexit._run_exitfuncs()  # what the interpreter would call, which does not come to it
    os._exit(status)
