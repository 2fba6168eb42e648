"""The parent accepts, and passes each connection to the next worker, whatever became of the last one.

    python -m bench.served.modes.blind APP --workers N --port P

`master` without acknowledgements: what a round robin is worth that does not look. A blocked
worker is handed its share all the same; what its socket pair does not take waits in the parent, for nobody
else.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence

from bench.served.modes import master
from bench.served.modes.serving import configuration

RECEIVED_AT_ONCE = 64
"""Connections taken from the socket pair before the event loop turns again."""


class Worker(master.Worker):
    """Takes up what comes, and says nothing."""

    def on_launcher(self) -> None:
        """All that has come; each message is one connection."""
        for _ in range(RECEIVED_AT_ONCE):
            try:
                message, descriptors, _, _ = socket.recv_fds(self.launcher, 1, 1)
            except BlockingIOError:
                return
            if not message:
                self.leave()
                return
            self.take_up(descriptors[0])


class Master(master.Master):
    """Hands over in turn. What a worker says can only be its end."""

    def __init__(self, listener: socket.socket, workers: Sequence[socket.socket]) -> None:
        super().__init__(listener, workers)
        self._turn = deque(workers)
        self._for: dict[socket.socket, deque[socket.socket]] = {worker: deque() for worker in workers}

    def _place(self, connection: socket.socket) -> None:
        worker = self._turn[0]
        self._turn.rotate(-1)
        self._for[worker].append(connection)
        self._hand_over(worker)

    def _hand_over(self, worker: socket.socket) -> None:
        """As much as its socket pair takes; more when it is writable again."""
        loop, waiting = asyncio.get_running_loop(), self._for[worker]
        while waiting:
            try:
                socket.send_fds(worker, [master.CONNECTION], [waiting[0].fileno()])
            except BlockingIOError:
                loop.add_writer(worker.fileno(), self._hand_over, worker)
                return
            except BrokenPipeError:  # its end is reported where it is read
                break
            waiting.popleft().close()
        loop.remove_writer(worker.fileno())

    def _lost(self, worker: socket.socket) -> None:
        asyncio.get_running_loop().remove_writer(worker.fileno())
        super()._lost(worker)


def work(app: str, _port: int, launcher: socket.socket) -> None:
    """One worker. No listener of its own: it accepts nothing."""
    Worker(configuration(app), launcher).run([])


def main() -> None:
    """Without acknowledgements."""
    master.run(Master, work, "bench.served.modes.blind", __doc__)


if __name__ == "__main__":
    main()
