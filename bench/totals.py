"""Are the totals exact? Clients count their answers, workers die, and the status is asked at the end.

What the server counted must be what clients got in full; the one answer a killed worker was about to send on
each broken connection aside: counted, and never arrived.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from bench.kit.clients import FAILED, Crowd, Tally, Target, keeping_alive
from bench.kit.measure import HOST, PATIENCE, announce, free_port, reuseport

CLIENTS = 8
APPLICATION = "bench.served.application:app"


def main() -> None:
    """Load, kill, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.totals", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--deaths", type=int, default=10)
    parser.add_argument("--workers", type=int, default=3)
    arguments = parser.parse_args()
    announce(arguments)
    port, tally = free_port(), Tally()
    flags = ("--admin", f"{HOST}:{port}", "--no-access-log")
    with reuseport(arguments.workers, APPLICATION, *flags) as server:
        target = Target(int(server.url.rpartition(":")[2]))
        with Crowd(*(keeping_alive(target, tally, 0.0) for _ in range(CLIENTS))):
            for death in range(arguments.deaths):
                until(lambda due=death: tally.answered >= due * arguments.requests / arguments.deaths)  # type: ignore[misc]
                slot = death % arguments.workers
                victim = of_slot(port, slot)
                os.kill(victim["pid"], signal.SIGKILL)
                until(lambda was=victim: of_slot(port, was["slot"])["restarts"] > was["restarts"])  # type: ignore[misc]
            until(lambda: tally.answered >= arguments.requests)
        until(lambda: status(port)["ready"] == arguments.workers)
        end = status(port)
    counted = sum(slot["responses"]["2xx"] for slot in end["slots"])
    restarts = sum(slot["restarts"] for slot in end["slots"])
    broken = tally.ends[FAILED]
    print(f"clients: {tally}")
    print(f"server: {counted} responses of 2xx, {restarts} restarts, exits {end['exits']}")
    exact = tally.answered <= counted <= tally.answered + broken and restarts == arguments.deaths
    print(f"difference {counted - tally.answered}, with {broken} connections broken by the deaths: ", end="")
    print("exact" if exact else "NOT EXACT")


def until(question: Callable[[], bool]) -> None:
    """Wait for the world to be so. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to that")
        time.sleep(0.02)


def status(port: int) -> dict[str, Any]:
    """The Status, by the API."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/api/v1/status")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def of_slot(port: int, number: int) -> dict[str, Any]:
    """One slot of it, once it is ready."""
    until(lambda: _slot(port, number)["state"] == "ready")
    return _slot(port, number)


def _slot(port: int, number: int) -> dict[str, Any]:
    slot: dict[str, Any] = next(each for each in status(port)["slots"] if each["slot"] == number)
    return slot


if __name__ == "__main__":
    main()
