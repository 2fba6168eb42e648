"""The parent accepts, and passes each connection to a worker in turn, as Node's cluster does.

    python -m bench.served.modes.master APP --workers N --port P

After SCHED_RR of Node (lib/internal/cluster/round_robin_handle.js and child.js), acknowledgements included:
only a worker in the free list is handed a connection; it leaves the list with it, and is back when it has
acknowledged it, which its event loop does as it takes the connection up. Accepted connections wait in the
parent while nobody is free. So a blocked worker holds one connection more than it knows of, never a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import deque
from collections.abc import Sequence

import uvicorn
import uvloop

from bench.served.modes.serving import (
    BACKLOG,
    Server,
    Work,
    announce,
    arguments,
    bound,
    configuration,
    started,
)

CONNECTION, ACKNOWLEDGED = b"c", b"a"


class Worker(Server):
    """A uvicorn server without a listener."""

    def __init__(self, config: uvicorn.Config, launcher: socket.socket) -> None:
        super().__init__(config, launcher)
        self._arriving: set[asyncio.Task[None]] = set()

    def on_launcher(self) -> None:
        """Acknowledge a connection, then take it up: in this order in Node, too."""
        message, descriptors, _, _ = socket.recv_fds(self.launcher, 1, 1)
        if not message:
            self.leave()
            return
        self.launcher.send(ACKNOWLEDGED)
        self.take_up(descriptors[0])

    def take_up(self, descriptor: int) -> None:
        """Serve the connection from now on."""
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)
        # asyncio keeps only a weak reference to a task.
        arrival = asyncio.get_running_loop().create_task(self._arrive(connection))
        self._arriving.add(arrival)
        arrival.add_done_callback(self._arriving.discard)

    async def _arrive(self, connection: socket.socket) -> None:
        # The client has left already: no more an error here than behind a listener.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


class Master:
    """Accepts, queues and hands over, on the running event loop. `ended` fails when a worker dies."""

    def __init__(self, listener: socket.socket, workers: Sequence[socket.socket]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listener = listener
        self._free = deque(workers)
        self._waiting: deque[socket.socket] = deque()
        self._handed: dict[socket.socket, socket.socket] = {}
        """By worker, the connection that it has not acknowledged."""
        loop = asyncio.get_running_loop()
        for worker in workers:
            worker.setblocking(False)
            loop.add_reader(worker.fileno(), self._on_worker, worker)
        listener.setblocking(False)
        loop.add_reader(listener.fileno(), self._on_listener)

    def _on_listener(self) -> None:
        for _ in range(BACKLOG):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            self._place(connection)

    def _place(self, connection: socket.socket) -> None:
        self._waiting.append(connection)
        if self._free:
            self._hand_over(self._free.popleft())

    def _hand_over(self, worker: socket.socket) -> None:
        """The connection that waits longest; without one the worker is free."""
        if not self._waiting:
            self._free.append(worker)
            return
        connection = self._handed[worker] = self._waiting.popleft()
        socket.send_fds(worker, [CONNECTION], [connection.fileno()])

    def _on_worker(self, worker: socket.socket) -> None:
        try:
            message = worker.recv(1)
        except ConnectionResetError:  # it died without having read what we sent
            message = b""
        if message:
            self._handed.pop(worker).close()
            self._hand_over(worker)
        else:
            self._lost(worker)

    def _lost(self, worker: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(worker.fileno())
        if not self.ended.done():
            self.ended.set_exception(RuntimeError("a worker died"))


def work(app: str, _port: int, launcher: socket.socket) -> None:
    """One worker. No socket of its own: it accepts nothing."""
    Worker(configuration(app), launcher).run([])


async def distribute(kind: type[Master], listener: socket.socket, workers: Sequence[socket.socket]) -> None:
    """Until SIGTERM. Raises RuntimeError when a worker dies."""
    master = kind(listener, workers)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, master.ended.cancel)
    await master.ended


def run(kind: type[Master], work: Work, module: str, about: str | None) -> None:
    """Start the workers, then distribute."""
    given = arguments(module, about)
    listener = bound(given.port)
    processes, workers = started(work, given.app, given.port, given.workers)
    listener.listen(BACKLOG)
    announce(processes)
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(distribute(kind, listener, workers))


def main() -> None:
    """With acknowledgements."""
    run(Master, work, "bench.served.modes.master", __doc__)


if __name__ == "__main__":
    main()
