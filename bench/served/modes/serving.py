"""What the modes share: the command line, a uvicorn worker, its start and its end.

A socket pair is between the launcher and each worker. The worker's first byte says that it accepts; the end
of file tells either that the other has died.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

import uvicorn

from bench.kit.measure import HOST

BACKLOG = 2048
"""uvicorn's default."""
KEEP_ALIVE = 75
"""Seconds an idle connection is kept: as long as every other contestant keeps it."""
READY = b"r"


def arguments(module: str, about: str | None) -> argparse.Namespace:
    """`app`, `workers` and `port` of a mode's command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("app", metavar="APP", help="module:attribute")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args()


def configuration(app: str) -> uvicorn.Config:
    """The same worker in every mode."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
    )


class Server(uvicorn.Server):
    """Tells the launcher when it accepts, and ends when the launcher does."""

    def __init__(self, config: uvicorn.Config, launcher: socket.socket) -> None:
        super().__init__(config)
        self.launcher = launcher

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, then the byte."""
        await super().startup(sockets)
        self.launcher.setblocking(False)
        asyncio.get_running_loop().add_reader(self.launcher.fileno(), self.on_launcher)
        self.launcher.send(READY)

    def on_launcher(self) -> None:
        """A launcher that says nothing can only have died."""
        if not self.launcher.recv(1):
            self.leave()

    def leave(self) -> None:
        """Read no more from the launcher, and shut down."""
        asyncio.get_running_loop().remove_reader(self.launcher.fileno())
        self.should_exit = True


def bound(port: int) -> socket.socket:
    """A TCP socket at the port that others may share (SO_REUSEPORT), not yet listening."""
    # With proto 0 stock asyncio would leave Nagle's algorithm on; all modes have it off alike.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((HOST, port))
    return sock


Work = Callable[[str, int, socket.socket], None]
"""What a worker process runs: application, port, and its end of the socket pair."""


def started(work: Work, app: str, port: int, workers: int) -> tuple[list[BaseProcess], list[socket.socket]]:
    """Worker processes that accept, and the launcher's ends. Raises SystemExit when one dies before."""
    # Without a handler SIGTERM would end the launcher and leave its daemons.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    spawn = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    ends: list[socket.socket] = []
    for _ in range(workers):
        ours, theirs = socket.socketpair()
        process: BaseProcess = spawn.Process(target=work, args=(app, port, theirs), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(ours)
    for process, end in zip(processes, ends, strict=True):
        if end.recv(1) != READY:
            raise SystemExit(f"worker {process.pid} died before it accepted")
    return processes, ends


def announce(processes: Sequence[BaseProcess]) -> None:
    """The one line."""
    print(f"all {len(processes)} workers accept", flush=True)
