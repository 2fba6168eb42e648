"""An application that was taken over and turns on its own listener: what comes after it is to be well again.

`/shutdown` it listens no more · `/elsewhere` it has become a connection to itself · `/program` a classic BPF
program gives every connection to the first of the group · `/again` whatever opens it again, a process that is
left behind closes it at once · anything else as plain.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

plain = import_module("plain")
"""Beside us."""

SO_ATTACH_REUSEPORT_CBPF = 51


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ASGI."""
    act = {
        "/shutdown": shut_down,
        "/elsewhere": go_elsewhere,
        "/program": put_a_program,
        "/again": close_for_ever,
        "/siblings": shut_down,
    }.get(scope.get("path", ""))
    if act is None:
        await plain.app(scope, receive, send)
        return
    everybodys = list(listeners())
    own = os.fstat(everybodys[0].fileno()).st_ino
    for listener in everybodys:
        with listener:
            its_own = os.fstat(listener.fileno()).st_ino == own
            # One that was closed by another descriptor a moment ago listens no more.
            if (scope["path"] == "/siblings" or its_own) and accepts(listener):
                act(listener)
    content = json.dumps({"slot": os.environ["REUSEPORT_SLOT"]}).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def listeners() -> Iterator[socket.socket]:
    """Duplicates of all that listen in this process, its own first: it got them at its start."""
    for entry in sorted(Path("/proc/self/fd").iterdir(), key=lambda entry: int(entry.name)):
        try:
            found = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        if found.family == socket.AF_INET and accepts(found):
            yield found
        else:
            found.close()


def accepts(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def shut_down(listener: socket.socket) -> None:
    listener.shutdown(socket.SHUT_RD)


def go_elsewhere(listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.shutdown(socket.SHUT_RD)
    with socket.create_server(("127.0.0.1", 0)) as other:
        listener.settimeout(5)
        listener.connect(other.getsockname())
    assert listener.getsockname() == address


CLOSING = """
import socket, sys, time
listener, end = socket.socket(fileno=int(sys.argv[1])), time.monotonic() + 60
while time.monotonic() < end:
    try:
        listener.shutdown(socket.SHUT_RD)
    except OSError:
        time.sleep(0.0005)
"""


def close_for_ever(listener: socket.socket) -> None:
    command = [sys.executable, "-c", CLOSING, str(listener.fileno())]
    subprocess.Popen(command, pass_fds=[listener.fileno()])


def put_a_program(listener: socket.socket) -> None:
    """struct sock_fprog of one instruction: return 0 (linux/filter.h)."""
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0), 8)
    program = struct.pack("=H6xQ", 1, ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
