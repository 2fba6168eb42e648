"""An application that would never end by itself: TEST_THREADS says what is left when its lifespan is over.

`thread` one that is no daemon · `executor` one of the event loop's executor · `import` fails at import with a
thread running.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.apps import plain  # a worker finds it on --app-dir, mypy from the root
else:
    import plain

LEFT = os.environ["TEST_THREADS"]


def dawdle() -> None:
    time.sleep(600)


atexit.register(sys.stderr.write, "atexit was called\n")
if LEFT in ("thread", "import"):
    threading.Thread(target=dawdle, name="dawdler").start()
if LEFT == "import":
    raise RuntimeError("not today")

tasks: list[asyncio.Future[None]] = []


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    if scope["type"] == "lifespan" and LEFT == "executor":
        tasks.append(asyncio.ensure_future(asyncio.to_thread(dawdle)))
    await plain.app(scope, receive, send)
