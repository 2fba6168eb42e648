"""An application with children: each is begun in one of the ways there are, looks around, and is terminated.

In a thread: `/fork`, `/forkserver`, `/spawn` by multiprocessing, `/os.fork`, `/preexec` a subprocess with a
preexec_fn. On the event loop: `/exits`, `/returns` os.fork, and a child that leaves through our frames.
Answers with what the child saw, how it ended, and our pid; `/` with the pid alone.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTTIN)


def look() -> dict[str, Any]:
    """What a child has of its parent's: handlers, what they wake, sockets by family and local address."""
    sockets = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a list that is complete before it is used
        try:
            is_socket = stat.S_ISSOCK(os.fstat(int(name)).st_mode)
        except OSError:
            continue  # the listing's own
        if is_socket:
            with socket.socket(fileno=os.dup(int(name))) as copy:
                sockets.append([copy.family.name, copy.getsockname()])
    return {
        "handlers": {each.name: named(signal.getsignal(each)) for each in WATCHED},
        "wakeup": signal.set_wakeup_fd(-1),
        "sockets": sockets,
    }


def named(handler: Any) -> str:
    name: str = handler.name if isinstance(handler, signal.Handlers) else handler.__qualname__
    return name


def tell(end: int) -> None:
    os.write(end, json.dumps(look()).encode())
    os.close(end)


def told(end: int) -> dict[str, Any]:
    with open(end, "rb") as pipe:
        found: dict[str, Any] = json.load(pipe)
    return found


def wait(end: Any) -> None:
    """The target of multiprocessing."""
    end.send(look())
    signal.pause()


def by_multiprocessing(method: Any) -> dict[str, Any]:
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=wait, args=(theirs,))
    child.start()
    seen: dict[str, Any] = ours.recv()
    child.terminate()
    child.join()
    return {**seen, "status": child.exitcode}


def by_os_fork() -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        tell(writing)
        signal.pause()
        os._exit(0)
    os.close(writing)
    seen = told(reading)
    os.kill(child, signal.SIGTERM)
    return {**seen, "status": -os.waitpid(child, 0)[1]}


def by_preexec() -> dict[str, Any]:
    reading, writing = os.pipe()
    with subprocess.Popen(["/bin/sleep", "600"], preexec_fn=lambda: tell(writing)) as child:  # noqa: PLW1509
        os.close(writing)
        seen = told(reading)
        child.terminate()
    return {**seen, "status": child.returncode}


async def on_the_loop(path: str) -> dict[str, Any]:
    child = os.fork()
    if not child:
        if path == "/exits":
            sys.exit(7)
        return {}
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return {"status": os.waitstatus_to_exitcode(status)}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    match scope["path"]:
        case "/fork" | "/forkserver" | "/spawn" as path:
            seen = await asyncio.to_thread(by_multiprocessing, path[1:])
        case "/os.fork":
            seen = await asyncio.to_thread(by_os_fork)
        case "/preexec":
            seen = await asyncio.to_thread(by_preexec)
        case "/exits" | "/returns" as path:
            seen = await on_the_loop(path)
        case _:
            seen = {}
    body = json.dumps({**seen, "pid": os.getpid()}).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
