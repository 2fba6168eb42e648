"""What a fork would break: threads, which only one process has, and connections, which both would have.

Looked for after the import, in the kernel's lists and the interpreter's, and called by its name, so that
whoever reads it knows which line to move. What is left out because both sides can have it: regular files that
are read, or open to append; shared memory; the null device and random numbers.

Threads in native code have no name of ours. Those of OpenBLAS are not counted: it ends them before a fork and
starts them again after it (driver/others/blas_server.c, pthread_atfork).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

MOMENT = 0.5
"""Seconds in which a thread that has ended is gone."""

_HARMLESS_DEVICES = frozenset(os.makedev(1, minor) for minor in (3, 5, 7, 8, 9))
"""null, zero, full, random, urandom: Documentation/admin-guide/devices.txt."""
_SQLITE = b"SQLite format 3\0"
"""sqlite.org/fileformat.html, 1.3. A connection must not be carried over a fork: howtocorrupt.html, 2.6."""
_BLAS = ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_", "openblas_get_num_threads")


def descriptors() -> set[int]:
    """All that are open. Raises OSError where there is no /proc."""
    # The one that lists them is closed by then.
    return {int(name) for name in os.listdir("/proc/self/fd")} - {_next()}  # noqa: PTH208 - numbers


def found(known: set[int]) -> Iterator[str]:
    """A few words for each obstacle that has come since `known` was all that was open."""
    yield from _threads()
    yield from _loops()
    yield from _children()
    for number in sorted(descriptors() - known):
        if (what := _described(number)) is not None:
            yield f"{what} (descriptor {number})"


def _next() -> int:
    """The number of the descriptor that would be opened now."""
    number = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(number)
    return number


def _threads() -> Iterator[str]:
    ours = threading.main_thread()
    known = 1
    for thread in threading.enumerate():
        if thread is not ours:
            known += 1
            runs: object = getattr(thread, "_target", None) or type(thread)
            where = f"{getattr(runs, '__module__', '')}.{getattr(runs, '__qualname__', '')}".strip(".")
            yield f"a thread, {thread.name!r} of {where or type(runs).__name__}"
    known += _of_blas()
    # One that was joined takes a moment to be gone from the kernel's list.
    deadline = time.monotonic() + MOMENT
    while (others := len(os.listdir("/proc/self/task")) - known) > 0 and time.monotonic() < deadline:  # noqa: PTH208 - only how many
        time.sleep(0.005)
    if others > 0:
        yield f"{others} {'thread' if others == 1 else 'threads'} of native code"


def _of_blas() -> int:
    """How many threads OpenBLAS may have beside its caller's."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "openblas" in line}
    number = 0
    for path in paths:
        with contextlib.suppress(OSError, StopIteration):
            library = ctypes.CDLL(path)
            asked = next(name for name in _BLAS if hasattr(library, name))
            number += getattr(library, asked)() - 1
    return number


def _loops() -> Iterator[str]:
    for found in gc.get_objects():
        # Not isinstance, which asks proxies of the application's for a __class__ that they may not have yet.
        kind = type(found)
        if issubclass(kind, asyncio.AbstractEventLoop) and not found.is_closed():
            yield f"an event loop, {kind.__module__}.{kind.__qualname__}"
            for task in asyncio.all_tasks(found):
                name = getattr(task.get_coro(), "__qualname__", task.get_name())
                yield f"a task of that event loop, {name}"


def _children() -> Iterator[str]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    pids = []
    with contextlib.suppress(FileNotFoundError):  # without CONFIG_PROC_CHILDREN
        pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    for pid in pids:
        yield f"a child process, {_name(pid)} (pid {pid})"
    if not pids:
        yield "a child process"


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "which has ended"


def _described(number: int) -> str | None:
    """What it is; None for what may be shared, or is gone."""
    try:
        mode, link = os.fstat(number), str(Path(f"/proc/self/fd/{number}").readlink())
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError:
        return None
    if stat.S_ISSOCK(mode.st_mode):
        return _socket(number)
    if stat.S_ISFIFO(mode.st_mode):
        return f"a pipe, {link}"
    if stat.S_ISCHR(mode.st_mode):
        return None if mode.st_rdev in _HARMLESS_DEVICES else f"a device, {link}"
    if stat.S_ISREG(mode.st_mode):
        return _file(number, flags, link)
    if stat.S_ISDIR(mode.st_mode) or stat.S_ISBLK(mode.st_mode):
        return None if stat.S_ISDIR(mode.st_mode) else f"a device, {link}"
    # Poll sets, counters, timers, watches: what is done to one is done to it in all processes.
    return f"a descriptor of the kernel's, {link.removeprefix('anon_inode:')}"


def _file(number: int, flags: int, link: str) -> str | None:
    with contextlib.suppress(OSError):  # it is not open to read
        # Not opened anew: to close a file gives back all locks that the process has on it (fcntl_locking(2)).
        if os.pread(number, len(_SQLITE), 0) == _SQLITE:
            return f"a connection to a SQLite database, {link}"
    writes = flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_APPEND
    return f"a file open to write, {link}" if writes and not link.startswith("/memfd:") else None


def _socket(number: int) -> str:
    with socket.socket(fileno=os.dup(number)) as one:
        family = one.family.name if isinstance(one.family, socket.AddressFamily) else str(one.family)
        kind = one.type.name.removeprefix("SOCK_").lower() if isinstance(one.type, socket.SocketKind) else ""
        with contextlib.suppress(OSError):
            return f"a connection, {family} {kind} to {_shown(one.getpeername())}"
        with contextlib.suppress(OSError):
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return f"a listening socket, {family} {kind} at {_shown(one.getsockname())}"
        return f"a socket, {family} {kind}"


def _shown(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return "@" + address.decode(errors="backslashreplace").lstrip("\0")
    return str(address) or "a nameless one"
