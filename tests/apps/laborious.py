"""`plain:app` with work that costs CPU time: `/burn?ms=2` before the answer of `/`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from tests.apps import plain  # a worker finds it on --app-dir, mypy from the root
else:
    import plain


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    """Everything else is answered as `plain` does."""
    if scope["type"] == "http" and scope["path"] == "/burn":
        burn(float(parse_qs(scope["query_string"].decode())["ms"][0]) / 1000)
    await plain.app(scope, receive, send)


def burn(seconds: float) -> None:
    """Use so much CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
