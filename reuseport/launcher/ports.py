"""Everything that keeps the addresses: reservations, sockets all workers share, and the escrow.

The launcher owns every descriptor in here, and never accepts from one.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence

from reuseport.errors import ConfigurationError
from reuseport.kernel import owners
from reuseport.kernel.addresses import DescriptorAddress, Endpoint, TCPAddress, UnixAddress, parse_all
from reuseport.kernel.inherited import Inherited
from reuseport.kernel.listener import Reservation, bind_listener, refuse_strangers, reserve_all
from reuseport.kernel.shared import FileIdentity, adopt_descriptor, open_unix, remove_unix
from reuseport.launcher.activation import Group, divided
from reuseport.records import record

log = logging.getLogger("reuseport")


@record(frozen=True)
class Shared:
    """A socket all workers accept from, its name for people, and the file that is to go with it."""

    name: str
    socket: socket.socket
    file: tuple[str, FileIdentity] | None = None

    def close(self) -> None:
        """Once or often. The file first: a freed inode's number may be the next file's."""
        if self.file is not None:
            remove_unix(*self.file)
        self.socket.close()


class Ports:
    """The addresses served, from the reservation to the last close."""

    def __init__(
        self, reservations: Sequence[Reservation], shared: Sequence[Shared], groups: Sequence[Group] = ()
    ) -> None:
        self.reservations = tuple(reservations)
        self.shared = tuple(shared)
        self.groups = tuple(groups)
        """The service manager's listeners: they listen already, and their slots are the first."""
        self.incoming_cpu: Callable[[int], int | None] | None = None
        """Given a slot, the CPU whose connections its listeners are to get first."""
        self._escrow: dict[int, list[socket.socket]] = {}
        self._inboxes: dict[int, tuple[socket.socket, socket.socket]] = {}

    def endpoints(self) -> list[Endpoint]:
        """Where each slot has a listener of its own."""
        own = [reservation.endpoint for reservation in self.reservations]
        return [*own, *(group.endpoint for group in self.groups)]

    def passed(self) -> int:
        """How many slots have listeners of the service manager's."""
        return len(self.groups[0].members) if self.groups else 0

    def most_slots(self) -> int | None:
        """How many slots can have listeners; None: any number.

        Beyond those of the service manager we would have to bind beside them, and the kernel lets nobody into
        a reuseport group but the user who opened its first socket (net/ipv4/inet_connection_sock.c,
        inet_bind_conflict): the manager, which is root, while we most often are not.
        """
        try:
            for group in self.groups:
                bind_listener(group.endpoint).close()
        except ConfigurationError:
            owner = owners.user(os.fstat(self.groups[0].members[0].socket.fileno()).st_uid)
            why = (
                f"the service manager's listeners belong to {owner}, and nobody else's may stand beside them"
            )
            log.info("no more than %d slots: %s", self.passed(), why)
            return self.passed()
        return None

    def shared_fds(self) -> list[int]:
        """Sockets that cannot be bound once for each worker."""
        return [shared.socket.fileno() for shared in self.shared]

    def escrow(self, slot: int) -> list[socket.socket]:
        """The slot's listeners, one for each endpoint: bound at the first call, all or none.

        Bound by us and not by its workers, who may be another user and the port a privileged one; and so that
        at no moment a client can be in a queue that only a worker holds. They listen when a worker says so.
        Raises as `bind_listener`.
        """
        if slot not in self._escrow:
            with contextlib.ExitStack() as undo:
                cpu = None if self.incoming_cpu is None else self.incoming_cpu(slot)
                self._escrow[slot] = [
                    *(
                        undo.enter_context(bind_listener(reservation.endpoint, cpu))
                        for reservation in self.reservations
                    ),
                    *(undo.enter_context(_member(group, slot, cpu)) for group in self.groups),
                ]
                undo.pop_all()
        return self._escrow[slot]

    def opened(self, slot: int) -> Sequence[socket.socket]:
        """The slot's listeners, as far as there are any."""
        return self._escrow.get(slot, ())

    def listening(self) -> Iterator[socket.socket]:
        """The listeners of all slots, also those that do not listen yet."""
        passed = (member.socket for group in self.groups for member in group.members)
        opened = itertools.chain.from_iterable(self._escrow.values())
        return (listener for listener in (*passed, *opened) if listener.fileno() >= 0)

    def listeners(self, slot: int) -> list[int]:
        """The descriptors of `escrow`."""
        return [listener.fileno() for listener in self.escrow(slot)]

    def release(self) -> None:
        """Close our duplicates of every listener: from now on the workers' are the last."""
        for listeners in self._escrow.values():
            for listener in listeners:
                listener.close()
        self._escrow.clear()
        for group in self.groups:
            for member in group.members:
                member.close()
        for shared in self.shared:
            shared.close()

    def inbox(self, slot: int) -> tuple[int, int]:
        """The slot's inbox: the end its worker receives connections from, and the end others send them to.

        It belongs to the slot as its listeners do: what was sent waits here whoever dies.
        """
        receiving, sending = self._inbox(slot)
        return receiving.fileno(), sending.fileno()

    def received(self, slot: int) -> socket.socket:
        """The receiving end: readable while connections wait there. The launcher reads none."""
        return self._inbox(slot)[0]

    def _inbox(self, slot: int) -> tuple[socket.socket, socket.socket]:
        if slot not in self._inboxes:
            self._inboxes[slot] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return self._inboxes[slot]

    def close(self) -> None:
        """Close every duplicate and inbox."""
        self.release()
        for ends in self._inboxes.values():
            for end in ends:
                end.close()
        self._inboxes.clear()

    def places(self, scheme: str) -> list[str]:
        """Where clients connect: URLs, and the names of shared sockets."""
        return [
            *(endpoint.url(scheme) for endpoint in self.endpoints()),
            *(shared.name for shared in self.shared),
        ]

    def describe(self, scheme: str) -> str:
        """Where clients connect, for people."""
        places = [endpoint.url(scheme) for endpoint in self.endpoints()]
        return ", ".join([*places, *(f"{shared.name} (one shared listener)" for shared in self.shared)])


def _member(group: Group, slot: int, cpu: int | None) -> socket.socket:
    """The slot's listener of the service manager's group; beyond those that were passed one of our own."""
    if slot >= len(group.members):
        return bind_listener(group.endpoint, cpu)
    listener = group.members[slot].socket
    if cpu is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, cpu)
    return listener


@contextlib.contextmanager
def held(
    binds: Sequence[str], join: bool, inherited: Sequence[Inherited] = (), *, named: bool = True
) -> Iterator[Ports]:
    """Reserve every address, and let go of all of them at the end.

    `inherited` are the service manager's listeners, which are ours from here; they stand for those addresses
    that they have, and without `named`, if the operator has said nothing, for all. Raises ConfigurationError
    when one cannot be had, or when somebody else listens there and we are not to `join` them; then nothing is
    left behind.
    """
    with contextlib.ExitStack() as stack:
        for each in inherited:
            stack.callback(each.close)
        activation = divided(inherited, parse_all(binds), named=named)
        for sentence in activation.sentences():
            log.info(sentence)
        addresses = activation.left
        reservations = reserve_all(address for address in addresses if isinstance(address, TCPAddress))
        for reservation in reservations:
            stack.callback(reservation.close)
        if not join:
            refuse_strangers(reservations)
        shared = [Shared(str(each), each.socket) for each in activation.shared]
        for address in addresses:
            if isinstance(address, UnixAddress):
                listener = open_unix(address)
                opened = Shared(str(address), listener, (address.path, FileIdentity.of(address.path)))
            elif isinstance(address, DescriptorAddress):
                opened = Shared(str(address), adopt_descriptor(address))
            else:
                continue
            shared.append(stack.enter_context(contextlib.closing(opened)))
        yield stack.enter_context(contextlib.closing(Ports(reservations, shared, activation.groups)))
