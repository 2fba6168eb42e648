"""--reload, for development: a changed file is a rolling reload like any other."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import PATIENCE, Launch, Launched, command
from tests.whole.modules import FRESH, Shop
from tests.whole.traffic import ask


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def develop(launch: Launch, shop: Shop) -> Launched:
    """A server that watches, and has shown that it does: nothing else says when the watch has begun."""
    directory = str(shop.directory)
    server = launch(*shop.arguments, "--workers", "1", "--reload", "--reload-dir", directory, env=FRESH)
    server.ready(1)
    touched = shop.directory / "touched.py"
    deadline = time.monotonic() + PATIENCE
    while not server.count(r"watcher: changed: .*touched\.py"):
        assert time.monotonic() < deadline, server.output
        touched.write_text(f"# {time.monotonic()}\n", encoding="ascii")
        time.sleep(0.05)
    server.wait_for("generation 2 serves in every slot")
    return server


def test_a_changed_file_is_served(launch: Launch, shop: Shop) -> None:
    server = develop(launch, shop)
    shop.write("two")
    server.wait_for(r"watcher: changed: .*shop\.py")
    server.wait_for(r"generation \d+ serves in every slot")
    deadline = time.monotonic() + PATIENCE
    while ask(server.port) != "two":  # the predecessor may still have been accepting
        assert time.monotonic() < deadline, server.output
    assert server.stop() == 0


def test_a_broken_file_leaves_the_last_one_that_worked(launch: Launch, shop: Shop) -> None:
    server = develop(launch, shop)
    shop.break_("raise RuntimeError('not today')")
    server.wait_for(r"watcher: changed: .*shop\.py")
    # A reload for the touched file may have told already, and said "for the same reason" now.
    server.wait_for("RuntimeError: not today|for the same reason")
    server.wait_for(r"aborted: .* keeps serving")
    assert ask(server.port) == "one"
    shop.write("two")
    server.wait_for(r"watcher: changed: .*shop\.py")
    server.wait_for(r"generation \d+ serves in every slot")
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_watcher_ends_with_the_launcher(launch: Launch, shop: Shop, number: signal.Signals) -> None:
    server = develop(launch, shop)
    children = psutil.Process(server.pid).children()
    (watcher,) = [child for child in children if "reuseport.worker.autoreload" in command(child)]
    pidfd = os.pidfd_open(watcher.pid)
    try:
        server.signal(number)
        server.popen.wait(PATIENCE)
        assert select.select([pidfd], [], [], PATIENCE)[0]
    finally:
        os.close(pidfd)
    _, left = psutil.wait_procs(children, PATIENCE)
    assert not left
