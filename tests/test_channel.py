"""Both ends of the protocol over real sockets: what arrives, in which order, and what is left of the dead."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.channel import AT_ONCE, Channel, PeerGoneError
from reuseport.messages import (
    MOST_TEXT,
    PACKET,
    TO_LAUNCHER,
    TO_WORKER,
    CannotFoster,
    Drain,
    Failed,
    Foster,
    Holds,
    Leaving,
    LimitReached,
    Listens,
    Message,
    Pass,
    Reach,
    Ready,
    ReopenLogs,
    ShuttingDown,
    Sibling,
    Start,
    Tickets,
    ToLauncher,
    ToWorker,
    Unfoster,
    Waits,
)
from reuseport.packets import ViolationError, decode, encode
from tests.conftest import PATIENCE

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
SIZES = st.integers(0, 2**40)
ORDERS: dict[str, st.SearchStrategy[ToWorker]] = {
    "Start": st.builds(
        Start,
        settings=TEXT,
        slot=SIZES,
        desk=SIZES,
        generation=SIZES,
        slots=SIZES,
        shared=SIZES,
        cpu=st.none() | SIZES,
        secret=TEXT,
        ways=st.lists(SIZES, max_size=16).map(tuple),
        tickets=st.lists(TEXT, max_size=2).map(tuple),
    ),
    "Drain": st.builds(Drain, st.floats(0, 1e9), st.lists(SIZES, max_size=16).map(tuple)),
    "Foster": st.builds(Foster, SIZES),
    "Unfoster": st.builds(Unfoster, SIZES),
    "Sibling": st.builds(Sibling, SIZES),
    "Pass": st.builds(Pass, SIZES, SIZES),
    "Reach": st.builds(Reach, st.lists(SIZES, max_size=16).map(tuple)),
    "ReopenLogs": st.just(ReopenLogs()),
    "Tickets": st.builds(Tickets, st.lists(TEXT, max_size=2).map(tuple)),
}
ANSWERS: dict[str, st.SearchStrategy[ToLauncher]] = {
    "Listens": st.just(Listens()),
    "Ready": st.just(Ready()),
    "Failed": st.builds(Failed, st.sampled_from(["operator", "application"]), TEXT),
    "LimitReached": st.builds(LimitReached, SIZES),
    "Leaving": st.just(Leaving()),
    "CannotFoster": st.builds(CannotFoster, SIZES),
    "Holds": st.builds(Holds, st.lists(TEXT, max_size=16).map(tuple)),
    "Waits": st.builds(Waits, SIZES, TEXT, st.none() | st.floats(0, 1e9)),
    "ShuttingDown": st.builds(ShuttingDown, SIZES),
}

BIG = Start("x" * 60_000, 0, 0, 0, 0, 0)
"""A few of these fill a socket's buffer."""

LauncherEnd = Channel[ToLauncher]
WorkerEnd = Channel[ToWorker]


@contextlib.contextmanager
def pair() -> Iterator[tuple[LauncherEnd, WorkerEnd]]:
    """Two connected ends in this process: the launcher's, the worker's."""
    ours, theirs = Channel.pair()
    other = Channel(theirs, TO_WORKER)
    with contextlib.closing(ours), contextlib.closing(other):
        yield ours, other


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe; either may be closed before the end."""
    ends = os.pipe()
    identities = [os.fstat(end) for end in ends]
    try:
        yield ends
    finally:
        for end, identity in zip(ends, identities, strict=True):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(end), identity):
                    os.close(end)


def wait_readable(fd: int | LauncherEnd) -> None:
    readable, _, _ = select.select([fd], [], [], PATIENCE)
    assert readable, "nothing came"


def at_end_of_file(read_end: int) -> bool:
    """Waits until every write end is closed; a byte would be a lie."""
    wait_readable(read_end)
    return os.read(read_end, 1) == b""


def fill(channel: LauncherEnd) -> int:
    """Send until something waits; how many messages that took, the waiting one included."""
    sent = 0
    while not channel.waiting:
        channel.send(BIG)
        sent += 1
    return sent


class Other:
    """A process with the other end of a channel and `channel`, `os`, `sys` at hand."""

    def __init__(self, channel: LauncherEnd, popen: subprocess.Popen[bytes]) -> None:
        self.channel = channel
        self.popen = popen

    def said(self) -> bytes:
        """The next byte it prints: where it is in its script."""
        assert self.popen.stdout is not None
        wait_readable(self.popen.stdout.fileno())
        return os.read(self.popen.stdout.fileno(), 1)

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        assert self.popen.wait(PATIENCE) == -signal.SIGKILL


PRELUDE = """
import os, select, socket, sys
from reuseport.channel import *
from reuseport.messages import *

channel = Channel(socket.socket(fileno=int(sys.argv[1])), TO_WORKER)

def say(byte):
    os.write(1, byte)

def linger():
    sys.stdin.read()

def exhaust():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 4096))
    try:
        while True:
            os.dup(0)
    except OSError:
        pass
"""


@pytest.fixture
def other() -> Iterator[Callable[[str], Other]]:
    with contextlib.ExitStack() as running:

        def start(script: str) -> Other:
            ours, theirs = Channel.pair()
            running.callback(ours.close)
            with theirs:
                popen = subprocess.Popen(
                    [sys.executable, "-c", PRELUDE + script, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=Path(__file__).parents[1],
                )
            running.enter_context(popen)
            return Other(ours, popen)

        yield start


# ── what arrives ──────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_is_tried_below() -> None:
    assert ORDERS.keys() == TO_WORKER.kinds.keys()
    assert ANSWERS.keys() == TO_LAUNCHER.kinds.keys()


@pytest.mark.parametrize("kind", ORDERS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_an_order_arrives_as_it_was_sent(kind: str, data: st.DataObject) -> None:
    message = data.draw(ORDERS[kind])
    with pair() as (launcher, worker):
        launcher.send(message)
        assert worker.receive() == [(message, [])]


@pytest.mark.parametrize("kind", ANSWERS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_an_answer_arrives_as_it_was_sent(kind: str, data: st.DataObject) -> None:
    message = data.draw(ANSWERS[kind])
    with pair() as (launcher, worker):
        worker.send(message)
        assert launcher.receive() == [(message, [])]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(*ORDERS.values()), max_size=8))
def test_messages_keep_their_borders_and_order(messages: list[Message]) -> None:
    with pair() as (one, other_end):
        for message in messages:
            one.send(message)
        assert [message for message, _ in other_end.receive()] == messages


def test_nothing_sent_is_nothing_received() -> None:
    with pair() as (one, other_end):
        assert one.receive() == []
        assert other_end.receive() == []


def test_the_launchers_end_is_not_inherited_and_never_blocks() -> None:
    ours, theirs = Channel.pair()
    with theirs, contextlib.closing(ours):
        assert not os.get_inheritable(ours.fileno())
        assert not os.get_inheritable(theirs.fileno())
        assert not os.get_blocking(ours.fileno())


def test_a_descriptor_arrives_as_the_same_object_and_close_on_exec() -> None:
    with pair() as (one, other_end), pipe() as (read_end, write_end):
        os.set_inheritable(write_end, True)
        one.send(Foster(1), [write_end])
        ((_, (copy,)),) = other_end.receive()
        try:
            assert copy != write_end
            assert os.path.samestat(os.fstat(copy), os.fstat(write_end))
            assert not os.get_inheritable(copy)
            os.write(copy, b"!")
            assert os.read(read_end, 1) == b"!"
        finally:
            os.close(copy)


def test_a_listener_arrives_as_the_same_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pair() as (one, other_end):
        one.send(Foster(1), [listener.fileno()])
        ((_, (copy,)),) = other_end.receive()
        with (
            socket.socket(fileno=copy) as same,
            socket.create_connection(listener.getsockname()) as client,
        ):
            accepted, _ = same.accept()
            with accepted:
                assert accepted.getpeername() == client.getsockname()


def test_descriptors_arrive_in_order_with_their_own_message() -> None:
    with pair() as (one, other_end), pipe() as first, pipe() as second:
        one.send(Foster(1), [*first, *second])
        one.send(ReopenLogs())
        one.send(Foster(1), [second[0]])
        received = other_end.receive()
        copies = [fds for _, fds in received]
        try:
            assert [len(fds) for fds in copies] == [4, 0, 1]
            for copy, original in zip(copies[0] + copies[2], [*first, *second, second[0]], strict=True):
                assert os.path.samestat(os.fstat(copy), os.fstat(original))
        finally:
            for fd in copies[0] + copies[2]:
                os.close(fd)


def test_as_many_descriptors_as_the_kernel_takes() -> None:
    before = descriptors()
    with pair() as (one, other_end), pipe() as (read_end, _):
        one.send(Foster(1), [read_end] * TO_WORKER.most_descriptors)
        ((_, copies),) = other_end.receive()
        for copy in copies:
            os.close(copy)
        assert len(copies) == TO_WORKER.most_descriptors
    assert descriptors() == before


def test_the_largest_message_fits_and_a_larger_one_is_refused() -> None:
    empty = Start("", 0, 0, 0, 0, 0)
    room = PACKET - len(encode(empty))
    largest = replace(empty, settings="x" * room)
    with pair() as (one, other_end):
        one.send(largest)
        assert not one.waiting, "it must fit into an empty socket"
        assert other_end.receive() == [(largest, [])]
        with pytest.raises(ValueError, match=f"{PACKET + 1} bytes"):
            one.send(replace(empty, settings="x" * (room + 1)))
        one.send(ReopenLogs())
        assert other_end.receive() == [(ReopenLogs(), [])]


# ── back-pressure ─────────────────────────────────────────────────────────────────────────────────────


def test_what_has_no_room_waits_in_order() -> None:
    with pair() as (one, other_end):
        filled = fill(one)
        for number in range(20):
            one.send(Pass(number, 0))
        received: list[Message] = []
        while one.waiting:
            received += [message for message, _ in other_end.receive()]
            one.flush()
        received += [message for message, _ in other_end.receive()]
        assert received == [BIG] * filled + [Pass(number, 0) for number in range(20)]


def test_flush_without_room_keeps_everything() -> None:
    with pair() as (one, other_end):
        filled = fill(one)
        one.flush()
        assert len(other_end.receive()) == filled - 1
        one.flush()
        assert other_end.receive() == [(BIG, [])]


def test_a_small_message_never_overtakes_one_that_waits() -> None:
    with pair() as (one, other_end):
        fill(one)
        other_end.receive()  # now there is room, but `flush` has not been called
        one.send(ReopenLogs())
        assert other_end.receive() == []
        one.flush()
        assert [message for message, _ in other_end.receive()] == [BIG, ReopenLogs()]


def test_descriptors_that_wait_survive_the_sender_closing_its_own() -> None:
    before = descriptors()
    with pair() as (one, other_end), pipe() as (read_end, write_end):
        fill(one)
        one.send(Foster(1), [write_end])
        os.close(write_end)
        other_end.receive()
        one.flush()
        *_, (message, (copy,)) = other_end.receive()
        assert message == Foster(1)
        os.write(copy, b"!")
        assert os.read(read_end, 1) == b"!"
        os.close(copy)
        assert at_end_of_file(read_end), "the channel kept a duplicate"
    assert descriptors() == before


def test_closing_frees_the_descriptors_that_wait() -> None:
    before = descriptors()
    with pair() as (one, _), pipe() as (read_end, write_end):
        fill(one)
        one.send(Foster(1), [write_end])
        os.close(write_end)
        one.close()
        assert at_end_of_file(read_end)
    assert descriptors() == before


def test_what_waits_for_a_dead_peer_is_dropped() -> None:
    before = descriptors()
    with pair() as (one, other_end), pipe() as (read_end, write_end):
        fill(one)
        one.send(Foster(1), [write_end])
        os.close(write_end)
        other_end.close()
        one.flush()
        assert not one.waiting
        assert at_end_of_file(read_end)
    assert descriptors() == before


# ── the other end goes ────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_file_comes_after_everything_sent() -> None:
    with pair() as (one, other_end):
        other_end.send(Listens())
        other_end.send(Ready())
        other_end.close()
        assert one.receive() == [(Listens(), []), (Ready(), [])]
        for _ in range(3):
            with pytest.raises(PeerGoneError):
                one.receive()


def test_a_peer_that_never_read_us_is_still_read_to_its_end() -> None:
    """The kernel then says ECONNRESET first."""
    with pair() as (one, other_end):
        other_end.send(Failed("application", "last words"))
        one.send(ReopenLogs())
        other_end.close()
        with socket.socket(fileno=os.dup(one.fileno())) as look:
            assert look.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "not the case that is meant here"
    with pair() as (one, other_end):
        other_end.send(Failed("application", "last words"))
        one.send(ReopenLogs())
        other_end.close()
        assert one.receive() == [(Failed("application", "last words"), [])]
        with pytest.raises(PeerGoneError):
            one.receive()


def test_a_peer_that_neither_read_nor_spoke_is_gone() -> None:
    with pair() as (one, other_end):
        one.send(ReopenLogs())
        other_end.close()
        with pytest.raises(PeerGoneError):
            one.receive()


def test_sending_to_a_dead_peer_is_no_error_and_hides_nothing() -> None:
    before = descriptors()
    with pair() as (one, other_end), pipe() as (read_end, write_end):
        other_end.send(Leaving())
        one.send(ReopenLogs())
        other_end.close()
        for _ in range(3):
            one.send(Foster(1), [write_end])
        assert not one.waiting
        assert one.receive() == [(Leaving(), [])]
        with pytest.raises(PeerGoneError):
            one.receive()
        os.close(write_end)
        assert at_end_of_file(read_end)
    assert descriptors() == before


def test_closing_twice_is_harmless() -> None:
    with pair() as (one, _):
        one.close()
        one.close()


# ── two processes ─────────────────────────────────────────────────────────────────────────────────────


def test_two_processes_speak_under_load(other: Callable[[str], Other]) -> None:
    """The reader is slower than the writer, so most messages wait at least once."""
    echo = other(
        """
while True:
    select.select([channel], [channel] if channel.waiting else [], [])
    channel.flush()
    try:
        received = channel.receive()
    except PeerGoneError:
        break
    for message, fds in received:
        if isinstance(message, Pass):
            channel.send(LimitReached(message.count if fds else 0))
        else:
            channel.send(Failed("application", message.settings))
        close_all(fds)
"""
    )
    channel = echo.channel
    with pipe() as (_, write_end):
        sent: list[ToLauncher] = []
        for number in range(100):
            text = "é" * (97 * number)
            channel.send(Pass(number, 0), [write_end])
            channel.send(Start(text, 0, 0, 0, 0, 0))
            sent += [LimitReached(number), Failed("application", text)]
        back: list[ToLauncher] = []
        while len(back) < len(sent):
            wants_to_write = [channel] if channel.waiting else []
            assert any(select.select([channel], wants_to_write, [], PATIENCE))
            channel.flush()
            back += [message for message, _ in channel.receive()]
    assert back == sent
    channel.close()
    assert echo.popen.wait(PATIENCE) == 0


def test_a_killed_senders_message_still_arrives(other: Callable[[str], Other]) -> None:
    sender = other("channel.send(Listens())\nsay(b'.')\nlinger()")
    assert sender.said() == b"."
    sender.kill()
    assert sender.channel.receive() == [(Listens(), [])]
    with pytest.raises(PeerGoneError):
        sender.channel.receive()


def test_a_killed_receiver_frees_the_descriptors_it_never_read(other: Callable[[str], Other]) -> None:
    receiver = other("say(b'.')\nlinger()")
    assert receiver.said() == b"."
    with pipe() as (read_end, write_end):
        receiver.channel.send(Foster(1), [write_end])
        os.close(write_end)
        assert not select.select([read_end], [], [], 0)[0], "the message holds the write end"
        receiver.kill()
        assert at_end_of_file(read_end)
    with pytest.raises(PeerGoneError):
        receiver.channel.receive()


def test_a_killed_receiver_frees_the_descriptors_it_had_read(other: Callable[[str], Other]) -> None:
    receiver = other("select.select([channel], [], [])\nchannel.receive()\nsay(b'.')\nlinger()")
    with pipe() as (read_end, write_end):
        receiver.channel.send(Foster(1), [write_end])
        os.close(write_end)
        assert receiver.said() == b"."
        receiver.kill()
        assert at_end_of_file(read_end)


def test_an_exit_without_a_word_is_an_end_of_file(other: Callable[[str], Other]) -> None:
    silent = other("")
    wait_readable(silent.channel)
    with pytest.raises(PeerGoneError):
        silent.channel.receive()


# ── descriptors stay few ──────────────────────────────────────────────────────────────────────────────


def test_no_descriptor_is_left_behind() -> None:
    before = descriptors()
    for _ in range(20):
        with pair() as (one, other_end), pipe() as ends:
            one.send(Foster(1), ends)
            ((_, copies),) = other_end.receive()
            for copy in copies:
                os.close(copy)
            one.send(Foster(1), ends)  # never read
    assert descriptors() == before


@pytest.mark.parametrize(("descriptors", "come"), [(1, 1), (3, 3), (10, 0)])
def test_an_exhausted_receiver_gets_what_its_spare_ones_can_take_or_none(
    other: Callable[[str], Other], descriptors: int, come: int
) -> None:
    receiver = other(
        """
exhaust()
say(b".")
for _ in range(3):
    select.select([channel], [], [])
    ((message, fds),) = channel.receive()
    close_all(fds)
    say(b"%d" % len(fds))
linger()
"""
    )
    assert receiver.said() == b"."
    with pipe() as (read_end, write_end):
        for _ in range(3):
            receiver.channel.send(Foster(1), [write_end] * descriptors)
            assert receiver.said() == b"%d" % come
        os.close(write_end)
        assert at_end_of_file(read_end)


def test_an_exhausted_sender_lets_what_waits_go_without() -> None:
    script = """
ours, theirs = Channel.pair()
worker = Channel(theirs, TO_WORKER)
big = Start("x" * 60_000, 0, 0, 0, 0, 0)
while not ours.waiting:
    ours.send(big)
exhaust()
ours.send(Drain(30.0, (7,)), [1])
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
received = worker.receive()
ours.flush()
received += worker.receive()
assert received[-1] == (Drain(30.0, (7,)), []), received[-1]
"""
    run(script)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be nobody")
def test_too_many_descriptors_under_way_are_told_apart_from_a_full_buffer() -> None:
    script = """
import resource
ours, theirs = Channel.pair()
worker = Channel(theirs, TO_WORKER)
os.setresuid(65534, 65534, 65534)
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
while not ours.waiting:
    ours.send(Foster(1), [1] * 40)
assert ours.crowded
assert select.select([], [ours], [], 0)[1], "there is room in the buffer, and that says nothing"
while received := worker.receive():
    for _, fds in received:
        close_all(fds)
ours.flush()
assert not ours.waiting
"""
    run(script)


def run(script: str) -> None:
    """Apart, with a limit of its own."""
    prelude = PRELUDE.partition("channel = ")[0] + "def exhaust" + PRELUDE.partition("def exhaust")[2]
    command = [sys.executable, "-c", prelude + "import resource\n" + script]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], timeout=PATIENCE)


# ── a worker that lies, and one that floods ───────────────────────────────────────────────────────────

LIES: dict[str, bytes] = {
    "nothing of JSON": b"\x00\xff\xfe",
    "UTF-16": '{"kind": "Ready"}'.encode("utf-16"),
    "no object": b"[]",
    "a number": b"7",
    "without a kind": b"{}",
    "a kind that is none": b'{"kind": "Nonsense"}',
    "a kind that is no text": b'{"kind": ["Ready"]}',
    "a kind of the launcher's": b'{"kind": "ReopenLogs"}',
    "Start": encode(BIG),
    "a field too many": b'{"kind": "Ready", "slot": 1}',
    "a field too few": b'{"kind": "LimitReached"}',
    "a field twice": b'{"kind": "LimitReached", "requests": 1, "requests": 2}',
    "a text for a number": b'{"kind": "LimitReached", "requests": "1"}',
    "true for a number": b'{"kind": "LimitReached", "requests": true}',
    "a fraction": b'{"kind": "LimitReached", "requests": 1.5}',
    "less than nothing": b'{"kind": "LimitReached", "requests": -1}',
    "more than anything": b'{"kind": "LimitReached", "requests": 1' + b"0" * 30 + b"}",
    "a number of 5,000 digits": b'{"kind": "LimitReached", "requests": ' + b"1" * 5000 + b"}",
    "not a number": b'{"kind": "LimitReached", "requests": NaN}',
    "infinitely many": b'{"kind": "LimitReached", "requests": 1e999}',
    "somebody else's blame": b'{"kind": "Failed", "blame": "nobody", "text": ""}',
    "a list of blames": b'{"kind": "Failed", "blame": ["operator"], "text": ""}',
    "a text that is too long": b'{"kind": "Failed", "blame": "operator", "text": "%b"}'
    % (b"x" * (MOST_TEXT + 1)),
    "a deep list": b'{"kind": "Failed", "blame": "operator", "text": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    "a deep object": b'{"kind": ' * 10_000,
    "more than a packet": b"x" * (PACKET + 1),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_a_violation_in_words_of_one_line(lie: bytes) -> None:
    with pair_with_a_liar() as (launcher, liar):
        liar.send(lie)
        with pytest.raises(ViolationError) as raised:
            launcher.receive()
        assert str(raised.value).isprintable()
        assert 5 < len(str(raised.value)) < 300
        liar.send(encode(Ready()))
        assert launcher.receive() == [(Ready(), [])]


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["kind", "text", "blame"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_sent_is_a_message_or_a_violation(packet: bytes) -> None:
    with contextlib.suppress(ViolationError):
        decode(packet, TO_LAUNCHER)


def test_a_lone_surrogate_is_escaped() -> None:
    with pair() as (launcher, worker):
        worker.send(Failed("operator", "no file \udcff"))
        assert launcher.receive() == [(Failed("operator", "no file \\udcff"), [])]


@contextlib.contextmanager
def pair_with_a_liar() -> Iterator[tuple[LauncherEnd, socket.socket]]:
    """The launcher's end, and the bare socket of the other."""
    ours, theirs = Channel.pair()
    with contextlib.closing(ours), theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PACKET)
        yield ours, theirs


@pytest.mark.parametrize("packet", [encode(Ready()), b"nonsense", b""], ids=["Ready", "nonsense", "nothing"])
def test_descriptors_from_a_worker_are_a_violation_and_never_ours(packet: bytes) -> None:
    before = descriptors()
    with pair_with_a_liar() as (launcher, liar), pipe() as (read_end, write_end):
        for _ in range(20):
            socket.send_fds(liar, [packet], [write_end] * 50)
            with pytest.raises(ViolationError, match="none is wanted"):
                launcher.receive()
        assert descriptors() == before + 4
        os.close(write_end)
        assert at_end_of_file(read_end), "the kernel keeps none of them either"


def test_a_worker_that_never_stops_sending_is_heard_a_turn_at_a_time() -> None:
    with pair() as (launcher, worker):
        for _ in range(AT_ONCE + 1):
            worker.send(Leaving())
        assert len(launcher.receive()) == AT_ONCE
        assert len(launcher.receive()) == 1
        assert launcher.receive() == []
