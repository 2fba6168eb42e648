"""An application that reads its terminal, as a debugger or `input()` would, and says what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

try:
    came = repr(os.read(0, 1))
except OSError as error:
    came = str(error.strerror)
sys.stderr.write(f"slot {os.environ['REUSEPORT_SLOT']} has read: {came}\n")


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
