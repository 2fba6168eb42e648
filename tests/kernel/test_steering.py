"""Steering, with real listeners and real connections: who gets them, who is left out, who comes and goes."""

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reuseport.kernel.listener import accept_queue
from reuseport.kernel.plan import Policy
from reuseport.kernel.steering import Steering, cookie
from reuseport.scoreboard import SLOT_WORDS, WORD_BYTES
from tests.kernel.steered import (
    LONG_AGO,
    NEVER_STALE,
    POLICIES,
    STALE_NS,
    WORDS,
    counting,
    listen,
    scene,
    skip_without_maps,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("allowed", "no_leak")


@pytest.fixture(scope="module")
def allowed() -> None:
    skip_without_maps()


def test_the_layout_is_the_scoreboards() -> None:
    with scene(3, "round-robin") as s:
        assert s.steering.state_bytes == 3 * SLOT_WORDS * WORD_BYTES


# ── the balance ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("count", "each"), [(400, 50), (64, 8)])
def test_a_burst_is_spread_exactly(policy: Policy, count: int, each: int) -> None:
    with scene(8, policy) as s:
        assert s.groups[0].burst(count) == dict.fromkeys(range(8), each)
        assert s.board.assigned(8) == [each] * 8


@pytest.mark.parametrize("policy", POLICIES)
def test_idle_slots_take_turns(policy: Policy) -> None:
    with scene(3, policy) as s:
        order = []
        for _ in range(7):
            order.append(s.groups[0].one())
            s.board.set_desk(order[-1], WORDS.accepted, s.board.get(order[-1], WORDS.assigned))
        assert order == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_neighbour_of_a_fenced_slot_has_no_second_turn(policy: Policy) -> None:
    with scene(4, policy) as s:
        s.board.set(1, WORDS.fence, 1)
        assert s.groups[0].burst(99) == {0: 33, 2: 33, 3: 33}


def test_two_cpus_never_take_the_same_turn() -> None:
    with scene(8, "round-robin") as s, ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(s.groups[0].connect, 100) for _ in range(4)]:
            done.result()
        assert s.groups[0].accept(400) == dict.fromkeys(range(8), 50)


def test_the_least_loaded_slot_catches_up() -> None:
    with scene(3, "least-loaded") as s:
        s.board.set_desk(0, WORDS.in_flight, 9)
        s.board.set(1, WORDS.assigned, 1000)
        s.board.set_desk(1, WORDS.accepted, 994)
        assert s.groups[0].burst(8) == {1: 1, 2: 7}


def test_whoever_accepted_more_than_assigned_is_merely_idle() -> None:
    with scene(2, "least-loaded") as s:
        s.board.set_desk(0, WORDS.accepted, 1000)
        s.board.set_desk(0, WORDS.in_flight, 3)
        assert s.groups[0].burst(3) == {1: 3}


def test_the_desk_that_serves_counts() -> None:
    with scene(2, "least-loaded") as s:
        s.board.set(0, WORDS.serving_desk, 1)
        assert s.groups[0].burst(2) == {1: 2}, "desk 1 has no heartbeat yet"
        s.board.set_desk(0, WORDS.heartbeat, NEVER_STALE, desk=1)
        s.board.set_desk(0, WORDS.in_flight, 100, desk=0)
        assert s.groups[0].burst(2) == {0: 2}


def test_round_robin_pays_no_heed_to_load() -> None:
    with scene(2, "round-robin") as s:
        s.board.set_desk(0, WORDS.in_flight, 100)
        assert s.groups[0].burst(10) == {0: 5, 1: 5}


# ── who is left out ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("slots", [8, 70])
def test_fenced_stale_and_unready_slots_get_nothing(policy: Policy, slots: int) -> None:
    with scene(slots, policy) as s:
        s.board.set(0, WORDS.fence, 1)
        s.board.set_desk(1, WORDS.heartbeat, time.monotonic_ns() - STALE_NS - 1)
        s.board.set_desk(2, WORDS.heartbeat, LONG_AGO)
        s.board.set_desk(3, WORDS.heartbeat, 0)
        assert s.groups[0].burst(20 * slots).keys().isdisjoint(range(4))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("slots", "live"), [(8, {7}), (64, {0}), (70, {7, 69})])
def test_the_last_live_slots_get_everything(policy: Policy, slots: int, live: set[int]) -> None:
    with scene(slots, policy) as s:
        for slot in range(slots):
            s.board.set(slot, WORDS.fence, slot not in live)
        assert s.groups[0].burst(200).keys() == live


@pytest.mark.parametrize("policy", POLICIES)
def test_without_a_heartbeat_nobody_is_ready_even_just_after_the_machine_has_started(policy: Policy) -> None:
    with scene(2, policy, stale_ns=1 << 61) as s:
        s.board.set_desk(0, WORDS.heartbeat, 0)
        s.board.set_desk(1, WORDS.heartbeat, LONG_AGO)
        assert s.groups[0].burst(4) == {1: 4}


def test_a_heartbeat_just_fresh_enough_counts() -> None:
    with scene(2, "least-loaded") as s:
        s.board.set_desk(0, WORDS.in_flight, 1)
        # Half of the time in hand, for a machine that stops for a moment.
        s.board.set_desk(1, WORDS.heartbeat, time.monotonic_ns() - STALE_NS // 2)
        assert s.groups[0].one() == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_with_every_slot_fenced_the_hash_takes_over(policy: Policy) -> None:
    with scene(8, policy) as s:
        for slot in range(8):
            s.board.set(slot, WORDS.fence, 1)
        found = s.groups[0].burst(400)
        # 400 by hash on 8: a slot without any has a probability of 1e-22.
        assert found.keys() == set(range(8))
        assert s.board.assigned(8) == [0] * 8


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("slots", [8, 70])
def test_a_slot_without_a_listener_is_passed_over(policy: Policy, slots: int) -> None:
    with scene(slots, policy) as s:
        s.groups[0].close(3)
        s.steering.remove(0, 4)
        s.steering.remove(0, 4)
        found = s.groups[0].burst(10 * slots)
        assert 3 not in found
        assert 4 not in found
        assert s.board.get(3, WORDS.assigned) == s.board.get(4, WORDS.assigned) == 0


# ── migration, groups ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", POLICIES)
def test_the_queue_of_a_closing_listener_goes_to_the_live_ones(policy: Policy) -> None:
    with scene(4, policy) as s:
        group = s.groups[0]
        group.connect(100)
        wait_until(lambda: accept_queue(group.listeners[3]).waiting == 25)
        s.board.set(3, WORDS.fence, 1)
        s.board.set(2, WORDS.fence, 1)
        group.close(3)
        assert group.accept(100) in ({0: 38, 1: 37, 2: 25}, {0: 37, 1: 38, 2: 25})
        assert s.board.assigned(4) in ([38, 37, 25, 25], [37, 38, 25, 25]), (
            "the migrated are reserved as well"
        )


@pytest.mark.usefixtures("ipv6")
def test_ipv4_and_ipv6_share_load_and_turn() -> None:
    with scene(4, "least-loaded", ("127.0.0.1", "::1")) as s:
        four, six = s.groups
        assert four.burst(2) == {0: 1, 1: 1}
        assert six.burst(2) == {2: 1, 3: 1}
        assert s.board.assigned(4) == [1, 1, 1, 1]
        assert four.burst(200) + six.burst(200) == dict.fromkeys(range(4), 100)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("flags", [0x10, 0x12, 0x11, 0x04], ids=["ACK", "SYN ACK", "FIN ACK", "RST"])
def test_only_a_syn_without_ack_advances_the_turn(policy: Policy, flags: int) -> None:
    with scene(3, policy) as s:
        group = s.groups[0]
        assert group.one() == 0
        with counting():
            before = s.steering.statistics(0).runs
            stray(group.address, flags)
            wait_until(lambda: s.steering.statistics(0).runs > before)
        assert s.board.assigned(3) == [1, 0, 0]
        assert group.one() == 1


def stray(address: tuple[str, int], flags: int) -> None:
    """Send a segment that belongs to no connection (RFC 9293, section 3.1): the program is asked."""
    source, target = socket.inet_aton("127.0.0.1"), socket.inet_aton(address[0])
    ports = (9, address[1])  # the discard port: nobody is there to be confused by the answer
    header = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 1024, 0, 0)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header))
    total = sum(struct.unpack("!16H", pseudo + header))
    checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(header[:16] + struct.pack("!H", checksum) + header[18:], (address[0], 0))


# ── attaching ──────────────────────────────────────────────────────────────────────────────────────────


def test_attaching_again_or_by_a_duplicate_does_nothing() -> None:
    with scene(2, "round-robin") as s, s.groups[0].listeners[0].dup() as escrow:
        s.steering.attach(s.groups[0].listeners[0], 0, 0)
        s.steering.attach(escrow, 0, 0)
        assert s.groups[0].burst(10) == {0: 5, 1: 5}


def test_a_slot_can_have_another_listener() -> None:
    with scene(2, "round-robin") as s, listen(*s.groups[0].address) as other:
        s.steering.attach(other, 0, 1)
        assert s.steering.listener_cookie(0, 1) == cookie(other)
        s.groups[0].listeners[1] = other
        assert s.groups[0].burst(10) == {0: 5, 1: 5}


def test_a_listener_serves_one_slot() -> None:
    with scene(2, "round-robin") as s, pytest.raises(ValueError, match="serves another slot"):
        s.steering.attach(s.groups[0].listeners[0], 0, 1)


def test_a_bound_socket_is_not_a_listener() -> None:
    with scene(1, "round-robin") as s, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="after listen"):
            s.steering.attach(bound, 0, 0)


def test_it_goes_on_steering_when_its_owner_has_gone() -> None:
    with scene(2, "round-robin") as s:
        s.steering.close()
        s.board.set(0, WORDS.fence, 1)
        assert s.groups[0].burst(10) == {1: 10}


@pytest.mark.parametrize(("slots", "stale_ns"), [(0, 1), (1, 0), (1, 1 << 62)])
def test_a_plan_that_makes_no_sense_is_refused(slots: int, stale_ns: int) -> None:
    with pytest.raises(ValueError, match=r"at least one slot|stale_ns must"):
        Steering.create(slots, "least-loaded", stale_ns, WORDS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("slots", [1, 2, 63, 64, 65, 1024])
def test_the_verifier_accepts_every_size(policy: Policy, slots: int) -> None:
    Steering.create(slots, policy, STALE_NS, WORDS).close()


def test_the_kernel_counts_what_it_costs() -> None:
    with scene(8, "least-loaded") as s:
        with counting():
            s.groups[0].burst(50)
        cost = s.steering.statistics(0)
        assert cost.runs >= 50
        assert 0 < cost.nanoseconds / cost.runs < 1_000_000
