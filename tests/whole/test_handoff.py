"""A reload that a client cannot see: its connection goes on with the successor, not a byte astray."""

from __future__ import annotations

import resource
import signal
import ssl
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import EXITED, GET, Line, Lines, settled, wait_until
from tests.whole.traffic import wait_for_lines

HUP = signal.SIGHUP
PARSERS = pytest.mark.parametrize("http", ["httptools", "h11"])


def begin_drain(server: Launched) -> None:
    """Reload; return once the predecessor in slot 0 drains."""
    server.signal(HUP)
    server.wait_for("slot 0 is ready .* reason: reload")
    # The first of this server: the launcher's lines may come later than a worker's.
    server.wait_for_first("slot 0: Shutting down")


@PARSERS
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_connections_go_on_through_three_reloads(launch: Launch, http: str, loop: str) -> None:
    server = launch("plain:app", "--workers", "1", "--http", http, "--loop", loop).ready(1)
    with Lines() as lines:
        spoken, silent = lines.open(server.port, 8), lines.open(server.port, 4)
        assert {line.ask().who["generation"] for line in spoken} == {"1"}
        for generation in (2, 3, 4):
            server.signal(HUP)
            server.wait_for(f"generation {generation} serves in every slot")
            wait_for_lines(server, EXITED, generation - 1)
        newest = server.workers()[0]
        for line in (*spoken, *silent, *spoken):
            answer = line.ask()
            assert (answer.who["generation"], answer.who["pid"]) == ("4", newest)
            assert "connection" not in answer.headers
    assert server.stop() == 0
    assert "Traceback" not in server.output


@PARSERS
def test_half_a_request_is_finished_where_it_began(launch: Launch, http: str) -> None:
    server = launch("plain:app", "--workers", "1", "--http", http).ready(1)
    with Lines() as lines:
        line, crowded, other = lines.open(server.port, 3)
        line.send(GET[:9])
        crowded.send(GET + GET[:20])
        assert crowded.answer().who["generation"] == "1"
        other.ask()  # so the worker has read what came before
        begin_drain(server)
        wait_until(lambda: other.ask().who["generation"] == "2")  # the idle ones have gone over
        line.send(GET[9:])
        crowded.send(GET[20:])
        assert line.answer().who["generation"] == crowded.answer().who["generation"] == "1"
        settled(server, 1)
        assert line.ask().who["generation"] == crowded.ask().who["generation"] == "2"
    assert server.stop() == 0


@PARSERS
def test_pipelined_requests_are_answered_in_their_order(launch: Launch, http: str, tmp_path: Path) -> None:
    server = launch("ample:app", "--workers", "1", "--http", http).ready(1)
    release = tmp_path / "release"
    with Line(server.port) as line:
        hold = GET.replace(b"/", f"/hold?until={release}".encode(), 1)
        line.send(hold + GET.replace(b"/", b"/bytes?n=7", 1) + GET)
        server.wait_for("/hold begins")
        begin_drain(server)
        release.touch()
        assert line.answer().who["generation"] == "1"
        assert line.answer().body == b"x" * 7
        # The last one may be on its way to either, never lost and never twice.
        assert line.answer().who["generation"] in {"1", "2"}
        settled(server, 1)
        assert line.ask().who["generation"] == "2"
    assert server.stop() == 0


@PARSERS
def test_a_slow_reader_gets_all_of_a_large_answer(launch: Launch, http: str) -> None:
    size = 32 << 20  # more than two socket buffers hold
    server = launch("ample:app", "--workers", "1", "--http", http).ready(1)
    with Lines() as lines:
        line, other = lines.open(server.port, 2)
        line.send(GET.replace(b"/", f"/bytes?n={size}".encode(), 1))
        assert line.head()[1]["content-length"] == str(size)
        begin_drain(server)
        wait_until(lambda: other.ask().who["generation"] == "2")
        assert line.read(size) == b"x" * size
        settled(server, 1)
        assert line.ask().who["generation"] == "2"
    assert server.stop() == 0


@PARSERS
def test_a_body_on_its_way_arrives_where_it_began(launch: Launch, http: str) -> None:
    server = launch("patient:app", "--workers", "1", "--http", http).ready(1)
    with Line(server.port) as line:
        line.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
        assert line.head()[0] == 200
        begin_drain(server)
        line.send(b"67890" + GET)
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += line.read(1)
        assert b"complete\n" in rest
        settled(server, 1)
        assert line.head()[0] == 200
    assert server.stop() == 0


@PARSERS
def test_a_body_that_nobody_waits_for_delays_the_handoff_until_it_is_there(launch: Launch, http: str) -> None:
    server = launch("plain:app", "--workers", "1", "--http", http).ready(1)
    with Lines() as lines:
        line, other = lines.open(server.port, 2)
        line.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
        assert line.answer().who["generation"] == "1"  # before its body is complete
        begin_drain(server)
        wait_until(lambda: other.ask().who["generation"] == "2")
        assert len(server.children()) == 2
        line.send(b"67890")
        settled(server, 1)
        assert line.ask().who["generation"] == "2"
    assert server.stop() == 0


@PARSERS
def test_a_request_that_runs_finishes_and_its_connection_follows(
    launch: Launch, http: str, tmp_path: Path
) -> None:
    server = launch("diary:app", "--workers", "1", "--http", http).ready(1)
    release = tmp_path / "release"
    with Line(server.port) as line:
        line.send(GET.replace(b"/", f"/hold?until={release}".encode(), 1))
        server.wait_for("/hold begins")
        begin_drain(server)
        release.touch()
        answer = line.answer()
        assert answer.who["generation"] == "1"
        assert "connection" not in answer.headers
        settled(server, 1)
        assert line.ask().who["generation"] == "2"
    assert server.stop() == 0


def test_streams_and_websockets_live_on_until_the_patience_ends(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--graceful-timeout", "3s").ready(1)
    with (
        Line(server.port) as stream,
        connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE, close_timeout=1) as talk,
    ):
        stream.send(GET.replace(b"/", b"/sse", 1))
        assert stream.head()[0] == 200
        begin_drain(server)
        for number in range(5):
            talk.send(str(number))
            assert talk.recv(PATIENCE) == str(number)
        tick = b"c\r\ndata: tick\n\n\r\n"
        assert stream.read(10 * len(tick)) == 10 * tick
        with pytest.raises(ConnectionClosed):
            talk.recv(PATIENCE)
        assert talk.close_code == 1012
        while not stream.ends():
            pass  # ticks that came meanwhile
        settled(server, 1)
    assert server.stop() == 0


class Encrypted:
    """A server's certificate and a client that trusts it."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        path = directory / "both.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        self.arguments = ("--ssl-certfile", str(path))
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)


@PARSERS
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tls_says_that_it_will_close_and_never_resets(
    launch: Launch, http: str, loop: str, tmp_path: Path
) -> None:
    tls = Encrypted(tmp_path)
    arguments = ("--workers", "1", "--http", http, "--loop", loop, "--timeout-keep-alive", "2")
    server = launch("plain:app", *arguments, *tls.arguments).ready(1)
    with Lines() as lines:
        busy, idle = lines.open(server.port, 2, tls.context)
        silent = lines.enter_context(Line(server.port, tls.context))
        greeting = lines.enter_context(Line(server.port))  # accepted, and its handshake not begun
        assert busy.ask().who["generation"] == idle.ask().who["generation"] == "1"
        begin_drain(server)
        answer = busy.ask()
        assert (answer.who["generation"], answer.headers["connection"]) == ("1", "close")
        assert busy.ends()
        assert idle.ends()
        assert silent.ends()
        greeting.encrypt(tls.context)
        assert greeting.ask().status == 200
    settled(server, 1)
    assert server.stop() == 0


def test_a_tls_handshake_that_has_begun_is_waited_for(launch: Launch, tmp_path: Path) -> None:
    tls = Encrypted(tmp_path)
    server = launch("plain:app", "--workers", "1", *tls.arguments).ready(1)
    with Lines() as lines:
        greeting = lines.enter_context(Line(server.port))
        with Line(server.port, tls.context) as other:
            other.ask()  # so the one before is accepted
        begin_drain(server)
        for _ in range(30):  # longer than it takes to leave when nobody is there
            with Line(server.port, tls.context) as newer:
                assert newer.ask().who["generation"] == "2"
        greeting.encrypt(tls.context)
        answer = greeting.ask()
        assert (answer.who["generation"], answer.headers["connection"]) == ("1", "close")
    settled(server, 1)
    assert server.stop() == 0


def test_two_thousand_idle_connections_live_through_a_reload(launch: Launch) -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = min(2000, most // 4)
    server = launch("plain:app", "--workers", "2", "--no-access-log", "--timeout-keep-alive", "600").ready(2)
    with Lines() as lines:
        opened = lines.open(server.port, number)
        assert {line.ask().who["generation"] for line in opened} == {"1"}
        server.signal(HUP)
        server.wait_for("generation 2 serves in every slot")
        wait_for_lines(server, EXITED, 2)
        assert {line.ask().who["generation"] for line in opened} == {"2"}
    assert server.stop() == 0
