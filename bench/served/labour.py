"""The bench's application with work that costs CPU time: `/burn/MS` besides all that it answers.

`/work/MS` blocks its worker for so long by the clock. Two workers on one core would both be done with 20 ms
of it after 20 ms, as if each had a core; where workers share cores, work has to be counted in CPU time.
The ledger does not count what burns.
"""

from __future__ import annotations

import time

from bench.served import application
from bench.served.application import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/burn/MS` is answered like `/`, after so many milliseconds of CPU on the event loop."""
    if scope["type"] == "http" and scope["path"].startswith("/burn/"):
        burn(float(scope["path"].removeprefix("/burn/")) / 1e3)
        scope = {**scope, "path": "/"}
    await application.app(scope, receive, send)


def burn(seconds: float) -> None:
    """Use so much CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
