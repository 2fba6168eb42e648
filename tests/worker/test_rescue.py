"""The rescue thread beside a real loop, a real server and real connections, without a launcher."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop

from reuseport.scoreboard import Desk, Scoreboard
from reuseport.worker import rescue
from reuseport.worker.meter import Meter
from reuseport.worker.passing import RESCUED, claim, pass_on
from reuseport.worker.rescue import FRESH, SCHEDSTAT, Rescue, Waits, turning
from tests.worker.served import PATIENCE, Served, request

Factory = Callable[[], asyncio.AbstractEventLoop]
both_loops = pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
both_parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


class Scene:
    """A served application whose `/block` lasts until `released`; clients act in the test's thread."""

    def __init__(self, factory: Factory, http: str = "httptools", *, helped: bool = True) -> None:
        self.factory, self.http, self.helped = factory, http, helped
        self.blocked, self.released = threading.Event(), threading.Event()
        self.receiving, self.sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.receiving.settimeout(PATIENCE)
        self._opened, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._clients: list[socket.socket] = []
        self.blocks: Callable[[], object] = self.sleep

    # ── in the loop ──

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/block":
            self.blocked.set()
            self.blocks()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def sleep(self) -> None:
        self.released.wait(PATIENCE)

    def spin(self) -> None:
        while not self.released.is_set():
            pass

    async def _serve(self) -> None:
        async with Served(self.app, self.http, interface="asgi3") as served:
            self.served = served
            self.loop = asyncio.get_running_loop()
            rescue = Rescue(self.sending.dup().detach(), served.state, served.desk, lambda: self.helped)
            rescue.start(self.loop)
            Meter(served.desk, served.state).start(self.loop, [], expect=rescue.expect)
            self._opened.set()
            await asyncio.to_thread(self._over.wait)
            rescue.end()
            rescue.end()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self.factory) as runner:
            runner.run(self._serve())

    # ── in the test ──

    def client(self) -> socket.socket:
        host, port, *_ = self.served.address
        client = socket.create_connection((host, port), PATIENCE)
        self._clients.append(client)
        return client

    def kept(self, number: int = 1) -> list[socket.socket]:
        """So many connections with an answer each."""
        clients = [self.client() for _ in range(number)]
        for client in clients:
            client.sendall(request())
            assert answered(client)
        return clients

    def block(self) -> socket.socket:
        """The connection that does it."""
        blocker = self.client()
        blocker.sendall(request("/block"))
        assert self.blocked.wait(PATIENCE)
        return blocker

    def rescued(self) -> socket.socket:
        """The next connection out of the inbox."""
        packet, fds, _, _ = socket.recv_fds(self.receiving, 16, 2)
        assert (packet, len(fds)) == (RESCUED, 1)
        return socket.socket(fileno=fds[0])

    def nobody_comes(self) -> bool:
        """Nothing is in the inbox."""
        self.receiving.setblocking(False)
        try:
            self.receiving.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.receiving.settimeout(PATIENCE)
        return False

    def wait_until(self, question: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not question():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._opened.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        for client in self._clients:
            client.close()
        self._over.set()
        self._thread.join(PATIENCE)
        self.receiving.close()
        self.sending.close()


def answered(client: socket.socket) -> bool:
    """The whole answer has come."""
    seen = b""
    while not seen.endswith(b"\r\n\r\nok"):
        more = client.recv(1000)
        if not more:
            return False
        seen += more
    return seen.startswith(b"HTTP/1.1 200 ")


def answer(connection: socket.socket) -> None:
    """As the worker does that took it up: read what waits, and answer."""
    connection.settimeout(PATIENCE)
    assert connection.recv(1000) == request()
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


@both_loops
@both_parsers
@pytest.mark.parametrize("way", ["sleep", "spin"])
def test_who_asks_meanwhile_goes_to_the_inbox(factory: Factory, http: str, way: str) -> None:
    with Scene(factory, http) as scene:
        scene.blocks = getattr(scene, way)
        kept, new = scene.kept(3), scene.client()
        quiet = scene.kept()[0]
        scene.wait_until(lambda: len(scene.served.state.connections) == 5)
        blocker = scene.block()
        for client in (*kept, new):
            client.sendall(request())
            with scene.rescued() as connection:
                answer(connection)
                assert answered(client)
        scene.wait_until(lambda: scene.served.desk[Desk.RESCUED] == 4)
        assert scene.nobody_comes(), "who asks for nothing stays"
        scene.released.set()
        assert answered(blocker)
        # Its own duplicates of the others are closed, without an end to the connections.
        quiet.sendall(request())
        assert answered(quiet)
        assert len(scene.served.state.connections) == 2
        scene.wait_until(lambda: scene.served.desk[Desk.LOAD] == 0)


@both_loops
def test_a_connection_that_is_rescued_lives_where_it_went(factory: Factory) -> None:
    with Scene(factory) as scene:
        [client] = scene.kept()
        blocker = scene.block()
        client.sendall(request())
        with scene.rescued() as connection:
            scene.released.set()
            assert answered(blocker)
            scene.wait_until(lambda: len(scene.served.state.connections) == 1)
            answer(connection)
            assert answered(client)
            client.sendall(request())
            answer(connection)
            assert answered(client)


@both_loops
def test_what_has_begun_stays(factory: Factory) -> None:
    with Scene(factory) as scene:
        half, *asking = scene.kept(3)
        half.sendall(request()[:20])
        connections: list[Any] = list(scene.served.state.connections)
        scene.wait_until(lambda: not all(each.idle() for each in connections))
        gone, asks = asking
        blocker = scene.block()
        gone.shutdown(socket.SHUT_WR)
        half.sendall(request()[20:])
        asks.sendall(request())
        with scene.rescued() as connection:
            answer(connection)
            assert answered(asks)
        scene.released.set()
        assert answered(blocker)
        assert answered(half)
        assert scene.nobody_comes()
        scene.wait_until(lambda: scene.served.desk[Desk.RESCUED] == 1)


@both_loops
def test_where_nobody_could_foster_all_stay(factory: Factory) -> None:
    with Scene(factory, helped=False) as scene:
        [client] = scene.kept()
        blocker = scene.block()
        client.sendall(request())
        time.sleep(0.2)  # long enough for it to have gone
        assert scene.nobody_comes()
        scene.released.set()
        assert answered(blocker)
        assert answered(client)


@both_loops
def test_while_nobody_asks_it_sleeps(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    over = Rescue._over

    def counted(self: Rescue, done: tuple[int, int]) -> bool:
        looks.append(time.monotonic())
        return over(self, done)

    monkeypatch.setattr(Rescue, "_over", counted)
    with Scene(factory) as scene:
        scene.blocks = scene.spin
        scene.kept(2)
        scene.block()
        scene.wait_until(lambda: bool(looks))
        scene.wait_until(lambda: looks[-1] - looks[0] > 2 * FRESH)
        lists = (looks[-1] - looks[0]) / FRESH + 1
        assert len(looks) <= 3 * lists, "a few for each list of the connections"


@both_loops
def test_who_asks_when_the_loop_has_just_answered_waits_for_it(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is busy now and no more blocked: it may answer all in one turn."""
    with Scene(factory) as scene:
        stood_in, again = threading.Event(), threading.Event()
        over, idle_ones = Rescue._over, Rescue._idle_ones

        def listed(self: Rescue) -> Any:
            stood_in.set()
            return idle_ones(self)

        def looked(self: Rescue, done: tuple[int, int]) -> bool:
            found = over(self, done)
            if found:
                again.set()
            return found

        monkeypatch.setattr(Rescue, "_idle_ones", listed)
        [client] = scene.kept()
        scene.block()
        assert stood_in.wait(PATIENCE)
        monkeypatch.setattr(Rescue, "_over", looked)
        monkeypatch.setattr(rescue, "SILENT", PATIENCE)
        # As an answer within the turn does, which sets no alarm.
        scene.served.desk[Desk.HEARTBEAT] = time.monotonic_ns()
        client.sendall(request())
        assert again.wait(PATIENCE)
        assert scene.nobody_comes()
        scene.released.set()
        assert answered(client)
        assert scene.served.desk[Desk.RESCUED] == 0


@both_loops
def test_a_full_inbox_leaves_them_where_they_are(factory: Factory) -> None:
    with Scene(factory) as scene:
        [client] = scene.kept()
        blocker = scene.block()
        with contextlib.suppress(BlockingIOError):
            while True:
                scene.sending.send(b"x", socket.MSG_DONTWAIT)
        client.sendall(request())
        time.sleep(0.2)
        scene.released.set()
        assert answered(blocker)
        assert answered(client)
        assert scene.served.desk[Desk.RESCUED] == 0


def test_only_one_passes_a_connection_on() -> None:
    with Scene(uvloop.new_event_loop) as scene:
        [client] = scene.kept()
        [connection] = scene.served.state.connections
        assert claim(connection)  # type: ignore[arg-type]
        assert not claim(connection)  # type: ignore[arg-type]
        assert not pass_on(connection, scene.sending, scene.served.desk)  # type: ignore[arg-type]
        assert scene.nobody_comes()
        scene.served.state.connections.add(connection)
        client.sendall(request())
        assert answered(client)


@both_loops
@pytest.mark.parametrize("interval", [1e-6, 0.005, 1.0])
def test_whatever_the_switch_interval_each_is_answered_once(factory: Factory, interval: float) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        with Scene(factory) as scene:
            clients = scene.kept(20)
            blocker = scene.block()
            for client in clients:
                client.sendall(request())
            with contextlib.ExitStack() as taken:
                for _ in clients:
                    answer(taken.enter_context(scene.rescued()))
                assert all(map(answered, clients))
            scene.released.set()
            assert answered(blocker)
    finally:
        sys.setswitchinterval(before)


def test_siblings_that_turn_are_help() -> None:
    board = Scoreboard.create(3)
    with contextlib.closing(board):
        assert not turning(board, 1)
        board.desk(1, 0)[Desk.HEARTBEAT] = time.monotonic_ns()
        assert not turning(board, 1), "it is ourselves"
        board.desk(2, 1)[Desk.HEARTBEAT] = time.monotonic_ns() - 2_000_000_000
        assert not turning(board, 1)
        board.desk(0, 1)[Desk.HEARTBEAT] = time.monotonic_ns()
        assert turning(board, 1)


def test_waits_for_a_cpu_are_looked_up_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with contextlib.closing(Waits()) as waits, Path(SCHEDSTAT).open(encoding="ascii") as stream:
        first = waits.so_far()
        assert first <= int(stream.read().split()[1]) <= waits.so_far()
    figures = tmp_path / "figures"
    figures.write_text("1 20 3\n", encoding="ascii")
    monkeypatch.setattr(rescue, "SCHEDSTAT", str(figures))
    with contextlib.closing(Waits()) as waits:
        assert waits.so_far() == 20
        figures.write_text("1 300 3\n", encoding="ascii")
        assert waits.so_far() == 300


@pytest.mark.parametrize("text", [None, "", "12", "not counted here"])
def test_where_nobody_counts_there_were_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    monkeypatch.setattr(rescue, "SCHEDSTAT", str(tmp_path / "figures"))
    if text is not None:
        (tmp_path / "figures").write_text(text, encoding="ascii")
    with contextlib.closing(Waits()) as waits:
        assert (*waits.descriptors(), waits.so_far()) == (0,)
