"""Cheap clients for many connections: plain sockets and one epoll, because they share the server's cores.

Every request is accounted for: answered, with the pid of the worker that did, or failed, with the reason.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.kit.measure import HOST

MOST = 30.0
"""Seconds after which what is not answered has failed."""
ANSWER = 4096
"""Bytes: more than any answer of the application has."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_PID = re.compile(rb"(?i)\r\nx-pid: (\d+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered request. `due` and `at`, when it should have been sent and when its answer was whole, are
    seconds of the monotonic clock."""

    connection: int
    path: str
    due: float
    at: float
    pid: int

    @property
    def latency(self) -> float:
        """Seconds; a request that was sent late has waited all the same."""
        return self.at - self.due


@dataclass(slots=True, eq=False)
class Connection:
    """One connection; `path` is what it waits for, None when it waits for nothing."""

    number: int
    sock: socket.socket
    kept: bool
    path: str | None = None
    due: float = 0.0
    request: bytes = b""
    heard: bytes = b""


@dataclass(slots=True)
class Clients:
    """All connections to one port. Closed with `with`."""

    port: int
    failures: Counter[str] = field(default_factory=Counter)
    _epoll: select.epoll = field(default_factory=select.epoll)
    _open: dict[int, Connection] = field(default_factory=dict)
    _made: int = 0

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self._open.values()):
            self.close(connection)
        self._epoll.close()

    # ── one connection ────────────────────────────────────────────────────────────────────────────────

    def connect(self, path: str, due: float, *, kept: bool = False) -> None:
        """Begin to connect, ask when connected; unless `kept`, the connection ends with the answer."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._made += 1
        connection = self._open[sock.fileno()] = Connection(self._made, sock, kept)
        sock.connect_ex((HOST, self.port))  # EINPROGRESS; whatever else it is, sending says it again
        self._epoll.register(sock, select.EPOLLIN)
        self.ask(connection, path, due)

    def ask(self, connection: Connection, path: str, due: float) -> None:
        """One request; its answer comes out of `turn`."""
        word = "keep-alive" if connection.kept else "close"
        connection.path, connection.due, connection.heard = path, due, b""
        connection.request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: {word}\r\n\r\n".encode()
        self._send(connection)

    def close(self, connection: Connection) -> None:
        """From our side, answered or not."""
        del self._open[connection.sock.fileno()]
        connection.sock.close()

    def waiting(self) -> int:
        """Requests without an answer."""
        return sum(connection.path is not None for connection in self._open.values())

    # ── all of them ───────────────────────────────────────────────────────────────────────────────────

    def turn(self, until: float) -> list[tuple[Connection, Answer]]:
        """What was answered, as soon as something was, or at `until` nothing. A closed connection is gone."""
        # epoll rounds up to milliseconds, select does not: a request would be sent late.
        select.select([self._epoll], [], [], max(0.0, until - time.monotonic()))
        answers = []
        for descriptor, events in self._epoll.poll(0):
            connection = self._open[descriptor]
            if events & select.EPOLLOUT:
                self._epoll.modify(descriptor, select.EPOLLIN)
                self._send(connection)
            elif answer := self._receive(connection):
                answers.append((connection, answer))
        return answers

    def answers(self, patience: float = MOST) -> list[tuple[Connection, Answer]]:
        """Everything that is asked, answered; what is not within so many seconds has failed."""
        deadline = time.monotonic() + patience
        answers = []
        while self.waiting() and time.monotonic() < deadline:
            answers += self.turn(deadline)
        for connection in list(self._open.values()):
            if connection.path is not None:
                self._fail(connection, "no answer")
        return answers

    def _send(self, connection: Connection) -> None:
        try:
            connection.sock.send(connection.request)  # whole: it is shorter than any buffer
        except BlockingIOError:
            self._epoll.modify(connection.sock, select.EPOLLOUT)  # not connected yet
        except OSError as error:
            self._fail(connection, type(error).__name__)

    def _receive(self, connection: Connection) -> Answer | None:
        try:
            some = connection.sock.recv(ANSWER)
        except OSError as error:
            self._fail(connection, type(error).__name__)
            return None
        if connection.path is None or not some:
            # Between two requests the server may only close; then as well a kept connection is lost.
            self._fail(connection, "closed" if connection.path is None else "closed without an answer")
            return None
        connection.heard += some
        head, end, body = connection.heard.partition(b"\r\n\r\n")
        length, pid = _LENGTH.search(head), _PID.search(head)
        if not end or (length and len(body) < int(length[1])):
            return None
        if not head.startswith(b"HTTP/1.1 200 ") or length is None or pid is None:
            self._fail(connection, head.partition(b"\r\n")[0].decode(errors="replace"))
            return None
        answer = Answer(connection.number, connection.path, connection.due, time.monotonic(), int(pid[1]))
        connection.path = None
        if not connection.kept:
            self.close(connection)
        return answer

    def _fail(self, connection: Connection, reason: str) -> None:
        self.failures[reason] += 1
        self.close(connection)


# ── loads ─────────────────────────────────────────────────────────────────────────────────────────────


def at_once(
    clients: Clients, path: str, count: int, *, kept: bool = False
) -> list[tuple[Connection, Answer]]:
    """So many new connections in one moment, each with one request."""
    now = time.monotonic()
    for _ in range(count):
        clients.connect(path, now, kept=kept)
    return clients.answers()


def on_schedule(clients: Clients, schedule: Iterable[tuple[float, str]]) -> list[Answer]:
    """A new connection per request, each at its time in seconds from now, whatever became of the others."""
    begin = time.monotonic()
    answers = []
    for offset, path in schedule:
        due = begin + offset
        while time.monotonic() < due:
            answers += clients.turn(due)
        clients.connect(path, due)
    answers += clients.answers()
    return [answer for _, answer in answers]


def on_schedule_kept(
    clients: Clients,
    connections: Iterable[Connection],
    schedule: Iterable[tuple[float, str]],
    patience: float = MOST,
) -> list[Answer]:
    """Each request at its time on a connection that is free, or, late, on the first that becomes so."""
    begin = time.monotonic()
    free, late = deque(connections), deque[tuple[str, float]]()
    answers = []

    def turn(until: float) -> None:
        for connection, answer in clients.turn(until):
            answers.append(answer)
            if late:
                clients.ask(connection, *late.popleft())
            else:
                free.append(connection)

    for offset, path in schedule:
        due = begin + offset
        while time.monotonic() < due:
            turn(due)
        while free and free[0].sock.fileno() < 0:  # the server closed it, which has been counted
            free.popleft()
        if free:
            clients.ask(free.popleft(), path, due)
        else:
            late.append((path, due))
    deadline = time.monotonic() + patience
    while (late or clients.waiting()) and time.monotonic() < deadline:
        turn(deadline)
    if late:
        clients.failures["not sent"] += len(late)
    return [*answers, *(answer for _, answer in clients.answers(0.0))]


def closed_loop(clients: Clients, paths: Sequence[tuple[Connection, str]], seconds: float) -> list[Answer]:
    """Each connection asks for its path, and again as soon as it is answered. Ends when all are answered."""
    again = {connection.number: path for connection, path in paths}
    end = time.monotonic() + seconds
    answers: list[Answer] = []
    for connection, path in paths:
        clients.ask(connection, path, time.monotonic())
    while time.monotonic() < end:
        for connection, answer in clients.turn(end):
            answers.append(answer)
            clients.ask(connection, again[connection.number], answer.at)
    return [*answers, *(answer for _, answer in clients.answers())]


# ── what answers say ──────────────────────────────────────────────────────────────────────────────────


def by_worker(answers: Iterable[Answer]) -> list[int]:
    """How many each worker gave, most first; a worker that gave none is not among them."""
    return sorted(Counter(answer.pid for answer in answers).values(), reverse=True)


def percentile(figures: Iterable[float], share: float) -> float:
    """The figure that so large a share of them is not above. Raises ValueError when there are none."""
    ordered = sorted(figures)
    if not ordered:
        raise ValueError("no answer, so no percentile")
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
