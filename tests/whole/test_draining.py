"""The application learns that its worker drains, whyever it does, and what would stream for ever ends.

All with a graceful timeout that no test would wait for: nothing here ends by it.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from websockets.sync.client import connect

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import settled, wait_until

ENDLESS = ("--graceful-timeout", "10m")
WAYS = ["/extension", "/asked", "/package", "/server"]


class Stream:
    """One response that goes on; the worker's slot is its first byte."""

    def __init__(self, server: Launched, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self._connection.request("GET", path)
        self._response = self._connection.getresponse()
        self.slot = int(self._response.read(1))

    def rest(self) -> bytes:
        """Whatever comes until its orderly end. Raises IncompleteRead."""
        return self._response.read()

    def goes_on(self) -> bool:
        """Nothing has come, nor an end."""
        readable, _, _ = select.select([self._connection.sock], [], [], 0)
        return not readable

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def stop(server: Launched, slot: int) -> None:
    server.signal(signal.SIGTERM)


def reload(server: Launched, slot: int) -> None:
    server.signal(signal.SIGHUP)


def terminate(server: Launched, slot: int) -> None:
    os.kill(server.workers()[slot], signal.SIGTERM)


def restart(server: Launched, slot: int) -> None:
    command = [sys.executable, "-m", "reuseport", "restart", str(slot), "--pid", str(server.pid)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


@pytest.mark.parametrize("end", [stop, reload, terminate, restart])
def test_every_way_to_learn_of_it_ends_a_stream(launch: Launch, end: Callable[[Launched, int], None]) -> None:
    server = launch("streaming:app", *ENDLESS).ready(1)
    with ExitStack() as streams:
        opened = [Stream(server, path) for path in WAYS]
        for stream in opened:
            streams.callback(stream.close)
        websocket = streams.enter_context(connect(f"ws://127.0.0.1:{server.port}/", open_timeout=PATIENCE))
        assert websocket.recv(PATIENCE) == "0"
        end(server, 0)
        assert [stream.rest() for stream in opened] == [b"bye"] * len(WAYS)
        if end is not stop:  # then WebSockets are closed at once, as by uvicorn
            assert websocket.recv(PATIENCE) == "bye"
    if end is not stop:
        settled(server, 1)
        stop(server, 0)
    assert server.wait() == 0
    assert server.count("Traceback") == 0
    assert server.count("did not end in time") == 0


def test_scaling_down_tells_only_who_goes(launch: Launch) -> None:
    server = launch("streaming:app", "--workers", "2", *ENDLESS).ready(2)
    with ExitStack() as streams:
        opened: list[Stream] = []
        while {stream.slot for stream in opened} != {0, 1}:
            opened.append(Stream(server, "/extension"))
            streams.callback(opened[-1].close)
        server.signal(signal.SIGTTOU)
        assert {stream.rest() for stream in opened if stream.slot == 1} == {b"bye"}
        settled(server, 1)
        stop(server, 0)
        assert {stream.rest() for stream in opened if stream.slot == 0} == {b"bye"}
    assert server.wait() == 0


@pytest.mark.parametrize("handler", ["chain", "replace", "loop", "exit"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_applications_own_handler_is_called_once_and_cannot_cut_a_request_off(
    launch: Launch, loop: str, handler: str
) -> None:
    server = launch("streaming:app", "--loop", loop, *ENDLESS, env={"TEST_HANDLER": handler}).ready(1)
    stream = Stream(server, "/extension")
    server.signal(signal.SIGHUP)
    assert stream.rest() == b"bye"
    stream.close()
    settled(server, 1)
    wait_until(lambda: server.count("heard in slot 0") == 1)
    assert server.stop() == 0
    assert server.count("heard in slot 0") == 2


def test_a_worker_that_is_sent_sigterm_tells_a_chained_handler_once(launch: Launch) -> None:
    server = launch("streaming:app", *ENDLESS, env={"TEST_HANDLER": "chain"}).ready(1)
    stream = Stream(server, "/extension")
    terminate(server, 0)
    assert stream.rest() == b"bye"
    stream.close()
    settled(server, 1)
    wait_until(lambda: server.count("heard in slot 0") == 1)
    assert server.stop() == 0


def test_in_a_process_that_is_no_worker_it_never_comes() -> None:
    code = "import reuseport; print(reuseport.draining.is_set())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def waiting(server: Launched) -> list[tuple[int, str]]:
    """What the status says that drains wait for."""
    command = [sys.executable, "-m", "reuseport", "status", "--json", "--pid", str(server.pid)]
    said = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    found = [one for slot in json.loads(said.stdout)["slots"] for one in slot["waiting"]]
    assert all(one["pid"] != server.workers()[0] and one["seconds"] > 0 for one in found)
    return [(one["requests"], one["oldest"]) for one in found]


def test_a_drain_that_takes_long_says_what_it_waits_for(launch: Launch) -> None:
    server = launch("streaming:app", *ENDLESS).ready(1)
    with ExitStack() as streams:
        for path in ("/deaf", "/deaf", "/deaf%0Aforged"):
            streams.callback(Stream(server, path).close)
        websocket = streams.enter_context(connect(f"ws://127.0.0.1:{server.port}/", open_timeout=PATIENCE))
        assert websocket.recv(PATIENCE) == "0"
        server.signal(signal.SIGHUP)
        server.wait_for(r"slot 0: waiting for 3 requests; the oldest, for \d+ s: GET /deaf$")
        wait_until(lambda: waiting(server) == [(3, "GET /deaf")], lambda: str(waiting(server)))
    # Their clients have gone; the application does not look at that either.
    server.wait_for(r"slot 0: waiting for 3 requests; the oldest, for \d+ s: GET /deaf$")


def test_a_second_reload_does_not_wait_for_the_streams_of_the_first(launch: Launch) -> None:
    server = launch("streaming:app", *ENDLESS).ready(1)
    with ExitStack() as streams:
        first = Stream(server, "/deaf")
        streams.callback(first.close)
        server.signal(signal.SIGHUP)
        server.wait_for("reload: generation 2 serves in every slot")
        second = Stream(server, "/deaf")
        streams.callback(second.close)
        server.signal(signal.SIGHUP)
        server.wait_for("reload: generation 3 serves in every slot")
        # A third would: a slot has three desks. The streams have what they were promised, meanwhile.
        assert first.goes_on()
        assert second.goes_on()
