"""What does the steering program cost a new connection, and how long does the kernel take to check it?

The cost is the kernel's own account of the program's runs (bpf_prog_info, run_time_ns and run_cnt), one for
each SYN; about 20 ns of it are the timing itself. It needs CAP_SYS_ADMIN. Loading is checking and compiling,
all of it in one system call during which the launcher does nothing else; CAP_BPF suffices.
"""

from __future__ import annotations

import argparse
import mmap
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from typing import get_args

from bench.kit.measure import HOST, announce, interleaved, spread
from reuseport.errors import HostError
from reuseport.kernel import bpf, decision
from reuseport.kernel.plan import WORD_BYTES, Maps, Plan, Policy, Words
from reuseport.kernel.steering import Steering

WORDS = Words(row=32, fence=5, serving_desk=6, assigned=7, heartbeat=0, load=1, accepted=7)
LATE_NS, STALE_NS = 25_000_000, 1_000_000_000
NEVER_LATE = 1 << 62
"""A heartbeat that lies in the future."""

POLICIES: tuple[Policy, ...] = get_args(Policy)
DECIDED = (8, 64)
LOADED = (8, 64, 65, 1024)
"""Numbers of slots. Beyond 64 the program is another one, the same for all of them."""

BATCH = 50
"""Connections open at a time."""

PATIENCE = 5.0
"""Seconds for a handshake on the loopback interface."""

_RESET = struct.pack("ii", 1, 0)  # struct linger (socket(7)): close(2) waits for nothing and resets


@dataclass
class Rig:
    """A reuseport group, steered, with a listener and a live worker's words for each slot."""

    steering: Steering
    listeners: list[socket.socket]

    def run(self, connections: int) -> bpf.Statistics:
        """Open so many connections, batch by batch; what the program cost meanwhile. Raises OSError."""
        before = self.steering.statistics(0)
        for start in range(0, connections, BATCH):
            # The clients close first, by reset: a connection that ends politely sends segments after its end
            # wherever the kernel has no place left for TIME-WAIT, and the program is asked about those too.
            with ExitStack() as accepted, ExitStack() as opened:
                for _ in range(min(BATCH, connections - start)):
                    client = socket.create_connection(self.listeners[0].getsockname(), PATIENCE)
                    opened.enter_context(client)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                for listener in self.listeners:
                    with suppress(BlockingIOError):
                        while True:
                            accepted.enter_context(listener.accept()[0])
        after = self.steering.statistics(0)
        return bpf.Statistics(after.runs - before.runs, after.nanoseconds - before.nanoseconds)


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.steering", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--connections", type=int, default=1000, help="for each program in each round")
    arguments = parser.parse_args()
    announce(arguments)
    try:
        loading(arguments.rounds)
        deciding(arguments.rounds, arguments.connections)
    except HostError as error:
        raise SystemExit(str(error)) from error


def loading(rounds: int) -> None:
    """Print what checking and compiling takes, for each policy and number of slots."""
    plans = [plan(*variant) for variant in product(LOADED, POLICIES)]
    seconds: dict[Plan, list[float]] = {one: [] for one in plans}
    for _, one in interleaved(plans, rounds):
        lasted, instructions = load(one)
        seconds[one].append(lasted)
        if len(seconds[one]) == rounds:
            figures = spread([lasted * 1e3 for lasted in seconds[one]], ".2f")
            print(f"{one.policy}, {one.slots} slots: {instructions} instructions, loaded in {figures} ms")


def load(one: Plan) -> tuple[float, int]:
    """Load a program and let it go; seconds that took, its length in instructions. Raises HostError."""
    with ExitStack() as cleanup:
        state = cleanup.enter_context(closing(bpf.Map.array("scoreboard", one.slots, WORDS.slot_bytes)))
        turn = cleanup.enter_context(closing(bpf.Map.array("turn", 1, WORD_BYTES)))
        sockets = cleanup.enter_context(closing(bpf.Map.sockarray("listeners", one.slots)))
        code = decision.assemble(one, Maps(state.fd, turn.fd, sockets.fd))
        began = time.monotonic()
        cleanup.enter_context(closing(bpf.Program.load("reuseport", code)))
        return time.monotonic() - began, len(code) // 8


def deciding(rounds: int, connections: int) -> None:
    """Print what a run costs. Raises SystemExit where the kernel does not tell us."""
    with ExitStack() as cleanup:
        try:
            cleanup.enter_context(bpf.statistics_on())
        except PermissionError as error:
            raise SystemExit("what a run costs is told to CAP_SYS_ADMIN only: run as root") from error
        plans = [plan(*variant) for variant in product(DECIDED, POLICIES)]
        costs: dict[Plan, list[float]] = {one: [] for one in plans}
        for _, one in interleaved(plans, rounds):
            # A new one each time: for as long as it lives, one may be a third dearer than the next.
            with rig(one) as group:
                group.run(connections // 4)
                cost = group.run(connections)
            costs[one].append(cost.nanoseconds / cost.runs)
        for one in plans:
            print(f"{one.policy}, {one.slots} slots: {spread(costs[one], '.0f')} ns per SYN")


def plan(slots: int, policy: Policy) -> Plan:
    """With the launcher's limits."""
    return Plan(slots, policy, LATE_NS, STALE_NS, WORDS)


@contextmanager
def rig(one: Plan) -> Iterator[Rig]:
    """Raises HostError where we may not steer."""
    with ExitStack() as cleanup:
        steering = cleanup.enter_context(
            closing(Steering.create(one.slots, one.slots, one.policy, one.late_ns, one.stale_ns, one.words))
        )
        board = cleanup.enter_context(mmap.mmap(steering.state_fd, steering.state_bytes))
        listeners: list[socket.socket] = []
        for slot in range(one.slots):
            at = slot * WORDS.slot_bytes + WORDS.row_bytes + WORDS.heartbeat * WORD_BYTES
            with memoryview(board) as view, view.cast("B") as octets, octets.cast("Q") as words:
                words[at // WORD_BYTES] = NEVER_LATE
            port = listeners[0].getsockname()[1] if listeners else 0
            listeners.append(cleanup.enter_context(listen(port)))
            steering.attach(listeners[-1], 0, slot)
        yield Rig(steering, listeners)


def listen(port: int) -> socket.socket:
    """A non-blocking listener of the port's group; port 0 makes a new one."""
    with ExitStack() as undo:
        listener = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setblocking(False)
        listener.bind((HOST, port))
        listener.listen()
        undo.pop_all()
    return listener


if __name__ == "__main__":
    main()
