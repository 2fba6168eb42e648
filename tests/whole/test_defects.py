"""A launcher with a defect, or one that sleeps too long: it ends when it is told to, and says so."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import APPS, PATIENCE, Launch, children
from tests.whole.clients import environment, kept_port
from tests.whole.lines import wait_until
from tests.whole.traffic import ask

DEFECT = """
import os, sys
from reuseport.launcher import workforce
from reuseport.cli import cli

def fail(*_):
    raise ZeroDivisionError("a defect on purpose")

class Words:
    explain, oom_kills = staticmethod(fail), staticmethod(workforce.exits.oom_kills)

workforce.exits = Words
sys.argv[0] = "reuseport"
cli.main(prog_name="reuseport")
"""


class Defective:
    """A launcher that fails whenever a worker has ended by itself."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.log = directory / "log"
        options = ["--port", str(port), "--join", "--app-dir", str(APPS), "--workers", "2"]
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", DEFECT, "diary:app", *options, "--graceful-timeout", "10m"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )
        self.says("all 2 workers are ready")

    def says(self, words: str) -> None:
        wait_until(lambda: words in self.log.read_text(), self.log.read_text)

    def children(self) -> list[psutil.Process]:
        return children(self.popen.pid)


@pytest.fixture
def defective(tmp_path: Path) -> Iterator[Defective]:
    with kept_port() as port:
        server = Defective(tmp_path, port)
        started = server.children()
        yield server
        server.popen.kill()
        server.popen.wait()
        for child in started:
            if child.is_running():
                child.kill()


def test_a_defect_is_told_and_everybody_drains(defective: Defective) -> None:
    os.kill(defective.children()[0].pid, signal.SIGKILL)
    defective.says("ZeroDivisionError: a defect on purpose")
    defective.says("defect in the launcher: it stops")
    defective.says("Shutting down")
    # The exit that it failed at is never acted on: it waits for no other worker, and then for nobody.
    defective.popen.send_signal(signal.SIGTERM)
    assert defective.popen.wait(PATIENCE) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_launcher_with_a_defect_is_not_deaf(
    defective: Defective, tmp_path: Path, number: signal.Signals
) -> None:
    first, second = (child.pid for child in defective.children())
    connection = http.client.HTTPConnection("127.0.0.1", defective.port, timeout=PATIENCE)
    connection.request("GET", f"/hold?until={tmp_path / 'never'}")
    defective.says("/hold begins")
    holding = first if "slot 0" in defective.log.read_text().partition("/hold begins")[2] else second
    os.kill(second if holding == first else first, signal.SIGKILL)
    defective.says("defect in the launcher: it stops")
    defective.popen.send_signal(number)
    assert defective.popen.wait(PATIENCE) == 1
    connection.close()


def test_a_worker_that_died_while_the_launcher_slept_is_not_told_to_drain(launch: Launch) -> None:
    """Woken late, it learns of a signal, of an exit and of the end of the delay in one turn."""
    server = launch("plain:app", "--workers", "2", "--shutdown-delay", "1s").ready(2)
    assert ask(server.port)
    server.signal(signal.SIGTERM)
    server.wait_for("stopping in 1 s")
    os.kill(server.pid, signal.SIGSTOP)
    slept = time.monotonic()
    os.kill(server.workers()[0], signal.SIGKILL)
    server.signal(signal.SIGHUP)
    wait_until(lambda: time.monotonic() > slept + 2.5)
    os.kill(server.pid, signal.SIGCONT)
    server.wait_for("slot 0 .*was killed by SIGKILL")
    assert server.wait() == 1, "a worker died"
    assert "Traceback" not in server.output
