"""The end: whoever is being answered gets the answer, nobody holds it up for ever, nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import wait_until
from tests.whole.traffic import wait_for_lines

GRACEFUL = [signal.SIGTERM, signal.SIGINT]


def hold(server: Launched, release: Path) -> http.client.HTTPConnection:
    """A request that is in flight until the file `release` exists."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", f"/hold?until={release}")
    server.wait_for("/hold begins")
    return connection


@pytest.mark.parametrize("number", GRACEFUL)
def test_stop_waits_for_the_answer_and_leaves_nothing(
    launch: Launch, tmp_path: Path, number: signal.Signals
) -> None:
    pid_file = tmp_path / "pid"
    server = launch("diary:app", "--workers", "2", "--pid-file", str(pid_file)).ready(2)
    assert int(pid_file.read_text()) == server.pid
    connection = hold(server, tmp_path / "release")
    server.signal(number)
    wait_for_lines(server, "launcher: stopping", 1)
    wait_for_lines(server, "Shutting down", 1)
    wait_until_refused(server.port)
    (tmp_path / "release").touch()
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.load(answer)["pid"]
    connection.close()
    assert server.wait() == 0
    assert server.count("lifespan shutdown in slot 0") == 1
    assert server.count("lifespan shutdown in slot 1") == 1
    assert server.count("exited cleanly") == 2
    assert not pid_file.exists()


def wait_until_refused(port: int) -> None:
    """Nobody may be left to wait in the queue of a listener that nothing will accept from again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # in its handshake in the very moment that a listener closed
    pytest.fail("still connected while the last request is answered")


def test_stream_without_end_is_cut_after_the_graceful_timeout(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--graceful-timeout", "1s").ready(2)
    with httpx.stream("GET", f"{server.url}/sse", timeout=PATIENCE) as stream:
        chunks = stream.iter_raw()
        assert next(chunks).startswith(b"data: tick")
        server.signal(signal.SIGTERM)
        try:
            for _ in chunks:
                pass
        except httpx.RemoteProtocolError:
            pass  # the chunked body ends without its last chunk: cut, which the client may know
    assert server.wait() == 1, "a request was cut off"
    # By itself, within the grace: the launcher had not to kill it, and lifespan shutdown ran.
    assert server.count("did not end in time") == 0
    assert server.count("lifespan shutdown in slot") == 2


def test_lifespan_shutdown_is_no_request_and_may_take_longer(launch: Launch) -> None:
    # Longer than requests may take and a kill comes after that, which time itself has to show.
    flags = ("--workers", "2", "--graceful-timeout", "500ms")
    server = launch("plain:app", *flags, env={"TEST_SHUTDOWN_SECONDS": "7"}).ready(2)
    assert server.stop() == 0
    assert server.count("Application shutdown complete") == 2
    assert server.count("SIGKILL") == 0


def test_lifespan_shutdown_beyond_its_own_limit_is_killed(launch: Launch) -> None:
    env = {"TEST_SHUTDOWN_SECONDS": "600"}
    server = launch("plain:app", "--shutdown-timeout", "500ms", env=env).ready(1)
    server.signal(signal.SIGHUP)
    over = r"lifespan shutdown in slot 0 was not over within 0\.5 s \(--shutdown-timeout\): SIGKILL"
    server.wait_for(over)
    server.signal(signal.SIGTERM)
    server.wait_for(over)
    assert server.wait() == 1


def test_a_second_signal_does_not_wait_for_lifespan_shutdown(launch: Launch) -> None:
    server = launch("plain:app", env={"TEST_SHUTDOWN_SECONDS": "600"}).ready(1)
    server.signal(signal.SIGTERM)
    server.wait_for("lifespan shutdown in slot 0")
    server.signal(signal.SIGQUIT)
    assert server.wait() == 1


def test_handler_that_ignores_its_end_is_killed(launch: Launch) -> None:
    server = launch("diary:app", "--workers", "2", "--graceful-timeout", "500ms", "--worker-timeout", "0")
    server.ready(2)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/block?s=600")
    server.wait_for("/block begins")
    server.signal(signal.SIGTERM)
    server.wait_for(r"worker in slot \d did not end in time: SIGKILL")
    assert server.wait() == 1, "a request died"
    connection.close()


def test_websocket_is_told_that_the_service_restarts(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    with connect(f"ws://127.0.0.1:{server.port}/", open_timeout=PATIENCE) as client:
        client.send("still there?")
        assert client.recv(PATIENCE) == "still there?"
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012  # Service Restart, IANA's registry of RFC 6455
    assert server.wait() == 0


def test_shutdown_delay_keeps_serving(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--shutdown-delay", "3s").ready(2)
    server.signal(signal.SIGTERM)
    told = moment(server.wait_for(r"^(\S+ \S+) .*stopping in 3 s"))
    for _ in range(5):
        assert httpx.get(server.url, timeout=PATIENCE).status_code == 200
    shut = moment(server.wait_for(r"^(\S+ \S+) .*Shutting down"))
    assert (shut - told).total_seconds() > 2.9
    assert server.wait() == 0


def moment(line: re.Match[str]) -> datetime:
    return datetime.strptime(line[1], "%Y-%m-%d %H:%M:%S,%f")  # noqa: DTZ007 - only a difference is asked


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGQUIT)],
)
def test_second_signal_stops_at_once(
    launch: Launch, tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    server = launch("diary:app", "--workers", "2", "--graceful-timeout", "10m").ready(2)
    connection = hold(server, tmp_path / "never")
    server.signal(first)
    server.wait_for("Shutting down")
    insist(server, second)
    assert server.wait() == 1, "requests died"
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()


def insist(server: Launched, number: signal.Signals) -> None:
    """Until it is no echo of the first signal any more."""

    def heard() -> bool:
        server.signal(number)
        return server.count("stopping at once") > 0

    wait_until(heard, lambda: server.output)


@pytest.mark.parametrize("number", GRACEFUL)
def test_signals_to_process_and_group_are_one_wish(
    launch: Launch, tmp_path: Path, number: signal.Signals
) -> None:
    """As timeout(1) sends them."""
    server = launch("diary:app", "--workers", "2").ready(2)
    connection = hold(server, tmp_path / "release")
    os.killpg(server.pid, number)
    server.signal(number)
    server.wait_for("Shutting down")
    server.signal(number)
    (tmp_path / "release").touch()
    assert connection.getresponse().status == 200
    connection.close()
    assert server.wait() == 0
    assert server.count("stopping at once") == 0


def test_quit_stops_at_once(launch: Launch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    server = launch(
        "diary:app", "--workers", "2", "--graceful-timeout", "10m", "--pid-file", str(pid_file)
    ).ready(2)
    connection = hold(server, tmp_path / "never")
    server.signal(signal.SIGQUIT)
    server.wait_for("stopping at once")
    assert server.wait() == 1, "requests died"
    assert server.count("lifespan shutdown") == 0
    assert not pid_file.exists()
    connection.close()


def test_stop_does_not_wait_for_a_slow_startup(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", env={"TEST_STARTUP_SECONDS": "600"})
    for _ in range(2):
        server.wait_for("Waiting for application startup")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.count("did not end in time") == 0


def test_stop_does_not_wait_for_a_slow_import(launch: Launch, tmp_path: Path) -> None:
    slow = "import sys, time\nsys.stderr.write('importing\\n')\ntime.sleep(600)\n"
    (tmp_path / "slow.py").write_text(slow)
    server = launch("slow:app", "--app-dir", str(tmp_path), "--workers", "2")
    for _ in range(2):
        server.wait_for("importing")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.count("did not end in time") == 0


def test_socket_file_is_removed(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = launch("plain:app", "--workers", "2", "--uds", str(path)).ready(2)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://here/").status_code == 200
    assert server.stop() == 0
    assert not path.exists()
