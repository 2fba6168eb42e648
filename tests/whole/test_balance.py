"""`--balance`: who gets a new connection on each rung of the ladder; a busy worker holds nobody up."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterable

import psutil
import pytest

from reuseport.kernel import probe
from reuseport.kernel.probe import Verdict
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import GET, Line, Lines, Load, queued, stop_process
from tests.whole.traffic import wait_for_lines


@pytest.fixture(scope="module")
def steers() -> None:
    answer = probe.can_steer()
    if answer.verdict is not Verdict.YES:
        pytest.skip(f"not supported: {answer.reason}")


@pytest.fixture(scope="module")
def prefers_cpu() -> None:
    answer = probe.prefers_cpu()
    if answer.verdict is not Verdict.YES:
        pytest.skip(f"not supported: {answer.reason}")


def unprivileged() -> list[str]:
    """A wrapper under which uid 0 has no capability either."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]


def at_once(server: Launched, number: int, path: str = "/") -> Counter[str]:
    """So many connections that are all open before the first is answered: how many each slot has."""
    with Lines() as lines:
        for line in lines.open(server.port, number):
            line.send(GET.replace(b"/", path.encode(), 1))
        return Counter(line.answer().who["slot"] for line in lines.opened)


def evenly(workers: int, each: int) -> dict[str, int]:
    return {str(slot): each for slot in range(workers)}


def is_even(server: Launched, number: int, slots: Iterable[int], path: str = "/wait?s=1") -> bool:
    """Whether each of the slots has as many of so many connections as every other.

    Tried a few times: on a crowded machine a worker may not run for a while, and a sibling accepts for it. By
    hash alone it would not come to pass in a lifetime.
    """
    wanted = dict.fromkeys(map(str, slots), number // len(list(slots)))
    return any(at_once(server, number, path) == wanted for _ in range(5))


# ── exact balance ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("steers")
@pytest.mark.parametrize("rule", ["auto", "round-robin"])
def test_400_connections_are_50_for_each_of_8_workers(launch: Launch, rule: str) -> None:
    server = launch("plain:app", "--workers", "8", "--no-access-log", "--balance", rule).ready(8)
    assert is_even(server, 400, range(8), "/wait?s=2")
    assert is_even(server, 64, range(8), "/")
    assert server.stop() == 0
    assert "level 2" in server.output


@pytest.mark.usefixtures("steers")
def test_silent_connections_count_as_well(launch: Launch) -> None:
    """Who has connected and not asked yet is about to."""
    server = launch("plain:app", "--workers", "4", "--no-access-log").ready(4)

    def in_silence() -> Counter[str]:
        with Lines() as lines:
            for line in (opened := lines.open(server.port, 40)):
                line.send(GET)
            return Counter(line.answer().who["slot"] for line in opened)

    assert any(in_silence() == evenly(4, 10) for _ in range(5))
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_every_address_is_balanced(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "4", "--bind=127.0.0.1:0", "--bind=[::1]:0").ready(4)
    second = int(server.output.split("http://[::1]:")[1].split()[0])

    def both() -> Counter[str]:
        with Lines() as lines:
            opened = [*lines.open(server.port, 20)]
            opened += [lines.enter_context(Line(second, host="::1")) for _ in range(20)]
            for line in opened:
                line.send(GET.replace(b"/", b"/wait?s=1", 1))
            return Counter(line.answer().who["slot"] for line in opened)

    assert any(both() == evenly(4, 10) for _ in range(5))
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_balance_follows_reload_and_scale(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--no-access-log").ready(2)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 2 is ready")
    assert is_even(server, 30, range(3))
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, r"worker in slot \d \(pid \d+\) exited cleanly", 3)
    assert is_even(server, 30, range(3))
    server.signal(signal.SIGTTOU)
    server.wait_for(r"worker in slot 2 \(pid \d+\) exited cleanly")
    assert is_even(server, 30, range(2))
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_a_busy_worker_gets_the_next_connection_last(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "4", "--no-access-log").ready(4)

    def goes_to_the_least_busy() -> bool:
        with Lines() as lines:
            for line in lines.open(server.port, 10):
                line.send(GET.replace(b"/", b"/wait?s=2", 1))
            lucky = set()
            for _ in range(10):
                with Line(server.port) as line:
                    lucky.add(line.ask().who["slot"])
            held = Counter(line.answer().who["slot"] for line in lines.opened)
            return lucky == {slot for slot, number in held.items() if number == min(held.values())}

    assert any(goes_to_the_least_busy() for _ in range(5))
    assert server.stop() == 0


# ── a blocked worker ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rule", ["auto", "hash"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_blocked_worker_holds_nobody_up(launch: Launch, rule: str, loop: str) -> None:
    flags = ("--workers", "2", "--balance", rule, "--loop", loop, "--worker-timeout", "0")
    server = launch("diary:app", *flags).ready(2)
    with Line(server.port) as blocking:
        blocking.send(GET.replace(b"/", b"/block?s=600", 1))
        blocked = server.wait_for(r"/block begins in slot (\d)")[1]
        assert at_once(server, 60).keys() == {"0", "1"} - {blocked}
        # One after the other, as from the second tab of a browser.
        for _ in range(60):
            with Line(server.port) as line:
                assert line.ask().who["slot"] != blocked
    os.kill(server.workers()[int(blocked)], signal.SIGKILL)
    server.wait_for(f"slot {blocked} is ready .* reason: crash")
    assert server.stop() == 0


@pytest.mark.parametrize("rule", ["auto", "hash"])
def test_who_turns_again_has_its_share_again(launch: Launch, rule: str) -> None:
    server = launch("plain:app", "--workers", "2", "--no-access-log", "--balance", rule).ready(2)
    stopped = server.workers()[1]
    stop_process(stopped)
    assert at_once(server, 40) == {"0": 40}
    os.kill(stopped, signal.SIGCONT)
    deadline = time.monotonic() + PATIENCE
    while at_once(server, 20)["1"] < 5:
        assert time.monotonic() < deadline
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_when_all_are_blocked_the_least_loaded_waits_least(launch: Launch) -> None:
    """All event loops stand still: the hash would clump exactly now."""
    server = launch("plain:app", "--workers", "4", "--no-access-log").ready(4)
    for worker in server.workers().values():
        stop_process(worker)
    with Lines() as lines:
        lines.open(server.port, 40)
        # Nobody accepts: what each slot was assigned is in its queue.
        assert sorted(queued(server.port).values()) == [10] * 4
        for worker in server.workers().values():
            os.kill(worker, signal.SIGCONT)
        for line in lines.opened:
            assert line.ask().status == 200
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_a_dead_worker_gets_nobody_while_it_is_replaced(launch: Launch) -> None:
    slow = {"TEST_STARTUP_SECONDS": "2"}
    server = launch("plain:app", "--workers", "3", "--no-access-log", env=slow).ready(3)
    os.kill(server.workers()[1], signal.SIGKILL)
    server.wait_for(r"worker in slot 1 \(pid \d+\) was killed")
    assert at_once(server, 40, "/wait?s=1").keys() == {"0", "2"}
    server.wait_for("slot 1 is ready .* reason: crash")
    assert is_even(server, 30, range(3))
    assert server.stop() == 0


# ── what cannot be had ────────────────────────────────────────────────────────────────────────────────


def refused(server: Launched) -> str:
    assert server.wait() == 2
    assert "ready" not in server.output
    assert "Traceback" not in server.output
    return server.output


@pytest.mark.parametrize("rule", ["least-loaded", "round-robin"])
def test_a_rule_that_needs_a_privilege_is_refused_by_name(launch: Launch, rule: str) -> None:
    told = refused(launch("plain:app", "--balance", rule, wrapper=unprivileged()))
    assert f"--balance {rule} cannot be had" in told
    assert "CAP_BPF" in told


def test_auto_goes_down_the_ladder_and_says_so_once(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", wrapper=unprivileged()).ready(2)
    assert server.count(r"balance: hash \(level [01], .*CAP_BPF") == 1
    assert at_once(server, 40).total() == 40
    assert server.stop() == 0


def test_one_listener_for_all_leaves_nothing_to_choose(launch: Launch) -> None:
    told = refused(launch("plain:app", "--balance", "least-loaded", "--uds", "app.sock"))
    assert "--balance least-loaded needs a TCP address" in told
    server = launch("plain:app", "--uds", "app.sock").ready(1)
    assert server.count(r"balance: hash \(nothing to choose") == 1
    assert server.stop() == 0


def test_who_joins_does_not_take_the_whole_port(launch: Launch) -> None:
    first = launch("plain:app", "--balance", "hash").ready(1)
    joining = ("--port", str(first.port), "--join")
    assert "--join" in refused(launch("plain:app", *joining, "--balance", "round-robin"))
    second = launch("plain:app", *joining).ready(1)
    seen: set[int] = set()
    for _ in range(300):
        with Line(first.port) as line:
            seen.add(line.ask().who["pid"])
    assert seen == {*first.workers().values(), *second.workers().values()}
    assert second.stop() == 0


@pytest.mark.usefixtures("steers")
def test_who_joins_a_steered_port_takes_over_when_the_first_stops(launch: Launch) -> None:
    first = launch("plain:app", "--workers", "2").ready(2)
    second = launch("plain:app", "--port", str(first.port), "--join").ready(1)
    theirs = set(second.workers().values())
    for _ in range(20):
        with Line(first.port) as line:
            assert line.ask().who["pid"] not in theirs
    with Load(first.port) as load:
        load.wait_for_more()
        assert first.stop() == 0
        load.wait_for_more()
    assert load.failures == []
    assert at_once(second, 20) == {"0": 20}
    assert second.stop() == 0


@pytest.mark.parametrize("rule", ["auto", "hash"])
def test_who_comes_to_listen_beside_us_is_reported(launch: Launch, rule: str) -> None:
    server = launch("plain:app", "--balance", rule).ready(1)
    with socket.create_server(("127.0.0.1", server.port), reuse_port=True):
        # A launcher that has given up its capabilities cannot see who of root's has a socket.
        who = rf"(pid {os.getpid()} |a process of user )"
        server.wait_for(rf"WARNING .* {who}.* listens on 127.0.0.1:{server.port}, too")
    server.wait_for(f"the other listener on 127.0.0.1:{server.port} is gone")
    assert server.stop() == 0


# ── CPUs ──────────────────────────────────────────────────────────────────────────────────────────────


def affinities(server: Launched) -> dict[int, set[int]]:
    return {slot: set(psutil.Process(pid).cpu_affinity()) for slot, pid in server.workers().items()}


def in_turn(slots: Iterable[int]) -> dict[int, set[int]]:
    cpus = sorted(os.sched_getaffinity(0))
    return {slot: {cpus[slot % len(cpus)]} for slot in slots}


def test_each_slot_has_its_cpu_also_after_a_reload(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3", "--pin-cpus").ready(3)
    assert affinities(server) == in_turn(range(3))
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, r"worker in slot \d \(pid \d+\) exited cleanly", 3)
    assert affinities(server) == in_turn(range(3))
    assert len(os.sched_getaffinity(server.pid)) == len(os.sched_getaffinity(0))
    assert server.stop() == 0


@pytest.mark.usefixtures("prefers_cpu")
def test_by_cpu_a_connection_goes_to_the_slot_of_the_cpu_it_comes_in_on(launch: Launch) -> None:
    allowed = os.sched_getaffinity(0)
    server = launch("plain:app", "--workers", str(len(allowed)), "--balance", "cpu").ready(len(allowed))
    assert affinities(server) == in_turn(range(len(allowed)))
    try:
        for slot, cpu in enumerate(sorted(allowed)):
            # The loopback interface stays on the CPU of who sends.
            os.sched_setaffinity(0, {cpu})
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE):
                assert at_once(server, 20) == {str(slot): 20}
    finally:
        os.sched_setaffinity(0, allowed)
    assert server.stop() == 0
