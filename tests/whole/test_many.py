"""Many workers, and many reloads: nothing is forgotten, nothing piles up."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from tests.conftest import Launch, Launched
from tests.whole.traffic import Traffic, listeners

LEAN = ("--http", "h11", "--loop", "asyncio", "--ws", "none", "--lifespan", "off", "--no-access-log")
"""What starts fastest: here processes count, not requests."""


def test_thirty_two_workers(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "32", *LEAN)
    server.wait_for("all 32 workers are ready", patience=120)
    assert server.workers().keys() == set(range(32))
    assert len(listeners(server.port)) == 32
    with Traffic(server.port) as traffic:
        traffic.wait_until(lambda answers: len({answer["slot"] for answer in answers}) == 32)
    assert not traffic.failures
    server.signal(signal.SIGTERM)
    assert server.wait(120) == 0
    assert server.count("exited cleanly") == 32, server.output


def test_descriptors_and_memory_of_the_launcher_are_flat_over_fifty_reloads(launch: Launch) -> None:
    # Without control: commands of other tests ask every launcher there is, and a visitor costs a descriptor.
    server = launch("patient:app", "--workers", "1", "--no-control", *LEAN).ready(1)
    launcher = psutil.Process(server.pid)
    reload(server)  # what is made once, is made now
    descriptors, memory = open_descriptors(server), launcher.memory_info().rss
    for _ in range(50):
        reload(server)
    assert open_descriptors(server) == descriptors
    # Lists of Python objects, of whatever size, would show: 50 workers of a few KiB each are below this.
    assert launcher.memory_info().rss - memory < 2 << 20
    assert server.count("generation 52 serves in every slot") == 1
    assert server.stop() == 0


def reload(server: Launched) -> None:
    """One reload, until its predecessor is gone as well."""
    server.signal(signal.SIGHUP)
    server.wait_for("serves in every slot")
    server.wait_for("exited cleanly")


def open_descriptors(server: Launched) -> dict[str, int]:
    """How many of each kind the launcher has open (proc_pid_fd(5)), numbers left out."""
    kinds: dict[str, int] = {}
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        kind = str(entry.readlink()).partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds
