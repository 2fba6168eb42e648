"""An application that shows the interpreter it finds itself in, and starts processes there."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import platform
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import __main__

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_parent = multiprocessing.parent_process()
_spec = getattr(__main__, "__spec__", None)

SEEN = {
    "path": list(sys.path),
    "argv": list(sys.argv),
    "main": _spec and _spec.name,
    "main_names": sorted(name for name in vars(__main__) if not name.startswith("__")),
    "parent": _parent and (_parent.pid == os.getppid(), _parent.name, _parent.is_alive()),
    "process": multiprocessing.current_process().name,
    "variables": sorted(os.environ),
    "directory": os.getcwd(),  # noqa: PTH109 - as it is called
    "flags": [sys.flags.isolated, sys.flags.no_site, sys.flags.safe_path, sys.flags.ignore_environment],
    "options": sys._xoptions,
    "platform": platform.__file__,
    "logging": logging.__file__,
}
"""At import."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/spawn`, `/forkserver`: what a process of a pool started so says; else what was seen at import."""
    if scope["type"] != "http":
        return
    method = scope["path"].strip("/")
    answer: object = SEEN
    if method:
        with multiprocessing.get_context(method).Pool(1) as pool:
            answer = pool.apply(doubled, (21,))
    body = json.dumps(answer).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def doubled(number: int) -> list[object]:
    """Runs in the pool's process, which has imported us again."""
    return [2 * number, sys.argv[1:], __main__.__name__]
