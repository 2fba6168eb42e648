"""The PROXY protocol before the real command: by real proxies, and by hand, from outside."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.sync.client import connect as websocket

from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import GET, Line, wait_until
from tests.whole.proxies import ANNOUNCING
from tests.worker.protocol.test_announced import CLIENT, HEADERS, NONE, SERVER, SSL, inet, version_2

FLAGS = ("--proxy-protocol", "--workers", "2", "--arrival-timeout", "1s")
HEADER = HEADERS["TCP4"][0]
BLOCK = b"GET /?block=5 HTTP/1.1\r\nHost: test\r\n\r\n"


def announced(port: int, header: bytes, host: str = "127.0.0.1") -> Line:
    line = Line(port, host=host)
    line.send(header)
    return line


def unannounced(server: Launched) -> int:
    return sum(slot["turned_away"]["unannounced"] for slot in Control(server).status()["slots"])


# ── real proxies ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ANNOUNCING)
def test_behind_a_real_proxy_the_client_is_the_clients(name: str, launch: Launch, tmp_path: Path) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    with ANNOUNCING[name].before(server.port, tmp_path) as front:
        with Line(front) as line:
            here = line._socket.getsockname()
            for _ in range(3):
                who = line.ask().who
                assert (who["client"], who["server"]) == ([here[0], here[1]], ["127.0.0.1", front])
        with websocket(f"ws://127.0.0.1:{front}/") as talk:
            who = json.loads(talk.recv(PATIENCE))
            assert who["client"] == list(talk.socket.getsockname())
    assert server.stop() == 0


@pytest.mark.parametrize("name", ANNOUNCING)
def test_it_comes_before_tls(name: str, launch: Launch, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    server = launch("known:app", *FLAGS, "--ssl-certfile", str(tmp_path / "both.pem")).ready(2)
    with ANNOUNCING[name].before(server.port, tmp_path) as front, Line(front, context) as line:
        who = line.ask().who
        assert (who["client"], who["scheme"]) == (list(line._socket.getsockname()), "https")
    assert server.stop() == 0


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_every_header_is_understood_and_what_is_none_is_closed(launch: Launch, http: str) -> None:
    server = launch("known:app", *FLAGS, "--http", http).ready(2)
    for name, (header, said) in HEADERS.items():
        with announced(server.port, header) as line:
            who = line.ask().who
            own = list(line._socket.getsockname())
        expected = own if not said.known else said.client and list(said.client)
        assert who["client"] == expected, name
        assert who["scheme"] == ("https" if said.secure else "http"), name
    for name, garbage in NONE.items():
        with announced(server.port, garbage) as line, contextlib.suppress(ConnectionResetError):
            assert line.ends(), name
    assert unannounced(server) == len(NONE)
    with announced(server.port, HEADER) as line:
        assert line.ask().who["client"] == list(CLIENT)
    assert server.stop() == 0


def test_it_is_understood_wherever_it_is_cut_and_whatever_comes_with_it(launch: Launch) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    for header in (HEADER, HEADERS["checksum"][0]):
        for cut in range(1, len(header) + len(GET)):
            with Line(server.port) as line:
                line._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line.send((header + GET)[:cut])
                if cut % 10 == 0:
                    # The others follow too quickly, now and then, to be read by themselves.
                    with contextlib.suppress(TimeoutError):
                        line._socket.settimeout(0.01)
                        line._socket.recv(1, socket.MSG_PEEK)
                    line._socket.settimeout(PATIENCE)
                line.send((header + GET)[cut:])
                assert line.answer().who["client"] == list(CLIENT)
    assert server.stop() == 0


def test_it_is_read_once(launch: Launch) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    with announced(server.port, HEADER + HEADERS["TCP6"][0]) as line:
        assert line.head()[0] == 400
    with announced(server.port, HEADER) as line:
        assert line.ask().status == 200
        line.send(HEADERS["TCP6"][0])
        assert line.head()[0] == 400
    assert server.stop() == 0


def test_who_announces_nothing_is_closed_in_time_and_others_are_served(launch: Launch) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    with ExitStack() as stack:
        silent = [stack.enter_context(Line(server.port)) for _ in range(10)]
        for length, line in enumerate(silent):
            line.send(HEADER[:length])
        with announced(server.port, HEADER) as line:
            assert line.ask().status == 200
        assert all(line.ends() for line in silent)
    with Line(server.port) as gone:
        gone.send(HEADER[:5])
    wait_until(lambda: unannounced(server) == 11, lambda: str(unannounced(server)))
    assert server.stop() == 0


def test_who_is_not_trusted_announces_nobody(launch: Launch) -> None:
    server = launch("known:app", *FLAGS, "--forwarded-allow-ips", "192.0.2.1").ready(2)
    with Line(server.port) as line:
        assert line.ask().who["client"] == list(line._socket.getsockname())
    with announced(server.port, HEADER) as line:
        assert line.head()[0] == 400
    assert server.stop() == 0


def test_what_the_client_says_of_itself_is_not_trusted_through_a_proxy(launch: Launch) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    with announced(server.port, HEADER) as line:
        line.send(GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n")
        who = line.answer().who
        assert (who["client"], who["scheme"]) == (list(CLIENT), "http")
    assert server.stop() == 0


def test_over_a_unix_socket_and_on_ipv6(launch: Launch, tmp_path: Path) -> None:
    server = launch("known:app", *FLAGS, "--bind", f"unix:{tmp_path / 'it'}", "--bind", "[::]:0").ready(2)
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(PATIENCE)
        talk.connect(str(tmp_path / "it"))
        talk.sendall(HEADER + GET)
        assert b'"client": ["192.0.2.7", 40000]' in talk.recv(10_000)
    port = int(server.wait_for_first(r"http://\[::\]:(\d+)")[1])
    for host in ("127.0.0.1", "::1"):  # the first as ::ffff:127.0.0.1
        with announced(port, HEADER, host) as line:
            assert line.ask().who["client"] == list(CLIENT)
    assert server.stop() == 0


# ── wherever the connection goes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_it_goes_along_in_a_reload(launch: Launch, http: str) -> None:
    server = launch("known:app", *FLAGS, "--http", http).ready(2)
    header = version_2(0x11, inet(CLIENT, SERVER) + (SSL if http == "httptools" else b""))
    scheme = "https" if http == "httptools" else "http"
    with ExitStack() as stack:
        lines = [stack.enter_context(announced(server.port, header)) for _ in range(6)]
        for generation in (1, 2, 3):
            for line in lines:
                there = False
                while not there:  # who leaves passes it on in a moment
                    who = line.ask().who
                    assert (who["client"], who["server"], who["scheme"]) == (
                        list(CLIENT),
                        list(SERVER),
                        scheme,
                    )
                    there = who["generation"] == str(generation)
            if generation < 3:
                server.signal(signal.SIGHUP)
                server.wait_for(f"generation {generation + 1} serves in every slot")
        with_websocket = GET.replace(b"GET / ", b"GET /ws ")[:-2] + (
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        lines[0].send(with_websocket)
        assert lines[0].head()[0] == 101
        size = lines[0].read(2)[1]
        if size == 126:
            size = int.from_bytes(lines[0].read(2), "big")
        told: dict[str, Any] = json.loads(lines[0].read(size))
        assert (told["client"], told["scheme"]) == (list(CLIENT), {"https": "wss", "http": "ws"}[scheme])
    assert server.stop() == 0


def test_it_goes_along_in_a_rescue(launch: Launch) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    with ExitStack() as stack:
        lines = [stack.enter_context(announced(server.port, HEADER)) for _ in range(12)]
        slots = [line.ask().who["slot"] for line in lines]
        blocker = lines[0]
        beside = [line for line, slot in zip(lines, slots, strict=True) if slot == slots[0]][1:]
        assert beside
        blocker.send(BLOCK)
        server.wait_for("the event loop is blocked")
        answers: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda each=each: answers.append(each.ask().who)) for each in beside
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert [who["client"] for who in answers] == [list(CLIENT)] * len(beside)
        assert blocker.answer().who["client"] == list(CLIENT)
    rescued = sum(slot["handoffs"]["rescued"] for slot in Control(server).status()["slots"])
    assert rescued or "3.13t" in server.output
    assert server.stop() == 0


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("size", [10, 20_000], ids=["in a packet", "in a file"])
def test_it_goes_along_with_a_session(launch: Launch, http: str, size: int) -> None:
    limits = ("--limit-request-head", "none", "--h11-max-incomplete-event-size", "100000")
    server = launch("known:app", *FLAGS, "--http", http, "--sticky", "header:x-session", *limits).ready(2)
    control = Control(server)

    def moved() -> int:
        return sum(slot["sticky"]["moved"] for slot in control.status()["slots"])

    with ExitStack() as stack:
        # Sooner or later one is another slot's than the session.
        deadline = time.monotonic() + PATIENCE
        while not moved():
            assert time.monotonic() < deadline, "nothing was moved, so this shows nothing"
            line = stack.enter_context(announced(server.port, HEADER))
            for number in range(4):
                line.send(GET[:-2] + b"X-Session: %d\r\nX-Long: %s\r\n\r\n" % (number, b"x" * size))
                assert line.answer().who["client"] == list(CLIENT)
    assert server.stop() == 0


def test_a_stop_introduces_who_has_been_accepted(launch: Launch) -> None:
    server = launch("known:app", *FLAGS).ready(2)
    with announced(server.port, HEADER[:20]) as line:
        with announced(server.port, HEADER) as other:
            assert other.ask().status == 200
        server.signal(signal.SIGTERM)
        line.send(HEADER[20:] + GET)
        assert line.answer().who["client"] == list(CLIENT)
    assert server.wait() == 0
