"""--preload: the application is imported here, once, and forked with us; or it is said why that cannot be.

Without an event loop. A loop that runs during the import, as in a worker, would be gone in all workers but
one, and with it whatever the application had created in it: better that asyncio says so, at the line that
wants one. What does not need a loop at once (asyncio.Lock, Queue, Event) finds its worker's when it is used.
"""

from __future__ import annotations

import os
import sys

from reuseport import logs
from reuseport.messages import Failed
from reuseport.mold import obstacles
from reuseport.mold.foreseen import import_later
from reuseport.settings.table import Settings
from reuseport.worker.application import StartupError
from reuseport.worker.readied import Readied, ready


def preload(settings: Settings) -> Readied:
    """Be as a worker is, and load the application. Raises ConfigurationError and StartupError."""
    place = logs.Place("mold", generation=os.environ["REUSEPORT_GENERATION"])
    readied = ready(settings, 0, place)
    known = obstacles.descriptors()
    readied.application.preload()
    import_later()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # each worker would write it again
    if found := list(obstacles.found(known)):
        text = f"APP {settings.app!r} cannot be shared (--preload): at import it has left\n"
        text += "".join(f"  {what}\n" for what in found)
        text += (
            "which no two processes can have together: do this in lifespan startup, or leave --preload out"
            " (--preload=try does so by itself)"
        )
        raise StartupError(Failed("application", text))
    return readied
