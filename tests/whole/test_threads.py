"""Threads that the application has left running hold no finished worker up."""

from __future__ import annotations

import pytest

from tests.conftest import Launch


@pytest.mark.parametrize(("left", "name"), [("thread", "dawdler"), ("executor", "asyncio_0")])
def test_a_finished_worker_goes_without_its_threads(launch: Launch, left: str, name: str) -> None:
    flags = ("--workers", "2", "--loop", "asyncio")
    server = launch("dawdling:app", *flags, env={"TEST_THREADS": left}).ready(2)
    assert server.stop() == 0
    assert server.count(f"left behind: threads of the application .*: .*{name}") == 2
    assert server.count("atexit was called") == 2
    assert server.count("exited cleanly") == 2
    assert server.count("did not end in time") == 0


def test_a_start_that_fails_is_told_although_a_thread_runs(launch: Launch) -> None:
    server = launch("dawdling:app", env={"TEST_THREADS": "import"})
    assert server.wait() == 3
    assert server.count("RuntimeError: not today") == 1
    assert server.count("atexit was called") == 1


def test_who_leaves_no_thread_ends_at_once(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    assert server.stop() == 0
    assert server.count("left behind") == 0
