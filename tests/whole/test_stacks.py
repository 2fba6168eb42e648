"""Where a worker stands, asked of the launcher: of one that works, hangs, imports, is stopped, or dies."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from reuseport.signals import GLANCE_SIGNAL, STACKS_SIGNAL
from tests.admin.asking import Control
from tests.conftest import Launch
from tests.whole.lines import Line, stop_process, wait_until
from tests.whole.traffic import ask


def stacks(control: Control, slot: int) -> tuple[int, str]:
    """Status and text."""
    status, body = control.ask("POST", f"/api/v1/slots/{slot}/stacks")
    answer = json.loads(body)
    return status, answer.get("stacks", answer.get("error"))


def test_a_blocked_worker_shows_where_and_goes_on(launch: Launch) -> None:
    server = launch("laborious:app", "--workers", "1", "--worker-timeout", "0").ready(1)
    control = Control(server)
    with Line(server.port) as line:
        line.send(b"GET /burn?ms=3000 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: "in burn" in stacks(control, 0)[1])
        assert line.answer().status == 200
    assert control.slot(0)["restarts"] == 0


def test_a_blocked_workers_row_says_what_it_executes_while_it_does(launch: Launch, tmp_path: Path) -> None:
    server = launch("stubborn:app", "--workers", "2", "--worker-timeout", "0").ready(2)
    control = Control(server)
    assert [slot["executes"] for slot in control.status()["slots"]] == [None, None]
    with Line(server.port) as line:
        slot = line.ask().who["slot"]
        until = tmp_path / "free"
        line.send(f"GET /sleep?ms=60000&until={until} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until(lambda: control.slot(int(slot))["executes"] is not None)
        assert "stubborn.py:" in control.slot(int(slot))["executes"]
        assert control.slot(1 - int(slot))["executes"] is None
        until.touch()
        assert line.answer().status == 200
    wait_until(lambda: control.slot(int(slot))["executes"] is None)
    assert server.stop() == 0


def test_many_who_ask_get_whole_stacks_each(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    control = Control(server)
    answers: list[tuple[int, str]] = []
    asking = [threading.Thread(target=lambda: answers.append(stacks(control, 0))) for _ in range(5)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert {status for status, _ in answers} == {200}
    for _, text in answers:
        assert text.count("Current thread") == 1
        assert "in _wait" in text, "all threads: this one waits for the launcher's end"
    assert json.loads(ask(server.port))["slot"] == "0"


def test_a_worker_that_hangs_in_its_import_shows_where(launch: Launch, tmp_path: Path) -> None:
    module = tmp_path / "hanging.py"
    module.write_text(
        "import threading\ndef hang_at_import():\n    threading.Event().wait()\nhang_at_import()\n"
    )
    server = launch("hanging:app", "--workers", "1", "--app-dir", str(tmp_path))
    control = Control(server)
    wait_until(lambda: "in hang_at_import" in stacks(control, 0)[1])
    server.signal(signal.SIGQUIT)
    server.wait()


def test_who_is_stopped_does_not_answer_and_nothing_is_lost(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--worker-timeout", "0").ready(2)
    control = Control(server)
    pid = server.workers()[1]
    stop_process(pid)
    status, why = stacks(control, 1)
    os.kill(pid, signal.SIGCONT)
    assert status == 409
    assert "does not answer" in why
    # What it writes when it goes on belongs to nobody; the next who asks gets one dump and no more.
    wait_until(lambda: control.slot(1)["state"] == "ready")
    status, text = stacks(control, 1)
    assert (status, text.count("Current thread")) == (200, 1)
    assert server.workers()[1] == pid


@pytest.mark.parametrize("number", [STACKS_SIGNAL, GLANCE_SIGNAL])
def test_the_signal_kills_nobody_however_early_it_comes(number: int, launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2")
    hit: set[int] = set()
    while server.count("all 2 workers are ready") == 0:
        for child in server.children():
            os.kill(child.pid, number)
            hit.add(child.pid)
    server.ready(2)
    # And a mold, which is no more than a copy of the launcher at first.
    assert set(server.workers().values()) == hit - {mold.pid for mold in server.molds()}


def test_it_takes_a_slot_that_exists(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    control = Control(server)
    assert stacks(control, 1)[0] == 404
    assert control.ask("GET", "/api/v1/slots/0/stacks")[0] == 405
