"""A bench to try steering on: real listeners, bursts of connections, the scoreboard written by hand."""

import contextlib
import mmap
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import get_args

import pytest

from reuseport.errors import HostError
from reuseport.kernel import bpf
from reuseport.kernel.plan import Policy, Words
from reuseport.kernel.steering import Steering
from reuseport.scoreboard import DESKS, ROW_WORDS, SLOT_WORDS
from tests.conftest import PATIENCE

WORDS = Words(
    row=ROW_WORDS, fence=5, serving_desk=6, assigned=7, heartbeat=0, load=1, accepted=7, desks=DESKS
)
LATE_NS, STALE_NS = 25 * 10**6, 10**9
LONG_AGO = 1
NEVER_STALE = 1 << 62

POLICIES: tuple[Policy, ...] = get_args(Policy)


def skip_without_maps() -> None:
    """Skip only where the kernel or our rights rule out every map; a refused program must fail its test."""
    try:
        bpf.Map.array("allowed", 1, 8).close()
    except HostError as error:
        pytest.skip(f"not supported: {error}")


@dataclass
class Group:
    """Listeners of one endpoint; a closed slot's is gone. `kept` holds accepted connections' clients."""

    listeners: dict[int, socket.socket]
    clients: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, port = next(iter(self.listeners.values())).getsockname()[:2]
        return host, port

    def connect(self, count: int) -> None:
        """Start that many connections at once, and wait for none."""
        for _ in range(count):
            family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
            client = socket.socket(family, socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(self.address)
            self.clients.append(client)

    def accept(self, count: int) -> Counter[int]:
        """Accept that many; how many each slot had."""
        found: Counter[int] = Counter()
        with select.epoll() as events:
            slots = {listener.fileno(): slot for slot, listener in self.listeners.items()}
            for fd in slots:
                events.register(fd, select.EPOLLIN)
            while found.total() < count:
                ready = events.poll(PATIENCE)
                assert ready, f"only {found} of {count} connections came"
                for fd, _ in ready:
                    with contextlib.suppress(BlockingIOError):
                        self.listeners[slots[fd]].accept()[0].close()
                        found[slots[fd]] += 1
        assert found.total() == count
        return found

    def burst(self, count: int) -> Counter[int]:
        self.connect(count)
        found = self.accept(count)
        self.hang_up()
        return found

    def one(self) -> int:
        """The slot that gets a single connection."""
        (slot,) = self.burst(1)
        return slot

    def hang_up(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()

    def close(self, slot: int) -> None:
        self.listeners.pop(slot).close()


class Board:
    """The scoreboard as the launcher and the workers would write it."""

    def __init__(self, view: memoryview) -> None:
        self.words = view.cast("B").cast("Q")

    def live(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self.set_desk(slot, WORDS.heartbeat, NEVER_STALE)

    def set(self, slot: int, word: int, value: int) -> None:
        self.words[slot * SLOT_WORDS + word] = value

    def get(self, slot: int, word: int) -> int:
        return self.words[slot * SLOT_WORDS + word]

    def set_desk(self, slot: int, word: int, value: int, desk: int = 0) -> None:
        self.words[slot * SLOT_WORDS + ROW_WORDS * (1 + desk) + word] = value

    def assigned(self, slots: int) -> list[int]:
        return [self.get(slot, WORDS.assigned) for slot in range(slots)]


@dataclass
class Scene:
    steering: Steering
    board: Board
    groups: list[Group]


@contextlib.contextmanager
def scene(
    slots: int,
    policy: Policy,
    hosts: Sequence[str] = ("127.0.0.1",),
    *,
    late_ns: int = LATE_NS,
    stale_ns: int = STALE_NS,
    room: int = 0,
) -> Iterator[Scene]:
    """Every slot of every group with a listener, every slot live; also those there is only room for."""
    room = room or slots
    with contextlib.ExitStack() as cleanup:
        steering = Steering.create(room, slots, policy, late_ns, stale_ns, WORDS, len(hosts))
        cleanup.callback(steering.close)
        view = cleanup.enter_context(mmap.mmap(steering.state_fd, steering.state_bytes))
        board = Board(cleanup.enter_context(memoryview(view)))
        cleanup.callback(board.words.release)
        board.live(range(room))
        groups = []
        for number, host in enumerate(hosts):
            group = Group({})
            cleanup.callback(group.hang_up)
            for slot in range(room):
                listener = listen(host, group.address[1] if group.listeners else 0)
                cleanup.callback(listener.close)
                group.listeners[slot] = listener
                steering.attach(listener, number, slot)
            groups.append(group)
        yield Scene(steering, board, groups)


def listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setblocking(False)
    listener.bind((host, port))
    listener.listen(1024)
    return listener


@contextlib.contextmanager
def counting() -> Iterator[None]:
    try:
        with bpf.statistics_on():
            yield
    except PermissionError:
        pytest.skip("not supported: statistics need CAP_SYS_ADMIN, a stray segment CAP_NET_RAW")


def wait_until(holds: Callable[[], bool]) -> None:
    """For what the kernel does within microseconds and tells nobody of."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
