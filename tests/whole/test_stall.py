"""A silent event loop is reported, given time, and in the end replaced; a stopped machine is no stall."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import time

import psutil
import pytest

from reuseport.launcher.watching.queues import QUICK
from tests.conftest import PATIENCE, Launch, Launched


def block(server: Launched, seconds: float) -> tuple[http.client.HTTPConnection, int]:
    """Block one worker's loop for so long: the connection that waits for it, and the slot."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", f"/block?s={seconds}")
    return connection, int(server.wait_for(r"/block begins in slot (\d)")[1])


def wait_until_gone(pidfd: int) -> None:
    readable, _, _ = select.select([pidfd], [], [], PATIENCE)
    os.close(pidfd)
    assert readable


def wait_until_stopped(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids):
        assert time.monotonic() < deadline


def test_stall_beyond_the_timeout_shows_stacks_and_is_replaced(launch: Launch) -> None:
    server = launch("diary:app", "--workers", "2", "--worker-timeout", "1500ms").ready(2)
    before = server.workers()
    connection, slot = block(server, 600)
    pidfd = os.pidfd_open(before[slot])
    server.wait_for(rf"WARNING .*event loop in slot {slot} has been silent for 1\.\d s")
    server.wait_for(
        rf"ERROR .*event loop in slot {slot} has been silent .*\(--worker-timeout\),"
        r" in sit_on_the_loop \(.*diary\.py:\d+\): stacks follow"
    )
    # The worker's own words; whether before the launcher's or after them is up to the scheduler.
    server.wait_for_first(r"Fatal Python error: Aborted")
    server.wait_for_first(r"thread 0x.* \(most recent call first\)")
    server.wait_for_first(r"diary\.py.* in sit_on_the_loop")
    wait_until_gone(pidfd)
    server.wait_for(rf"slot {slot} is ready .*reason: hang")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()
    now = server.workers()
    assert now[slot] != before[slot]
    assert now[1 - slot] == before[1 - slot]
    assert server.count(rf"pid {before[slot]}\) is gone, ended by our SIGABRT") == 1
    assert server.stop() == 0


@pytest.mark.parametrize(
    "flags",
    [("--worker-timeout", "0"), ("--worker-timeout", "20s"), ("--timeout-worker-healthcheck", "1")],
    ids=" ".join,
)
def test_shorter_stall_is_forgiven_and_timeout_0_forgives_all(launch: Launch, flags: tuple[str, str]) -> None:
    server = launch("diary:app", "--workers", "2", *flags).ready(2)
    before = server.workers()
    connection, slot = block(server, 2.5)
    server.wait_for(rf"event loop in slot {slot} has been silent for")
    server.wait_for(rf"event loop in slot {slot} turns again, after [\d.]+ s, in sit_on_the_loop \(")
    assert json.load(connection.getresponse())["pid"] == before[slot]
    connection.close()
    assert server.workers() == before
    assert server.count("stacks follow") == 0
    assert server.stop() == 0


def test_stopped_worker_is_killed_after_the_grace(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--worker-timeout", "1s").ready(2)
    before = server.workers()
    pidfd = os.pidfd_open(before[1])
    os.kill(before[1], signal.SIGSTOP)
    server.wait_for(r"event loop in slot 1 has been silent .*--worker-timeout")
    # SIGABRT waits until a stopped process goes on; the replacement does not.
    server.wait_for(r"slot 1 is ready .*reason: hang")
    server.wait_for(r"worker in slot 1 did not end in time: SIGKILL")
    wait_until_gone(pidfd)
    server.wait_for(rf"pid {before[1]}\) is gone, ended by our SIGKILL")
    assert server.workers()[0] == before[0]
    assert server.stop() == 0


def test_stop_of_the_whole_group_is_nobodys_stall(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--worker-timeout", "4s").ready(2)
    before = server.workers()
    # Workers first and last: the launcher has seen their last heartbeat, and none when it goes on.
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    for _ in before:
        server.wait_for(r"event loop in slot \d has been silent for 2\.")
    os.killpg(server.pid, signal.SIGSTOP)
    wait_until_stopped([server.pid, *before.values()])
    # Time itself is the subject: longer than the timeout.
    time.sleep(4.5)
    server.signal(signal.SIGCONT)
    server.signal(signal.SIGTTIN)  # not before SIGCONT, which discards it (signal(7): a stop signal)
    server.wait_for("scaling from 2 to 3 workers")
    os.killpg(server.pid, signal.SIGCONT)
    for _ in range(3):
        server.wait_for(r"event loop in slot [01] turns again|slot 2 is ready .*reason: scale")
    assert {slot: pid for slot, pid in server.workers().items() if slot < 2} == before
    assert server.count("--worker-timeout") == 0
    assert server.stop() == 0


def test_clients_that_come_one_by_one_do_not_each_wake_the_launcher(launch: Launch) -> None:
    server = launch("diary:app", "--workers", "2").ready(2)
    launcher = psutil.Process(server.pid)
    began, before = time.monotonic(), launcher.num_ctx_switches().voluntary
    for _ in range(1000):
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        ) as one:
            one.request("GET", "/")
            one.getresponse().read()
        time.sleep(0.001)  # their pace: each finds all queues empty
    wakes, lasted = launcher.num_ctx_switches().voluntary - before, time.monotonic() - began
    # A look at the queues after each rest, woken up for it, and what it does besides.
    assert wakes < 100 + 3 * lasted / QUICK.rest
    assert server.stop() == 0
