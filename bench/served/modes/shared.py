"""One listener, inherited by all workers; whoever wakes first accepts, as behind `uvicorn --workers`.

python -m bench.served.modes.shared APP --workers N --port P
"""

from __future__ import annotations

import socket
from functools import partial
from multiprocessing.connection import wait

from bench.served.modes.serving import BACKLOG, Server, announce, arguments, bound, configuration, started


def work(listener: socket.socket, app: str, _port: int, launcher: socket.socket) -> None:
    """One worker, with everybody's listener."""
    Server(configuration(app), launcher).run([listener])


def main() -> None:
    """Start the workers, then sleep until one ends."""
    given = arguments("bench.served.modes.shared", __doc__)
    listener = bound(given.port)
    listener.listen(BACKLOG)
    processes, _ends = started(partial(work, listener), given.app, given.port, given.workers)
    announce(processes)
    wait([process.sentinel for process in processes])
    raise SystemExit("a worker died")


if __name__ == "__main__":
    main()
