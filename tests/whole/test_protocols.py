"""What is spoken with clients and with the application: WebSocket, streams, lifespan, interfaces, loops."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import APPS, PATIENCE, Launch
from tests.whole.clients import client, meet_all


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio"])
def test_websocket_echo(http: str, ws: str, launch: Launch) -> None:
    server = launch("plain:app", "--http", http, "--ws", ws).ready(1)
    with connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE) as socket:
        for text in ("one", "two", "three " * 10_000):
            socket.send(text)
            assert socket.recv(PATIENCE) == text
    assert server.stop() == 0
    assert "Traceback" not in server.output


PARSERS = {"h11": "uvicorn.protocols.http.h11_impl", "httptools": "reuseport.worker.protocol.cycle"}
"""Whose request cycle calls the application: behind httptools it is our own."""


@pytest.mark.parametrize(("loop", "module"), [("uvloop", "uvloop"), ("asyncio", "asyncio.unix_events")])
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_loops_and_parsers_are_the_ones_asked_for(loop: str, module: str, http: str, launch: Launch) -> None:
    server = launch("mirror:app", "--workers", "2", "--loop", loop, "--http", http).ready(2)
    with client() as asking:
        met = meet_all(asking, server.url, 2)
    for seen in met.values():
        assert seen["loop"] == module
        assert PARSERS[http] in seen["http"]
    assert server.stop() == 0


def test_server_sent_events_arrive_while_the_worker_answers_others(launch: Launch) -> None:
    server = launch("plain:app", "--graceful-timeout", "0").ready(1)
    with client() as asking, asking.stream("GET", f"{server.url}/sse") as stream:
        lines = (line for line in stream.iter_lines() if line)
        assert next(lines) == "data: tick"
        assert asking.get(server.url).status_code == 200
        assert [next(lines) for _ in range(3)] == ["data: tick"] * 3


def test_lifespan_runs_in_every_worker_and_its_state_reaches_requests(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--lifespan", "on").ready(2)
    with client() as asking:
        met = meet_all(asking, server.url, 2)
    assert {slot: seen["state"] for slot, seen in met.items()} == server.workers()
    assert server.stop() == 0
    assert server.count("lifespan shutdown in slot [01]") == 2


@pytest.mark.parametrize(("lifespan", "times"), [("off", 0), ("auto", 1)])
def test_lifespan_runs_once_or_not_at_all(lifespan: str, times: int, launch: Launch) -> None:
    server = launch("mirror:app", "--lifespan", lifespan).ready(1)
    with client() as asking:
        assert asking.get(server.url).json()["lifespans"] == times


def test_a_factory_makes_the_application(launch: Launch) -> None:
    server = launch("mirror:make", "--factory").ready(1)
    with client() as asking:
        assert asking.get(f"{server.url}/made").json()["path"] == "/made"


def test_a_wsgi_application(launch: Launch) -> None:
    server = launch("mirror:wsgi", "--interface", "wsgi").ready(1)
    with client() as asking:
        assert asking.get(f"{server.url}/old").text == "WSGI GET /old"


def test_an_environment_file_is_read_by_the_workers(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "some.env").write_text("TEST_GREETING='good morning'\n")
    server = launch("mirror:app", "--env-file", "some.env").ready(1)
    with client() as asking:
        assert asking.get(server.url).json()["environment"]["TEST_GREETING"] == "good morning"


def test_the_application_is_looked_for_in_app_dir(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/elsewhere.py").write_text((APPS / "mirror.py").read_text())
    server = launch("elsewhere:app", "--app-dir", "below").ready(1)
    with client() as asking:
        assert asking.get(server.url).status_code == 200


def test_the_application_is_looked_for_in_the_current_directory(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text((APPS / "mirror.py").read_text())
    server = launch("here:app", "--app-dir", "").ready(1)
    with client() as asking:
        assert asking.get(server.url).status_code == 200
