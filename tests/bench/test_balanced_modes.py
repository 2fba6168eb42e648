"""The modes that the steering is compared with: they are what they claim to be, or the comparison is none."""

from __future__ import annotations

import signal
import socket
import time

import psutil
import pytest

from bench.kit.asking import Answer, Clients, Connection, at_once, closed_loop, on_schedule, on_schedule_kept
from bench.kit.contest import Running, accept_queues, until
from bench.kit.measure import HOST
from bench.rows.pooled import badly
from bench.rows.spread import half_open, half_opened
from bench.served.field import BLIND, MASTER, PLAIN, SHARED, SINGLE
from bench.served.lineup import Entry, started

FEW = 16
MORE_THAN_A_SOCKET_PAIR_HOLDS = 600
BLOCK = "/work/2000"
"""Long enough to ask the others and be answered on a loaded machine."""


def met(one: Running) -> set[int]:
    """Workers that answer; missing one of two by the hash is 1 in 10⁹."""
    with Clients(one.port) as clients:
        pids = {answer.pid for _ in range(4) for _, answer in at_once(clients, "/", FEW // 2)}
        assert not clients.failures
    return pids


def while_blocked(one: Running, count: int) -> tuple[int, float, list[Answer]]:
    """Block a worker, ask at once on so many connections: its pid, when it was free again, their answers."""
    with Clients(one.port) as clients:
        clients.connect(BLOCK, time.monotonic())
        until(lambda: any(one.executing(pid) for pid in one.workers()), "a blocked worker")
        answers = [answer for _, answer in at_once(clients, "/", count)]
        assert not clients.failures
    [block] = (answer for answer in answers if answer.path == BLOCK)
    answers.remove(block)
    assert len(answers) == count
    return block.pid, block.at, answers


MODES = pytest.mark.parametrize("entry", [PLAIN, SHARED, MASTER, BLIND], ids=lambda entry: entry.name)


@MODES
def test_every_worker_answers(entry: Entry) -> None:
    with started(entry, 2) as one:
        # A shared listener may leave all to one of them, if the other is not scheduled for a moment.
        until(lambda: met(one) == set(one.workers()), "an answer of each")


def test_single_is_one() -> None:
    with started(SINGLE, 2) as one:
        assert met(one) == set(one.workers())
        assert len(one.workers()) == 1


def test_shared_has_one_listener_and_plain_one_each() -> None:
    for entry, listeners in ((SHARED, 1), (PLAIN, 2)):
        with started(entry, 2) as one:
            assert len(accept_queues(one.port)) == listeners


@pytest.mark.parametrize("entry", [MASTER, BLIND], ids=lambda entry: entry.name)
def test_a_master_hands_over_in_turn(entry: Entry) -> None:
    with started(entry, 2) as one, Clients(one.port) as clients:
        pids = [answer.pid for _ in range(6) for _, answer in at_once(clients, "/", 1)]
    assert set(pids[::2]) != set(pids[1::2])
    assert len(set(pids[::2])) == len(set(pids[1::2])) == 1


def test_a_blocked_worker_of_master_holds_no_more_than_one() -> None:
    with started(MASTER, 2) as one:
        victim, free, answers = while_blocked(one, FEW)
    meanwhile = [answer for answer in answers if answer.at < free]
    assert victim not in {answer.pid for answer in meanwhile}
    # The one it was handed before it could refuse; none if the other worker was quick enough for all.
    assert len(meanwhile) >= FEW - 1


def test_what_master_accepted_waits_while_no_worker_is_free() -> None:
    with started(MASTER, 1) as one:
        _, free, answers = while_blocked(one, FEW)
    assert min(answer.at for answer in answers) >= free


def test_a_blocked_worker_of_a_blind_master_gets_its_share_all_the_same() -> None:
    with started(BLIND, 2) as one:
        victim, free, answers = while_blocked(one, FEW)
    held = [answer for answer in answers if answer.pid == victim]
    assert len(held) in {FEW // 2, FEW // 2 + 1}
    assert min(answer.at for answer in held) >= free


def test_what_a_blind_master_cannot_hand_over_waits_for_its_worker() -> None:
    with started(BLIND, 1) as one:
        _, free, answers = while_blocked(one, MORE_THAN_A_SOCKET_PAIR_HOLDS)
    assert min(answer.at for answer in answers) >= free


def test_a_blocked_worker_of_plain_keeps_whom_the_hash_gave_it() -> None:
    with started(PLAIN, 2) as one:
        victim, free, answers = while_blocked(one, 2 * FEW)
    held = [answer for answer in answers if answer.pid == victim]
    assert len(held) > 1
    assert min(answer.at for answer in held) >= free


@MODES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_workers_end_with_their_launcher(entry: Entry, number: signal.Signals) -> None:
    with started(entry, 2) as one:
        workers = [psutil.Process(pid) for pid in one.workers()]
        one.server.process.send_signal(number)
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive


@MODES
def test_a_launcher_does_not_outlive_a_worker(entry: Entry) -> None:
    with started(entry, 2) as one:
        one.kill(one.workers()[0])
        one.server.line("a worker died")


# ── the clients ───────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_is_kept_and_everything_is_answered() -> None:
    with started(PLAIN, 1) as one, Clients(one.port) as clients:
        begun = time.monotonic()
        answers = on_schedule(clients, [(n / 50, "/") for n in range(10)])
        assert not clients.failures
    dues = sorted(answer.due - begun for answer in answers)
    assert dues == pytest.approx([n / 50 for n in range(10)], abs=0.01)
    assert all(answer.latency > 0 for answer in answers)


def test_a_closed_loop_asks_again_on_every_connection() -> None:
    with started(PLAIN, 1) as one, Clients(one.port) as clients:
        [kept] = badly(clients, 1, 4)
        answers = closed_loop(clients, [(connection, "/burn/1") for connection in kept], 0.5)
        assert not clients.failures
    assert {answer.connection for answer in answers} == {connection.number for connection in kept}
    assert len(answers) > len(kept)


def test_connections_that_landed_badly_are_on_so_many_workers() -> None:
    with started(PLAIN, 4) as one, Clients(one.port) as clients:
        groups = badly(clients, 2, 8)
        for group in groups:
            assert len(first_pids(clients, group)) == 1
        assert first_pids(clients, groups[0]) != first_pids(clients, groups[1])


def first_pids(clients: Clients, connections: list[Connection]) -> set[int]:
    """Who answers on them."""
    for connection in connections:
        clients.ask(connection, "/", time.monotonic())
    return {answer.pid for _, answer in clients.answers()}


def test_a_closed_connection_and_a_refused_one_are_failures() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with Clients(port) as clients:
            clients.connect("/", time.monotonic())
            accepted, _ = listener.accept()
            accepted.recv(4096)
            accepted.close()
            assert clients.answers() == []
            assert clients.failures == {"closed without an answer": 1}
    with Clients(port) as clients:
        assert at_once(clients, "/", 1) == []
        assert clients.failures == {"ConnectionRefusedError": 1}


def test_what_is_not_answered_in_time_has_failed() -> None:
    with socket.create_server((HOST, 0)) as listener, Clients(listener.getsockname()[1]) as clients:
        clients.connect("/", time.monotonic())
        assert clients.answers(patience=0.05) == []
        assert clients.failures == {"no answer": 1}


def test_a_handshake_stays_half_open_until_its_socket_is_closed() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        listener.setblocking(False)
        with half_open(port), half_open(port):
            assert half_opened(port) == 2
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_a_schedule_over_kept_connections_counts_from_when_a_request_was_due() -> None:
    with started(PLAIN, 1) as one, Clients(one.port) as clients:
        kept = [connection for connection, _ in at_once(clients, "/", 2, kept=True)]
        begun = time.monotonic()
        # The first two take both connections; the third is due while neither is free.
        schedule = [(0.0, "/wait/200"), (0.0, "/wait/200"), (0.05, "/"), (0.3, "/")]
        answers = sorted(on_schedule_kept(clients, kept, schedule), key=lambda one: one.due)
        assert not clients.failures
    assert [answer.path for answer in answers] == [path for _, path in schedule]
    assert answers[2].due - begun == pytest.approx(0.05, abs=0.04)
    assert answers[2].latency >= 0.2 - 0.05 - 0.01
    assert {answer.connection for answer in answers} <= {connection.number for connection in kept}


def test_what_is_never_sent_over_kept_connections_is_a_failure() -> None:
    with socket.create_server((HOST, 0)) as listener, Clients(listener.getsockname()[1]) as clients:
        assert on_schedule_kept(clients, [], [(0.0, "/")], patience=0.05) == []
        assert clients.failures == {"not sent": 1}
