"""Applications that show what reaches them: the scope, the environment, the interpreter and its event loop.

With TEST_IMPORTS set, each process that imports this module appends its pid to that file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SHOWN = ("REUSEPORT_", "NOTIFY_", "WATCHDOG_", "LISTEN_", "TEST_")
"""Beginnings of the names of variables that are shown."""

_lifespans = 0

if "TEST_IMPORTS" in os.environ:
    with Path(os.environ["TEST_IMPORTS"]).open("a", encoding="ascii") as pids:
        pids.write(f"{os.getpid()}\n")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every path with one JSON object."""
    global _lifespans  # noqa: PLW0603 - this process is what is looked at
    if scope["type"] == "lifespan":
        _lifespans += 1
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = json.dumps(_seen(scope, receive)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def make() -> object:
    """For --factory."""
    return app


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """For --interface wsgi, and for a refusal without it."""
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"WSGI {environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


not_callable = "neither"


def _seen(scope: Scope, receive: Receive) -> dict[str, object]:
    return {
        "slot": os.environ["REUSEPORT_SLOT"],
        "pid": os.getpid(),
        "scheme": scope["scheme"],
        "client": scope["client"],
        "path": scope["path"],
        "root_path": scope["root_path"],
        "lifespans": _lifespans,
        # Not all of it: it ends up in the report of a test that fails.
        "environment": {name: value for name, value in os.environ.items() if name.startswith(SHOWN)},
        "loop": type(asyncio.get_running_loop()).__module__,
        # uvicorn gives a bound method of its parser's class, and nobody in between replaces it.
        "http": [kind.__module__ for kind in type(getattr(receive, "__self__", None)).__mro__],
        "optimize": sys.flags.optimize,
        "dev_mode": sys.flags.dev_mode,
    }
