"""Steering: a program in the kernel gives each new connection to the slot that should have it.

One program and one sockarray for each reuseport group (endpoint, family), because a socket array serves one
group only; all of them read the same state, the scoreboard, and advance the same turn. What the programs
decide is in `decision.py`; here is who owns what, and how listeners come and go.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace

from reuseport.kernel import bpf, decision
from reuseport.kernel.plan import Maps, Plan, Policy, Words
from reuseport.records import record

# The element has a socket already, or the socket has an element: sk_user_data is taken
# (kernel/bpf/reuseport_array.c, reuseport_array_update_check).
_TAKEN = frozenset({errno.EBUSY})

# SO_COOKIE of asm-generic/socket.h: the number by which the kernel knows a socket for as long as it runs.
_SO_COOKIE = 57
_COOKIE = struct.Struct("=Q")

_TURN_BYTES = 8


@record(frozen=True)
class _Group:
    sockets: bpf.Map
    program: bpf.Program


class Steering:
    """Loaded programs, their maps, and the scoreboard they read. The launcher's; `close()` ends its part.

    The maps have room for more slots than the programs serve, so that `resize` need not replace them. What is
    attached goes on steering without us, until the group's last listener is closed.
    """

    def __init__(
        self, room: int, plan: Plan, state: bpf.Map, turn: bpf.Map, groups: tuple[_Group, ...]
    ) -> None:
        self._room = room
        self._plan = plan
        self._state = state
        self._turn = turn
        self._groups = groups

    @classmethod
    def create(
        cls,
        room: int,
        slots: int,
        policy: Policy,
        late_ns: int,
        stale_ns: int,
        words: Words,
        groups: int = 1,
    ) -> Steering:
        """Load a program for each group, numbered from 0, and make the scoreboard they share, all words 0.

        The programs serve `slots` slots, the maps have room for `room`. A heartbeat older than `late_ns`, or
        than `stale_ns` where there is no work, puts its slot behind the others. Raises ValueError for what
        cannot be meant, HostError where we may not or the kernel cannot, OSError at a limit; then nothing is
        left behind.
        """
        plan = Plan(slots, policy, late_ns, stale_ns, words)
        _fits(plan, room)
        with contextlib.ExitStack() as undo:
            state = undo.enter_context(
                contextlib.closing(bpf.Map.array("scoreboard", room, words.slot_bytes))
            )
            turn = undo.enter_context(contextlib.closing(bpf.Map.array("turn", 1, _TURN_BYTES)))
            loaded = []
            for _ in range(groups):
                sockets = undo.enter_context(contextlib.closing(bpf.Map.sockarray("listeners", room)))
                program = undo.enter_context(contextlib.closing(_load(plan, state, turn, sockets)))
                loaded.append(_Group(sockets, program))
            undo.pop_all()
        return cls(room, plan, state, turn, tuple(loaded))

    @property
    def state_fd(self) -> int:
        """The scoreboard, to be mapped (mmap(2), MAP_SHARED) with `state_bytes`; fstat(2) says 0. Ours."""
        return self._state.fd

    @property
    def state_bytes(self) -> int:
        """The scoreboard's size: the rows of all slots there is room for, without the padding to pages."""
        return self._room * self._plan.words.slot_bytes

    def attach(self, listener: socket.socket, group: int, slot: int) -> None:
        """Make the listener the slot's, in place of any other, and the group steered. Again does nothing.

        Any duplicate of the worker's descriptor will do. A slot beyond those served gets nothing until
        `resize`. Raises ValueError for a slot there is no room for and for a socket that serves another
        slot; OSError at a limit, and for a socket that does not listen: whoever has a duplicate may have
        closed it.
        """
        if not 0 <= slot < self._room:
            raise ValueError(f"slot {slot}: there is room for slots 0 to {self._room - 1}; create with more")
        _must_listen(listener, f"slot {slot}")
        target = self._groups[group]
        # First the slot, then the program: the other way round the first connections would find no slot.
        try:
            target.sockets.put(slot, listener.fileno())
        except OSError as error:
            served = target.sockets.get(slot)
            if error.errno not in _TAKEN or served is None:
                # Nobody is there, so the listener is in another program's map: of a run before us, which the
                # kernel has not freed yet. In a moment it has.
                raise
            if served != cookie(listener):
                raise ValueError(
                    f"slot {slot}: this listener serves another slot; remove it there"
                ) from error
        # Each time: a group that lost its last listener in between has forgotten its program.
        target.program.attach(listener)

    def insist(self, group: int, listener: socket.socket) -> None:
        """Put the group's program in place of whatever somebody else may have attached. Raises OSError.

        `listener` is one of the group, and listens. With ours in place nothing changes.
        """
        self._groups[group].program.attach(listener)

    def resize(self, slots: int, listeners: Sequence[socket.socket | None]) -> None:
        """Serve another number of slots: load programs for it over the same maps, and put them in place.

        `listeners` has for each group a listening socket of it, or None if nothing is attached there yet: the
        next `attach` brings the new program. A group decides by the old program or the new one, never by
        none. Raises as `create` does, and OSError for a socket that does not listen; then nothing has
        changed.
        """
        plan = replace(self._plan, slots=slots)
        _fits(plan, self._room)
        if len(listeners) != len(self._groups):
            raise ValueError(f"resize wants a listener or None for each of {len(self._groups)} groups")
        for number, listener in enumerate(listeners):
            if listener is not None:
                _must_listen(listener, f"group {number}")
        with contextlib.ExitStack() as undo:
            loaded = [
                undo.enter_context(contextlib.closing(_load(plan, self._state, self._turn, group.sockets)))
                for group in self._groups
            ]
            # All are loaded before one is attached. Replacing is safe: the kernel frees an eBPF program when
            # nobody runs it any more (net/core/filter.c, sk_reuseport_prog_free).
            for group, program, listener in zip(self._groups, loaded, listeners, strict=True):
                if listener is not None:
                    program.attach(listener)
                    undo.callback(group.program.attach, listener)
            undo.pop_all()
        for group in self._groups:
            group.program.close()
        self._groups = tuple(
            replace(group, program=program) for group, program in zip(self._groups, loaded, strict=True)
        )
        self._plan = plan

    def remove(self, group: int, slot: int) -> None:
        """Take the slot's listener out of the program's reach; again does nothing. Raises OSError.

        It stays in the group: the hash still sends to it whenever no slot is live.
        """
        self._groups[group].sockets.delete(slot)

    def listener_cookie(self, group: int, slot: int) -> int | None:
        """SO_COOKIE of the listener the program would choose for this slot; None if there is none."""
        return self._groups[group].sockets.get(slot)

    def statistics(self, group: int) -> bpf.Statistics:
        """What the group's program cost since it was loaded, while the kernel counted. Raises OSError."""
        return self._groups[group].program.statistics()

    def close(self) -> None:
        """Close every descriptor. Attached programs and mapped scoreboards live on."""
        for group in self._groups:
            group.program.close()
            group.sockets.close()
        self._turn.close()
        self._state.close()


def cookie(listener: socket.socket) -> int:
    """The kernel's own number of a socket, the same through every duplicate (socket(7), SO_COOKIE)."""
    (number,) = _COOKIE.unpack(listener.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE.size))
    return int(number)


def _load(plan: Plan, state: bpf.Map, turn: bpf.Map, sockets: bpf.Map) -> bpf.Program:
    return bpf.Program.load("reuseport", decision.assemble(plan, Maps(state.fd, turn.fd, sockets.fd)))


def _fits(plan: Plan, room: int) -> None:
    if plan.slots > room:
        raise ValueError(f"steering has room for {room} slots, not {plan.slots}; create it with more room")


def _must_listen(listener: socket.socket, what: str) -> None:
    # Without this the kernel's EINVAL for a wrong moment would look like its EINVAL for a wrong socket.
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, f"{what}: attach the listener after listen(2), when it is in its group")
