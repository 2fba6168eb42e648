"""Tells at once who answers, and ends the response when the request's body is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Raises on lifespan events, which means that there are none."""
    assert scope["type"] == "http"
    who = {"slot": os.environ["REUSEPORT_SLOT"], "generation": os.environ["REUSEPORT_GENERATION"]}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(who).encode() + b"\n", "more_body": True})
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.body", "body": b"complete\n"})
