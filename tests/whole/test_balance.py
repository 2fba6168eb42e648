"""`--balance`: who gets a new connection on each rung of the ladder; a busy worker holds nobody up."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from reuseport.kernel import probe
from reuseport.kernel.probe import Verdict
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.clients import client, meet_all
from tests.whole.lines import EXITED, GET, Line, Lines, Load, queued, stop_process, wait_until
from tests.whole.traffic import Held, wait_for_lines


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


@contextmanager
def standing_still(server: Launched) -> Iterator[None]:
    """No event loop turns and nobody accepts: what the kernel gives each slot is in its queue.

    Only then are the numbers exact on any machine: a worker that does not run for a moment is passed over,
    and its siblings accept for it. Once all are late nobody is.
    """
    workers = server.workers().values()
    for worker in workers:
        stop_process(worker)
    for _ in workers:
        server.wait_for("event loop in slot . has been silent")
    yield
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    for _ in workers:
        server.wait_for("event loop in slot . turns again")


def assert_even(server: Launched, slots: int, number: int, *, spare: int = 0) -> None:
    """Of so many connections each slot gets as many as every other; `spare` ones, scaled away, get none."""
    with Lines() as lines:
        with standing_still(server):
            lines.open(server.port, number)
            assert sorted(queued(server.port).values()) == [0] * spare + [number // slots] * slots
        for line in lines.opened:
            assert line.ask().status == 200


# ── exact balance ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("steers")
@pytest.mark.parametrize("rule", ["auto", "round-robin"])
def test_of_400_connections_at_once_each_of_8_workers_gets_50(launch: Launch, rule: str) -> None:
    flags = ("--workers", "8", "--no-access-log", "--balance", rule, "--worker-timeout", "0")
    server = launch("plain:app", *flags).ready(8)
    assert_even(server, 8, 400)
    assert server.stop() == 0
    assert "level 2" in server.output


@pytest.mark.usefixtures("steers")
def test_400_requests_that_are_being_answered_become_50_in_each_of_8_workers(launch: Launch) -> None:
    """A worker that does not run for a moment is passed over; then it has least to do, and gets the next."""
    server = launch("patient:app", "--workers", "8", "--no-access-log").ready(8)

    def become_even() -> bool:
        counts: Counter[str] = Counter()
        with ExitStack() as held:
            for _ in range(600):
                counts[held.enter_context(Held(server.port)).who["slot"]] += 1
                if counts.total() >= 400 and len(counts) == 8 and len(set(counts.values())) == 1:
                    return True
        return False

    # By hash it would not come to pass in a lifetime.
    wait_until(become_even)
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_silent_connections_count_as_well(launch: Launch) -> None:
    """Who has connected and not asked yet is about to."""
    flags = ("--workers", "2", "--no-access-log", "--worker-timeout", "0")
    server = launch("plain:app", *flags).ready(2)

    def the_next_go_to_the_other() -> bool:
        with Lines() as lines:
            # In turn they go to the one slot and the other: after this, all who are silent are in one.
            for line in lines.open(server.port, 20)[::2]:
                line.ask()
            with standing_still(server):
                lines.open(server.port, 10)
                return sorted(queued(server.port).values()) == [0, 10]

    # They count for a second at least, which may be over before the workers stand still.
    wait_until(the_next_go_to_the_other)
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_who_stays_silent_counts_for_a_while_only(launch: Launch, http: str) -> None:
    server = launch("plain:app", "--workers", "2", "--no-access-log", "--http", http).ready(2)
    with Lines() as lines, client() as asking:
        for line in lines.open(server.port, 20)[::2]:
            line.ask()
        assert meet_all(asking, server.url, 2).keys() == {0, 1}
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_every_address_is_balanced(launch: Launch) -> None:
    flags = ("--workers", "4", "--bind=127.0.0.1:0", "--bind=[::1]:0", "--worker-timeout", "0")
    server = launch("plain:app", *flags).ready(4)
    second = int(server.output.split("http://[::1]:")[1].split()[0])
    with Lines() as lines:
        with standing_still(server):
            lines.open(server.port, 20)
            assert list(queued(server.port).values()) == [5] * 4
            for _ in range(20):
                lines.opened.append(lines.enter_context(Line(second, host="::1")))
            assert list(queued(second, "tcp6").values()) == [5] * 4
        for line in lines.opened:
            assert line.ask().status == 200
    assert server.stop() == 0


@pytest.mark.usefixtures("steers")
def test_balance_follows_reload_and_scale(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--no-access-log", "--worker-timeout", "0").ready(2)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 2 is ready")
    assert_even(server, 3, 30)
    reload(server, generation=2, workers=3)
    assert_even(server, 3, 30)
    server.signal(signal.SIGTTOU)
    server.wait_for(r"worker in slot 2 \(pid \d+\) exited cleanly")
    reload(server, generation=3, workers=2)
    assert_even(server, 2, 30, spare=1)
    assert server.stop() == 0


def reload(server: Launched, generation: int, workers: int) -> None:
    """All successors serve, and of all predecessors nothing is left."""
    gone = server.count(EXITED)
    server.signal(signal.SIGHUP)
    server.wait_for(f"generation {generation} serves in every slot")
    wait_for_lines(server, EXITED, gone + workers)


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

    # On a crowded machine one of them may not run for a moment, and is passed over.
    wait_until(goes_to_the_least_busy)
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
def test_a_dead_worker_gets_nobody_while_it_is_replaced(launch: Launch) -> None:
    slow = {"TEST_STARTUP_SECONDS": "2"}
    flags = ("--workers", "3", "--no-access-log", "--worker-timeout", "0")
    server = launch("plain:app", *flags, env=slow).ready(3)
    os.kill(server.workers()[1], signal.SIGKILL)
    server.wait_for(r"worker in slot 1 \(pid \d+\) was killed")
    assert at_once(server, 40, "/wait?s=1").keys() == {"0", "2"}
    server.wait_for("slot 1 is ready .* reason: crash")
    assert_even(server, 3, 30)
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
    both = {*first.workers().values(), *second.workers().values()}
    seen: set[int] = set()

    def met() -> bool:
        with Line(first.port) as line:
            seen.add(line.ask().who["pid"])
        return seen == both

    wait_until(met, lambda: f"{seen} of {both}")
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
                # Where other programs keep a worker waiting, a sibling takes from it.
                wait_until(lambda slot=slot: at_once(server, 20) == {str(slot): 20})  # type: ignore[misc]
    finally:
        os.sched_setaffinity(0, allowed)
    assert server.stop() == 0
