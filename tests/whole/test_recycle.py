"""Recycling: a worker that reached a limit is replaced, start before stop, one slot at a time."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psutil

from tests.conftest import Launch, Launched
from tests.whole.modules import FRESH, Shop
from tests.whole.traffic import Traffic, ask, fewest_ready, listeners, wait_for_lines

REQUESTS = r"worker in slot (\d) will be recycled: it answered (\d+) requests \(--limit-max-requests\)"


def test_max_requests_under_load_loses_nothing(launch: Launch) -> None:
    limit = ["--limit-max-requests", "40", "--limit-max-requests-jitter", "20"]
    server = launch("plain:app", "--workers", "2", "--no-access-log", *limit).ready(2)
    sockets = listeners(server.port)
    with Traffic(server.port) as traffic:
        for slot in (0, 1):
            wait_for_lines(server, rf"slot {slot} is ready \(generation 1, .* reason: max_requests\)", 1)
    assert not traffic.failures
    assert fewest_ready(server) == 2
    assert listeners(server.port) == sockets
    causes = [found for line in server.lines if (found := re.search(REQUESTS, line))]
    assert {cause[1] for cause in causes} == {"0", "1"}
    assert all(int(cause[2]) >= 40 for cause in causes)
    assert server.stop() == 0


def test_one_slot_at_a_time(launch: Launch, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    server = launch(*shop.arguments, "--workers", "2", "--limit-max-requests", "5", env=FRESH).ready(2)
    gates = {slot: shop.hold(slot) for slot in (0, 1)}
    while server.count(REQUESTS) < 2:
        ask(server.port)  # the old workers go on answering, however far beyond their limit
    first, second = (int(server.wait_for(REQUESTS)[1]) for _ in gates)
    gates[first].reached()
    # What the launcher does about a limit, it does before it hears the next signal.
    server.signal(signal.SIGUSR2)
    server.wait_for("SIGUSR2 means nothing")
    assert len(worker_processes(server)) == 3
    gates[first].open()
    gates[second].reached()
    gates[second].open()
    server.wait_for(f"slot {first} is ready .* reason: max_requests")
    server.wait_for(f"slot {second} is ready .* reason: max_requests")
    assert server.stop() == 0


def worker_processes(server: Launched) -> list[int]:
    """Pids of all workers, whatever their slot."""
    children = psutil.Process(server.pid).children()
    return [child.pid for child in children if "reuseport.worker" in child.cmdline()]


def test_lifetime(launch: Launch) -> None:
    ages = ["--worker-lifetime", "1s", "--worker-lifetime-jitter", "500ms"]
    server = launch("plain:app", "--workers", "1", *ages).ready(1)
    for _ in range(2):
        server.wait_for("worker in slot 0 will be recycled: it reached its lifetime")
        server.wait_for(r"slot 0 is ready \(generation 1, .* reason: lifetime\)")
    assert server.stop() == 0


def test_memory(launch: Launch) -> None:
    server = launch("hungry:app", "--workers", "2", "--worker-max-rss", "200M").ready(2)
    before = server.workers()
    ask(server.port, "/?mib=250")
    found = server.wait_for(
        r"worker in slot (\d) will be recycled: (\d+) MiB resident, above 200 MiB \(--worker-max-rss\)"
    )
    slot = int(found[1])
    assert int(found[2]) > 200  # perhaps while it was still growing
    server.wait_for(rf"slot {slot} is ready \(generation 1, .* reason: max_rss\)")
    server.wait_for(rf"slot {slot} \(pid {before[slot]}\) exited cleanly")
    assert psutil.Process(server.workers()[slot]).memory_info().rss < 200 << 20
    assert server.workers()[1 - slot] == before[1 - slot]
    assert server.stop() == 0


def test_a_recycle_whose_successor_fails_is_tried_again_while_the_old_worker_serves(
    launch: Launch, tmp_path: Path
) -> None:
    shop = Shop(tmp_path)
    server = launch(*shop.arguments, "--workers", "1", "--limit-max-requests", "3", env=FRESH).ready(1)
    old = server.workers()[0]
    shop.break_("raise RuntimeError('not today')")
    for _ in range(3):
        assert ask(server.port) == "one"
    server.wait_for(REQUESTS)
    server.wait_for("RuntimeError: not today")
    server.wait_for("could not start, for the same reason")
    assert ask(server.port) == "one"
    assert psutil.Process(old).is_running()
    shop.write("two")
    server.wait_for("slot 0 is ready .* reason: max_requests")
    server.wait_for(rf"slot 0 \(pid {old}\) exited cleanly")
    assert ask(server.port) == "two"
    assert server.count("will be recycled") == 1
    assert server.stop() == 0
