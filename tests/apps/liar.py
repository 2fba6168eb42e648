"""An application that was taken over: it writes to its worker's channel whatever it is told to.

`POST /?fds=F&times=N` sends the body, as one packet with F descriptors, N times; 0 times: for ever, in a
thread, as fast as it can. `POST /?close=1` closes it. `GET /` says who answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_COMMAND = Path("/proc/self/cmdline").read_bytes().split(b"\0")
NUMBER = int(_COMMAND[_COMMAND.index(b"--channel") + 1])
CHANNEL = socket.socket(fileno=os.dup(NUMBER))


def tell(packet: bytes, fds: int) -> None:
    # Whoever is killed for the first one never hears what becomes of the others.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        socket.send_fds(CHANNEL, [packet], [sys.stderr.fileno()] * fds)


def tell_for_ever(packet: bytes, fds: int) -> None:
    while True:
        tell(packet, fds)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["method"] == "POST":
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message["body"]
        query = {name: int(values[0]) for name, values in parse_qs(scope["query_string"].decode()).items()}
        if "close" in query:
            os.close(NUMBER)
            CHANNEL.close()
            query["times"] = -1
        if query.get("times") == 0:
            threading.Thread(target=tell_for_ever, args=(body, query.get("fds", 0)), daemon=True).start()
        for _ in range(query.get("times", 1)):
            tell(body, query.get("fds", 0))
    who = {"slot": os.environ["REUSEPORT_SLOT"], "pid": os.getpid()}
    body = json.dumps(who).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
