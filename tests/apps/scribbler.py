"""An application that was taken over: it writes where it likes on the scoreboard, which its process has open.

`/scribble?stores=3:17,5:0` word 3 = 17, word 5 = 0 · `/flood?s=1` random words for so long, in a thread ·
`/resize` what becomes of attempts to take the memory away from the others · anything else as plain.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import random
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

plain = import_module("plain")
"""Beside us."""


def scoreboard() -> int:
    """Its descriptor: a memfd, or the array that the steering program reads."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            where = str(entry.readlink())
            if "reuseport-scoreboard" in where or "bpf-map" in where:
                return int(entry.name)
    raise LookupError("there is no scoreboard")


def mapped() -> tuple[mmap.mmap, memoryview[int]]:
    """All of it, as the kernel says that it is mapped already."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "reuseport-scoreboard" in line or "bpf-map" in line:
            first, last = (int(edge, 16) for edge in line.split()[0].split("-"))
            # A file ends within its last page; an array has no size to ask for.
            memory = mmap.mmap(scoreboard(), os.fstat(scoreboard()).st_size or last - first)
            return memory, memoryview(memory).cast("Q")
    raise LookupError("no scoreboard is mapped")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ASGI."""
    body: object = None
    if scope["type"] == "http":
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        match scope["path"]:
            case "/scribble":
                body = scribble(query.get("stores", ""))
            case "/flood":
                threading.Thread(target=flood, args=(float(query["s"]),), daemon=True).start()
                body = "begun"
            case "/resize":
                body = resize()
    if body is None:
        await plain.app(scope, receive, send)
        return
    content = json.dumps(body).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def scribble(stores: str) -> int:
    """Write; how many words there are."""
    _, words = mapped()
    for store in filter(None, stores.split(",")):
        place, value = map(int, store.split(":"))
        words[place % len(words)] = value
    return len(words)


def flood(seconds: float) -> None:
    """Write as fast as it goes."""
    _, words = mapped()
    chaos, end = random.Random(12), time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(1000):
            words[chaos.randrange(len(words))] = chaos.choice([0, 2**64 - 1, chaos.getrandbits(64)])
        time.sleep(0.001)


def resize() -> dict[str, str]:
    """What each attempt came to: the name of the error, or "done"."""
    fd = scoreboard()
    return {
        "empty": tried(lambda: os.ftruncate(fd, 0)),
        "shrink": tried(lambda: os.ftruncate(fd, 8)),
        "grow": tried(lambda: os.ftruncate(fd, 1 << 30)),
        "seal": tried(lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)),
        "punch": tried(lambda: punch(fd)),
        "freeze": tried(lambda: freeze(fd)),
    }


def tried(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def punch(fd: int) -> None:
    """fallocate(2): the pages are gone, and come back empty."""
    both = 1 | 2  # FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, both, ctypes.c_long(0), ctypes.c_long(4096)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def freeze(fd: int) -> None:
    """bpf(2), BPF_MAP_FREEZE: nobody may write to the array any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = 321 if platform.machine() == "x86_64" else 280
    attributes = ctypes.create_string_buffer(fd.to_bytes(4, "little"), 128)
    if libc.syscall(number, 22, attributes, 4) != 0:
        raise OSError(ctypes.get_errno(), "bpf")
