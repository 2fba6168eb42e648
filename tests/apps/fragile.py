"""`plain:app`, but slot 1 dies as soon as it is ready while the file $TEST_FRAGILE exists."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.apps import plain  # a worker finds it on --app-dir, mypy from the root
else:
    import plain


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    if scope["type"] == "lifespan" and os.environ["REUSEPORT_SLOT"] == "1":
        asyncio.get_running_loop().call_later(0.1, die_if_fragile)
    await plain.app(scope, receive, send)


def die_if_fragile() -> None:
    if Path(os.environ["TEST_FRAGILE"]).exists():
        os._exit(9)
