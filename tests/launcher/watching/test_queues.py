"""Who waits for a worker that does not turn: real listeners, and a clock that the test moves."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest

from reuseport.launcher.watching.queues import QUICK, SLOW, Queues
from tests.conftest import PATIENCE as LONG

NOW = 1000.0
PATIENCE = SLOW.patience
ENOUGH = PATIENCE + 0.001


class Scene:
    """Two slots that listen, and the clients of each."""

    def __init__(self, cleanup: contextlib.ExitStack) -> None:
        self.queues = cleanup.enter_context(contextlib.closing(Queues()))
        self.listeners = [cleanup.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        for slot, listener in enumerate(self.listeners):
            self.queues.watch(slot, [listener])
        self._cleanup = cleanup

    def connect(self, slot: int) -> None:
        client = socket.create_connection(self.listeners[slot].getsockname(), LONG)
        self._cleanup.enter_context(client)

    def stuck(self, first: int, second: int, after: float) -> set[int] | None:
        found = self.queues.look({0: first, 1: second}, NOW + after, PATIENCE)
        return None if found is None else set(found)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as cleanup:
        yield Scene(cleanup)


def test_nobody_waits(scene: Scene) -> None:
    assert scene.stuck(1, 1, 0.0) is None
    assert scene.stuck(1, 1, ENOUGH) is None


def test_who_does_not_turn_while_somebody_waits_is_stuck(scene: Scene) -> None:
    scene.connect(0)
    assert scene.stuck(1, 1, 0.0) == set()
    assert scene.stuck(1, 1, PATIENCE - 0.01) == set()
    assert scene.stuck(1, 1, ENOUGH) == {0}
    assert scene.stuck(1, 1, 10.0) == {0}


def test_who_turns_is_busy_and_not_stuck(scene: Scene) -> None:
    scene.connect(0)
    scene.connect(1)
    assert scene.stuck(1, 1, 0.0) == set()
    assert scene.stuck(2, 1, ENOUGH) == {1}
    assert scene.stuck(2, 2, 2 * ENOUGH) == {0}


def test_patience_begins_anew_with_an_empty_queue(scene: Scene) -> None:
    scene.connect(0)
    assert scene.stuck(1, 1, 0.0) == set()
    scene.listeners[0].accept()[0].close()
    assert scene.stuck(1, 1, 0.01) is None
    scene.connect(0)
    assert scene.stuck(1, 1, ENOUGH) == set()
    assert scene.stuck(1, 1, 2 * ENOUGH) == {0}


def test_a_slot_without_a_worker_is_nobody_s(scene: Scene) -> None:
    scene.connect(1)
    assert scene.queues.look({0: 1}, NOW, PATIENCE) == frozenset()
    assert scene.queues.look({0: 1}, NOW + 1, PATIENCE) == frozenset()


def test_with_somebody_to_help_patience_is_short(scene: Scene) -> None:
    scene.connect(0)
    pulses = {0: 1, 1: 1}
    assert scene.queues.look(pulses, NOW, QUICK.patience) == frozenset()
    assert scene.queues.look(pulses, NOW + QUICK.patience + 0.001, SLOW.patience) == frozenset()
    assert scene.queues.look(pulses, NOW + QUICK.patience + 0.001, QUICK.patience) == frozenset({0})


def test_an_inbox_that_nobody_reads_is_a_queue_like_any_other(scene: Scene) -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with receiving, sending:
        scene.queues.watch(1, [receiving])
        sending.send(b"r")
        assert scene.stuck(1, 1, 0.0) == set()
        assert scene.stuck(1, 1, ENOUGH) == {1}
        assert receiving.recv(1) == b"r"
        assert scene.stuck(1, 1, ENOUGH) is None
        scene.queues.forget()


def test_it_is_readable_while_somebody_waits(scene: Scene) -> None:
    assert select.select([scene.queues], [], [], 0)[0] == []
    scene.connect(1)
    assert select.select([scene.queues], [], [], LONG)[0] == [scene.queues]
    scene.listeners[1].accept()[0].close()
    assert select.select([scene.queues], [], [], 0)[0] == []


def test_watching_again_does_nothing_and_forgetting_lets_go(scene: Scene) -> None:
    scene.queues.watch(0, scene.listeners[:1])
    scene.connect(0)
    # A duplicate keeps the listener alive, as a worker's does: closing ours alone would not unregister it.
    with scene.listeners[0].dup():
        scene.queues.forget()
        scene.listeners[0].close()
        assert select.select([scene.queues], [], [], 0)[0] == []
        assert scene.stuck(1, 1, 0.0) is None
