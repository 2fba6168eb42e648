"""`reuseport top`: on a terminal of the test's own, and where there is none."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.whole.console import Console, ended
from tests.whole.lines import wait_until
from tests.whole.terminal import Terminal

QUIET = ("--lifespan", "off", "--no-access-log")
ENTERED, LEFT, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
"""Of xterm: the other screen is entered, left; the cursor is shown."""


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "run")


@contextmanager
def top(console: Console, columns: int = 120, lines: int = 40) -> Iterator[Terminal]:
    terminal = Terminal([sys.executable, "-m", "reuseport", "top"], console.env, columns, lines)
    try:
        yield terminal
    finally:
        terminal.close()


def test_keys_sort_reverse_pause_and_quit(launch: Launch, console: Console) -> None:
    server = launch("plain:app", *QUIET, "--workers", "3", env=console.env).ready(3)
    with top(console) as terminal:
        terminal.shows("plain:app is well: all 3 workers are ready (generation 1)")
        terminal.shows("q: quit")
        terminal.shows("slot ^")
        assert ENTERED in terminal.written
        rows = [line.split() for line in terminal.screen.splitlines() if " ready " in line]
        assert [row[3] for row in rows if row[0].isdecimal()] == [str(server.workers()[n]) for n in range(3)]
        terminal.type("r")
        terminal.shows("slot v")
        terminal.type("\x1b[C\x1b[C")
        terminal.shows("gen v")
        terminal.type("\x1b[D")
        terminal.shows("state v")
        terminal.type(" ")
        terminal.shows("paused")
        terminal.type("q")
        assert terminal.wait() == 0
        wait_until(lambda: LEFT in terminal.written and CURSOR in terminal.written)
        assert terminal.now == terminal.before


ENDS = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", ENDS)
def test_signals_leave_the_terminal_as_it_was(
    launch: Launch, console: Console, number: signal.Signals
) -> None:
    launch("plain:app", *QUIET, env=console.env).ready(1)
    with top(console) as terminal:
        terminal.shows("is well")
        assert terminal.now != terminal.before
        terminal.process.send_signal(number)
        assert terminal.wait() == ENDS[number]
        wait_until(lambda: LEFT in terminal.written and CURSOR in terminal.written)
        assert terminal.now == terminal.before
        assert "Traceback" not in terminal.written


def test_it_outlives_the_server_and_finds_the_next(launch: Launch, console: Console) -> None:
    first = launch("plain:app", *QUIET, env=console.env).ready(1)
    with top(console) as terminal:
        terminal.shows(f"launcher pid {first.pid},")
        first.stop()
        terminal.shows("trying again")
        second = launch("plain:app", *QUIET, env=console.env).ready(1)
        terminal.shows(f"launcher pid {second.pid},")
        wait_until(lambda: "trying again" not in terminal.screen)
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_small_terminal_shows_some_slots_and_the_keys(launch: Launch, console: Console) -> None:
    launch("plain:app", *QUIET, "--workers", "8", env=console.env).ready(8)
    with top(console, columns=80, lines=10) as terminal:
        terminal.shows("of 8 in this order")
        terminal.shows("q: quit")
        titles = next(line for line in terminal.screen.splitlines() if "req/s" in line).split()
        assert {"slot", "state", "req/s", "queue", "cpu%", "restarts"} < set(titles)
        assert "requests" not in titles
        assert not any("\u2026" in title for title in titles)
        terminal.type("\x1b[B")
        terminal.shows("slots 2 to ")
        terminal.type("q")
        assert terminal.wait() == 0


def test_piped_it_writes_plain_tables(launch: Launch, console: Console) -> None:
    launch("plain:app", *QUIET, "--workers", "2", env=console.env).ready(2)
    text = console.does("top", "--count", "2")
    assert "\x1b" not in text
    tables = text.strip().split("\n\n")
    assert len(tables) == 2
    for table in tables:
        head, titles, *rows = table.splitlines()
        assert head.endswith("plain:app is well: all 2 workers are ready (generation 1)")
        assert titles.split()[:2] == ["slot", "state"]
        assert [row.split()[:2] for row in rows] == [["0", "ready"], ["1", "ready"]]


def test_piped_it_says_when_the_server_is_gone_and_goes_on(launch: Launch, console: Console) -> None:
    first = launch("plain:app", *QUIET, env=console.env).ready(1)
    watching = console.begin("top", "--count", "2", "--interval", "2s")
    assert watching.stdout is not None
    while "ready" not in (line := watching.stdout.readline()):
        assert line
    first.stop()
    assert watching.stderr is not None
    assert "trying again" in watching.stderr.readline()
    launch("plain:app", *QUIET, env=console.env).ready(1)
    assert ended(watching).returncode == 0


def test_without_rich_it_says_what_to_install(launch: Launch, console: Console) -> None:
    launch("plain:app", *QUIET, env=console.env).ready(1)
    script = "import sys; sys.modules['rich'] = None; from reuseport.cli import cli; cli(['top'])"
    terminal = Terminal([sys.executable, "-c", script], console.env)
    try:
        assert terminal.wait() == 2
        wait_until(lambda: "pip install 'reuseport[top]'" in terminal.written)
        assert "Traceback" not in terminal.written
    finally:
        terminal.close()


def test_where_there_is_nobody_it_ends_at_once(console: Console) -> None:
    assert console.run("top").returncode == 4
    with top(console) as terminal:
        assert terminal.wait() == 4
        assert ENTERED not in terminal.written
