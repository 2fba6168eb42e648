"""N independent uvicorn processes on one port: each its own SO_REUSEPORT listener, and nothing else.

    python -m bench.served.modes.plain APP --workers N --port P

The control: the kernel spreads connections by the hash of their addresses, and nobody supervises.
"""

from __future__ import annotations

import socket
from multiprocessing.connection import wait

from bench.served.modes.serving import Server, announce, arguments, bound, configuration, started


def work(app: str, port: int, launcher: socket.socket) -> None:
    """One worker, with a listener of its own."""
    Server(configuration(app), launcher).run([bound(port)])


def main() -> None:
    """Start the workers, then sleep until one ends."""
    given = arguments("bench.served.modes.plain", __doc__)
    processes, _ends = started(work, given.app, given.port, given.workers)
    announce(processes)
    wait([process.sentinel for process in processes])
    raise SystemExit("a worker died")


if __name__ == "__main__":
    main()
