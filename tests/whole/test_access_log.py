"""The access log of real workers: complete after a stop, almost so after a kill, one line a request."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.conftest import APPS, Launch
from tests.whole.lines import GET, Line, Lines, lives, stop_process, wait_until

PARSERS = pytest.mark.parametrize("http", ["httptools", "h11"])


def lines_of(path: Path, request: str) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if f'"{request} ' in line]


@PARSERS
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stop_loses_no_line(launch: Launch, http: str, loop: str, tmp_path: Path) -> None:
    """Also of who is cut off: after the graceful timeout uvicorn answers 500 to what still waits."""
    path = tmp_path / "access"
    arguments = ("--http", http, "--loop", loop, "--access-log-file", str(path), "--graceful-timeout", "1")
    server = launch("plain:app", *arguments).ready(1)
    with Line(server.port) as line, Line(server.port) as waits:
        line.send(GET * 20)
        assert [line.answer().status for _ in range(20)] == [200] * 20
        waits.send(GET.replace(b"/", b"/wait?s=1000", 1))
        wait_until(lambda: len(lines_of(path, "GET /")) == 20, server.__str__)
        assert line.ask("/last").status == 200
        server.signal(signal.SIGTERM)
        assert waits.head()[0] == 500
    assert server.wait() == 1  # somebody was cut off
    assert len(lines_of(path, "GET /")) == 20
    assert len(lines_of(path, "GET /last")) == 1
    (cut,) = lines_of(path, "GET /wait?s=1000")
    assert cut.endswith('HTTP/1.1" 500 Internal Server Error')
    assert len(path.read_text().splitlines()) == 22


@PARSERS
def test_a_kill_loses_one_turn_of_the_loop(launch: Launch, http: str, tmp_path: Path) -> None:
    path = tmp_path / "access"
    server = launch("plain:app", "--http", http, "--access-log-file", str(path)).ready(1)
    worker = psutil.Process(server.workers()[0])
    with Line(server.port) as line:
        for number in range(100):
            assert line.ask(f"/{number}").status == 200
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: not lives(worker))
    written = path.read_text().splitlines()
    assert 99 <= len(written) <= 100
    for number, text in enumerate(written):
        assert f'"GET /{number} HTTP/1.1" 200 OK' in text


def writes(pid: int) -> int:
    """How many times a process has called write(2) (proc_pid_io(5)). To clients it sends instead."""
    rows = dict(row.split(": ") for row in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines())
    return int(rows["syscw"])


def test_what_comes_at_once_is_written_at_once(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "access"
    server = launch("plain:app", "--loop", "asyncio", "--access-log-file", str(path)).ready(1)
    worker = server.workers()[0]
    with Lines() as lines:
        opened = lines.open(server.port, 30)
        assert [line.ask().status for line in opened] == [200] * 30
        wait_until(lambda: len(lines_of(path, "GET /")) == 30)
        before = writes(worker)
        stop_process(worker)
        for line in opened:
            line.send(GET)
        os.kill(worker, signal.SIGCONT)
        assert [line.answer().status for line in opened] == [200] * 30
        wait_until(lambda: len(lines_of(path, "GET /")) == 60)
        assert writes(worker) - before < 15


def test_lines_of_many_workers_keep_together_in_a_pipe(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "4", "--log-level", "info").ready(4)
    long = "x" * 1500
    asked = 0
    for _ in range(20):
        with Line(server.port) as line:
            line.send(GET.replace(b"/", f"/{long}".encode(), 1) * 10)
            asked += sum(line.answer().status == 200 for _ in range(10))
    assert server.stop() == 0
    whole = rf' INFO     slot [0-3]: 127\.0\.0\.1:\d+ - "GET /{long} HTTP/1\.1" 200 OK$'
    assert server.count(whole) == server.count("xxx") == asked == 200


@PARSERS
def test_a_client_cannot_forge_a_line(launch: Launch, http: str) -> None:
    """The address comes from a header that a trusted proxy passes on; ours is trusted by default."""
    server = launch("plain:app", "--http", http).ready(1)
    forged = b"1.1.1.1\x85\xe9 9.9.9.9"
    path = b"/%0a2026%0d?%0a"
    with Line(server.port) as line:
        line.send(GET.replace(b"/ ", path + b" ", 1)[:-2] + b"X-Forwarded-For: " + forged + b"\r\n\r\n")
        assert line.answer().status == 200
    found = server.wait_for(r"slot 0: (.*) 200 OK$")
    assert found[1] == r'1.1.1.1\x85\xe9 9.9.9.9:0 - "GET /%0A2026%0D?%0a HTTP/1.1"'
    assert server.stop() == 0


@PARSERS
def test_a_unix_socket_has_clients_without_an_address(launch: Launch, http: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = launch("plain:app", "--http", http, "--bind", f"unix:{path}").ready(1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(GET)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    server.wait_for(r'slot 0:  - "GET / HTTP/1.1" 200 OK$')
    assert server.stop() == 0


FILTERING = """
import logging
from plain import app as plain

async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/quiet":
        logging.getLogger("uvicorn.access").addFilter(lambda record: "/health" not in record.getMessage())
    await plain(scope, receive, send)
"""


@PARSERS
def test_an_application_may_filter_what_it_does_not_want(launch: Launch, http: str, tmp_path: Path) -> None:
    (tmp_path / "filtering.py").write_text(FILTERING, encoding="ascii")
    server = launch(
        "filtering:app", "--http", http, "--app-dir", str(tmp_path), env={"PYTHONPATH": str(APPS)}
    ).ready(1)
    with Line(server.port) as line:
        for path in ("/health", "/quiet", "/health", "/other"):
            assert line.ask(path).status == 200
    assert server.stop() == 0
    seen = re.findall(r'"GET (\S+) HTTP/1\.1" 200 OK', server.output)
    assert seen == ["/health", "/quiet", "/other"]
