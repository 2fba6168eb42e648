"""The commands that see and steer a running server, against the real one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.whole.console import Console, ended
from tests.whole.lines import GET, Line, wait_until
from tests.whole.modules import FRESH, Shop
from tests.whole.terminal import ESCAPES, Terminal
from tests.whole.traffic import ask


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "run")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# ── to see ────────────────────────────────────────────────────────────────────────────────────────────


def test_status_tells_people_and_programs_how_it_is(launch: Launch, console: Console) -> None:
    server = launch("plain:app", "--workers", "2", env=console.env).ready(2)
    ask(server.port)
    text = console.does("status")
    lines = text.splitlines()
    assert lines[0] == "plain:app is well: all 2 workers are ready (generation 1)"
    assert f"http://127.0.0.1:{server.port}, launcher pid {server.pid}, up " in lines[1]
    head = next(index for index, line in enumerate(lines) if line.split()[:2] == ["slot", "state"])
    rows = [line.split() for line in lines[head + 1 : head + 3]]
    assert [row[:4] for row in rows] == [
        [str(slot), "ready", "1", str(pid)] for slot, pid in sorted(server.workers().items())
    ]
    assert "all 2 workers are ready" in lines[-1]

    seen = json.loads(console.does("status", "--json"))
    assert (seen["pid"], seen["state"], seen["ready"]) == (server.pid, "serving", 2)
    assert sum(slot["requests"] for slot in seen["slots"]) == 1


def test_status_says_by_its_exit_code_when_not_everybody_is_ready(launch: Launch, console: Console) -> None:
    launch("plain:app", "--workers", "2", env=console.env).ready(2)
    assert "slot 1 is out of service until it is restarted" in console.does("drain", "1", "--wait")
    text, data = console.run("status"), console.run("status", "--json")
    assert (text.returncode, data.returncode) == (1, 1)
    assert text.stdout.startswith("plain:app is not well: 1 of 2 workers are ready; slot 1 is out of service")
    assert json.loads(data.stdout)["ready"] == 1
    assert re.search(r"^slot 1: slot 0 accepts for it$", text.stdout, re.MULTILINE)


def test_the_events_are_the_lines_of_the_log(launch: Launch, console: Console) -> None:
    server = launch("plain:app", "--workers", "2", env=console.env).ready(2)
    console.does("scale", "1", "--wait")
    every = console.does("status", "--events", "100").splitlines()
    assert len(every) > 4
    told = [line.partition(" info    ")[2] for line in every if " info    " in line]
    logged = [line.partition("launcher: ")[2] for line in server.lines]
    places = [logged.index(text) for text in told]
    assert places == sorted(places)
    assert "scaling from 2 to 1 workers" in told
    assert console.does("status", "--events", "2").splitlines() == every[-2:]
    assert console.does("status", "--events").splitlines() == every[-20:]
    assert len(json.loads(console.does("status", "--events", "3", "--json"))["events"]) == 3


def test_the_stacks_of_a_blocked_worker_are_shown_and_it_goes_on(launch: Launch, console: Console) -> None:
    server = launch("diary:app", env=console.env).ready(1)
    before = server.workers()
    with Line(server.port) as line:
        line.send(GET.replace(b"/ ", b"/block?s=3 ", 1))
        server.wait_for("/block begins in slot 0")
        assert "in sit_on_the_loop" in console.does("status", "--stacks", "0")
    assert ask(server.port)
    assert server.workers() == before
    unknown = console.run("status", "--stacks", "7")
    assert unknown.returncode == 2
    assert "there is no slot 7" in unknown.stderr


# ── to steer ──────────────────────────────────────────────────────────────────────────────────────────


def test_scaling_waits_for_those_who_come_and_those_who_go(launch: Launch, console: Console) -> None:
    server = launch("plain:app", env={**console.env, "TEST_STARTUP_SECONDS": "0.3"}).ready(1)
    up = console.does("scale", "3", "--wait")
    assert sorted(server.workers()) == [0, 1, 2]
    assert "slot 2 is ready (generation 1, " in up
    assert up.endswith("3 workers are in service\n")
    down = console.does("scale", "1", "--wait")
    assert sorted(server.workers()) == [0]
    assert down.endswith("1 worker is in service\n")
    assert console.does("scale", "1", "--wait").endswith("1 worker is in service\n")
    refused = console.run("scale", "1000", "--wait")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the number of workers is 1 to " in refused.stderr


def test_a_slot_is_drained_and_restarted(launch: Launch, console: Console) -> None:
    server = launch("plain:app", "--workers", "2", env=console.env).ready(2)
    first = server.workers()
    assert console.does("drain", "1", "--wait").endswith("slot 1 is out of service until it is restarted\n")
    assert server.workers() == {0: first[0]}
    refused = console.run("drain", "0")
    assert refused.returncode == 1
    assert "no other slot serves: scale up first, or restart it instead" in refused.stderr
    assert console.run("drain", "2").returncode == 2

    console.does("restart", "1", "--wait")
    console.does("restart", "0", "--wait")
    second = server.workers()
    assert sorted(second) == [0, 1]
    assert not set(first.values()) & set(second.values())


def test_a_slot_that_does_not_start_fails_the_command_with_the_reason(
    launch: Launch, console: Console, shop: Shop
) -> None:
    server = launch(*shop.arguments, env={**console.env, **FRESH}).ready(1)
    shop.break_("raise RuntimeError('no stock')")
    failed = console.run("scale", "2", "--wait")
    assert failed.returncode == 1
    assert "RuntimeError: no stock" in failed.stderr
    assert "the launcher goes on trying" in failed.stderr
    assert ask(server.port) == "one"


AHEAD = """
import runpy, sys, time
real = time.time
time.time = lambda: real() + 3600
sys.argv = ["reuseport", *sys.argv[1:]]
runpy.run_module("reuseport", run_name="__main__")
"""
"""A command whose clock is an hour before the launcher's, as after somebody set that back."""


@pytest.mark.parametrize("request_", [("reload",), ("scale", "2"), ("restart", "0")])
def test_who_waits_does_not_go_by_the_clock_on_the_wall(
    launch: Launch, console: Console, request_: tuple[str, ...]
) -> None:
    server = launch("plain:app", env=console.env).ready(1)
    waiting = subprocess.run(
        [sys.executable, "-c", AHEAD, *request_, "--wait", "--timeout", "20s"],
        env={**os.environ, **console.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert waiting.returncode == 0, waiting.stderr
    assert server.stop() == 0


def test_a_stop_waits_until_nobody_is_left(launch: Launch, console: Console) -> None:
    server = launch("plain:app", env=console.env).ready(1)
    assert console.does("stop", "--wait") == "stopped\n"
    # By then the process has ended: its parent, which is this one, need not wait.
    assert server.wait(0.0) == 0
    assert list(console.directory.iterdir()) == []
    assert console.run("stop").returncode == 4


def test_without_wait_a_command_only_says_that_it_is_accepted(launch: Launch, console: Console) -> None:
    server = launch("plain:app", "--workers", "2", env=console.env).ready(2)
    assert console.does("reload") == "accepted: the reload to generation 2\n"
    server.wait_for("generation 2 serves in every slot")
    assert console.does("scale", "3") == "accepted: scaling to 3 workers\n"
    server.wait_for("slot 2 is ready")
    assert console.does("drain", "2") == "accepted: draining slot 2\n"
    server.wait_for("slot 2 is taken out of service")
    assert console.does("restart", "2") == "accepted: restarting slot 2\n"
    server.wait_for("slot 2 is ready")
    assert console.does("stop") == "accepted: the server stops\n"
    assert server.wait() == 0


# ── reload ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reload_is_followed_slot_by_slot(launch: Launch, console: Console, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "2", env={**console.env, **FRESH}).ready(2)
    shop.write("two")
    lines = console.does("reload", "--wait").splitlines()
    assert lines[0] == "reload: generation 2, 2 slots, one at a time"
    ready = [re.match(r"slot (\d) is ready \(generation 2, ", line) for line in lines]
    assert [found[1] for found in ready if found] == ["0", "1"]
    assert lines[-1] == "generation 2 serves in every slot"
    assert ask(server.port) == "two"


def test_on_a_terminal_a_bar_shows_how_far_the_reload_is(
    launch: Launch, console: Console, shop: Shop
) -> None:
    launch(*shop.arguments, "--workers", "2", env={**console.env, **FRESH}).ready(2)
    gate = shop.hold(1)
    command = [sys.executable, "-m", "reuseport", "reload", "--wait"]
    terminal = Terminal(command, console.env, columns=80)
    try:
        gate.reached()
        wait_until(lambda: "1/2" in terminal.written, lambda: repr(terminal.written))
        assert "the reload to generation 2" in terminal.written
        gate.open()
        assert terminal.wait() == 0
        wait_until(lambda: "2/2" in terminal.written, lambda: repr(terminal.written))
        wait_until(lambda: "generation 2 serves in every slot" in terminal.written)
        lines = ESCAPES.sub("", terminal.written).replace("\r", "\n").splitlines()
        assert max(map(len, lines)) < 80
    finally:
        terminal.close()


def test_a_reload_that_fails_says_why_each_time_and_the_old_version_serves(
    launch: Launch, console: Console, shop: Shop
) -> None:
    server = launch(*shop.arguments, "--workers", "2", env={**console.env, **FRESH}).ready(2)
    # What an application writes must not move the operator's cursor.
    shop.break_("raise RuntimeError('no \\x1b[31mstock')")
    for generation in (2, 3):
        failed = console.run("reload", "--wait")
        assert failed.returncode == 1
        assert failed.stderr.startswith(f"Error: reload to generation {generation} aborted: ")
        assert "Traceback (most recent call last):\n" in failed.stderr
        assert "RuntimeError: no \\x1b[31mstock\n" in failed.stderr
        assert "\x1b" not in failed.stdout + failed.stderr
    assert ask(server.port) == "one"
    assert console.run("status").returncode == 0


def test_a_reload_asked_for_during_another_waits_for_its_own(
    launch: Launch, console: Console, shop: Shop
) -> None:
    server = launch(*shop.arguments, env={**console.env, **FRESH}).ready(1)
    gate = shop.hold(0)
    first = console.begin("reload", "--wait")
    gate.reached()
    second = console.begin("reload", "--wait")
    server.wait_for("one more follows it")
    assert second.poll() is None
    gate.open()
    one, two = ended(first), ended(second)
    assert (one.returncode, two.returncode) == (0, 0)
    assert one.stdout.endswith("generation 2 serves in every slot\n")
    assert two.stdout.endswith("generation 3 serves in every slot\n")


def test_a_reload_that_takes_too_long_goes_on_without_us(
    launch: Launch, console: Console, shop: Shop
) -> None:
    server = launch(*shop.arguments, env={**console.env, **FRESH}).ready(1)
    gate = shop.hold(0)
    late = console.run("reload", "--wait", "--timeout", "1500ms")
    assert late.returncode == 5
    assert late.stderr == "Error: the reload to generation 2 is not done after 1.5s; it goes on\n"
    gate.reached()
    gate.open()
    server.wait_for("generation 2 serves in every slot")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_reload_ends_with_the_server(
    launch: Launch, console: Console, shop: Shop, number: signal.Signals
) -> None:
    server = launch(*shop.arguments, env={**console.env, **FRESH}).ready(1)
    gate = shop.hold(0)
    waiting = console.begin("reload", "--wait")
    gate.reached()
    server.signal(number)
    failed = ended(waiting)
    gate.open()
    assert failed.returncode == 1
    assert re.match(
        r"Error: the reload to generation 2: the (server stops|launcher went away before the end)",
        failed.stderr,
    )
    server.wait()


def test_who_interrupts_the_waiting_does_not_interrupt_the_reload(
    launch: Launch, console: Console, shop: Shop
) -> None:
    server = launch(*shop.arguments, env={**console.env, **FRESH}).ready(1)
    gate = shop.hold(0)
    waiting = console.begin("reload", "--wait")
    gate.reached()
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "reload: generation 2, 1 slots, one at a time\n"
    waiting.send_signal(signal.SIGINT)
    done = ended(waiting)
    assert (done.returncode, done.stderr) == (130, "interrupted; what was asked for goes on\n")
    gate.open()
    server.wait_for("generation 2 serves in every slot")
