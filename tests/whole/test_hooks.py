"""What an operator has called when a worker is ready or leaves, and what comes before a reload."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.admin.asking import Control
from tests.conftest import APPS, PATIENCE, Launch, Launched
from tests.whole.lines import lives, stop_process, wait_until
from tests.whole.reachable import reachable


def generation(server: Launched) -> str:
    return httpx.get(server.url, timeout=PATIENCE).text


def reload(server: Launched) -> subprocess.CompletedProcess[str]:
    """The command, until it is done."""
    return subprocess.run(
        [sys.executable, "-m", "reuseport", "reload", "--wait", "--pid", str(server.pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hook", ["warm", "warm_later"])
def test_each_worker_calls_them_when_it_is_ready_and_after_its_shutdown(launch: Launch, hook: str) -> None:
    hooks = ("--on-ready", f"hooked:{hook}", "--on-exit", "hooked:leave")
    server = launch("hooked:app", "--workers", "2", *hooks)
    for slot in (0, 1):
        server.wait_for_first(rf"^warm.* in slot {slot} of generation 1")
    server.wait_for_first("all 2 workers are ready")
    server.signal(signal.SIGHUP)
    server.wait_for_first("generation 2 serves in every slot")
    for slot in (0, 1):
        server.wait_for_first(rf"^warm.* in slot {slot} of generation 2")
        server.wait_for_first(rf"^left in slot {slot} of generation 1")
    assert server.stop() == 0
    assert server.count("^left in slot . of generation 2") == 2
    for slot in (0, 1):
        told = [line for line in server.lines if line.endswith(f"in slot {slot} of generation 2")]
        assert [line.split()[0] for line in told] == ["warm", "shut", "left"]


def test_hooks_that_fail_are_told_and_hurt_nobody(launch: Launch) -> None:
    server = launch("hooked:app", "--on-ready", "hooked:fail", "--on-exit", "hooked:fail").ready(1)
    server.wait_for_first("--on-ready failed, and the worker goes on")
    assert generation(server) == "1"
    assert server.stop() == 0
    assert server.count("--on-exit failed, and the worker goes on") == 1
    assert server.count("ZeroDivisionError: a hook in slot 0") == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hooked:wram", "--on-ready 'hooked:wram': module 'hooked' has no 'wram'; did you mean 'warm'?"),
        ("nothing:warm", "there is no module 'nothing'"),
        ("hooked:number", "--on-ready 'hooked:number' is no function, but int"),
    ],
)
def test_a_hook_that_is_not_there_fails_the_start_and_the_check(
    launch: Launch, name: str, words: str
) -> None:
    server = launch("hooked:app", "--on-ready", name)
    assert server.wait() == 2
    assert server.count(words.replace("?", r"\?")) == 1
    done = subprocess.run(
        [*(sys.executable, "-m", "reuseport", "check", "hooked:app", "--app-dir", APPS), "--on-ready", name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, words in done.stderr) == (2, True)


def test_a_hook_that_is_no_name_is_refused_before_anything_starts(launch: Launch) -> None:
    server = launch("hooked:app", "--on-exit", "hooked")
    assert server.wait() == 2
    assert server.count("'hooked' names no function: write module:function") == 1


# ── before a reload ───────────────────────────────────────────────────────────────────────────────────


def script(directory: Path, text: str) -> str:
    path = directory / "before"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_command_that_succeeds_comes_before_the_first_successor(launch: Launch, tmp_path: Path) -> None:
    before = script(tmp_path, "echo migrates $1 to $REUSEPORT_GENERATION; ls /proc/self/fd | wc -l")
    server = launch("hooked:app", "--before-reload", f"{before} 'a b'", "--log-level", "debug").ready(1)
    done = reload(server)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "generation 2 serves in every slot")
    assert done.stdout.startswith("before the reload to generation 2: ")
    assert generation(server) == "2"
    lines = [line for line in server.lines if "before the reload: " in line or "generation 2) starts" in line]
    assert "before the reload: migrates a b to 2" in lines[0]
    assert lines[1].endswith("before the reload: 4"), "0, 1, 2 and what ls has opened itself"
    assert server.stop() == 0


def test_one_that_fails_leaves_everything_as_it_is(launch: Launch, tmp_path: Path) -> None:
    before = script(tmp_path, "echo cannot; exit 3")
    server = launch("hooked:app", "--before-reload", before).ready(1)
    worker = server.workers()
    done = reload(server)
    assert done.returncode == 1
    assert "reload to generation 2 aborted: --before-reload exited with status 3" in done.stderr
    assert (generation(server), server.workers()) == ("1", worker)
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.count("aborted: --before-reload exited with status 3: generation 1 keeps") == 2)
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [("/nowhere/at-all", "/nowhere/at-all: not found"), ("no-such-program", "no-such-program: not found")],
)
def test_one_that_cannot_be_executed_says_so(launch: Launch, command: str, words: str) -> None:
    server = launch("hooked:app", "--before-reload", command).ready(1)
    assert "exited with status 127" in reload(server).stderr
    wait_until(lambda: server.count(words) == 1)


def test_one_that_takes_too_long_is_ended_with_all_it_has_started(launch: Launch, tmp_path: Path) -> None:
    before = script(tmp_path, "echo started $$; sleep 1000 & sleep 1000")
    flags = ("--before-reload", before, "--before-reload-timeout", "300ms")
    server = launch("hooked:app", *flags).ready(1)
    done = reload(server)
    assert "was not over within 0.3 s (--before-reload-timeout)" in done.stderr
    pid = int(server.wait_for_first(r"started (\d+)")[1])
    assert not [each for each in psutil.process_iter() if lives(each) and group(each.pid) == pid]
    assert server.stop() == 0


def group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


@pytest.mark.parametrize("way", [(), ("--no-mold",)])
def test_while_it_runs_the_launcher_answers_and_a_second_wish_is_the_same(
    launch: Launch, tmp_path: Path, way: tuple[str, ...]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    before = script(tmp_path, f"echo waits as $$; cat {fifo}; echo over")
    server = launch("hooked:app", *way, "--before-reload", before).ready(1)
    control = Control(server)
    assert json.loads(control.ask("POST", "/api/v1/reload")[1])["generation"] == 2
    command = int(server.wait_for_first(r"before the reload: waits as (\d+)")[1])
    assert json.loads(control.ask("POST", "/api/v1/reload")[1])["generation"] == 2
    # Its end is told although the launcher, for the death of a worker, reaps whoever is dead.
    worker = server.workers()[0]
    stop_process(server.pid)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not lives(psutil.Process(worker)))
    fifo.write_text("")
    wait_until(lambda: not lives(psutil.Process(command)))
    server.signal(signal.SIGCONT)
    server.wait_for_first("generation 2 serves in every slot")
    assert server.count("before the reload: over") == 1
    assert server.stop() == 0
    assert server.count("aborted") == 0


def test_a_stop_ends_it(launch: Launch, tmp_path: Path) -> None:
    before = script(tmp_path, "trap '' TERM; echo started $$; while :; do sleep 1000; done")
    server = launch("hooked:app", "--before-reload", before).ready(1)
    server.signal(signal.SIGHUP)
    pid = int(server.wait_for_first(r"started (\d+)")[1])
    assert server.stop() == 0
    wait_until(lambda: not [each for each in psutil.process_iter() if lives(each) and group(each.pid) == pid])


def test_what_it_prints_is_bounded_and_only_shown(launch: Launch, tmp_path: Path) -> None:
    before = script(tmp_path, r"printf '\033[2Jcursor\n'; yes | head -n 100000; printf 'no end of line'")
    server = launch("hooked:app", "--before-reload", before).ready(1)
    assert reload(server).returncode == 0
    wait_until(lambda: 990 < server.count("before the reload: y$") < 1001)
    assert server.count(r"before the reload: \\x1b\[2Jcursor") == 1
    wait_until(lambda: server.count("more than 1000 lines, which are left out") == 1)


def test_it_runs_as_the_workers_user(launch: Launch) -> None:
    flags = ("--user", "nobody", "--before-reload", "id -un")
    server = launch("hooked:app", *flags, wrapper=reachable()).ready(1)
    assert reload(server).returncode == 0
    wait_until(lambda: server.count("before the reload: nobody") == 1)
