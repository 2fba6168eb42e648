"""Everything that keeps the addresses: reservations, sockets all workers share, and the escrow.

The launcher owns every descriptor in here, and never accepts from one.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from reuseport.kernel.addresses import DescriptorAddress, Endpoint, TCPAddress, UnixAddress, parse_all
from reuseport.kernel.listener import Reservation, bind_listener, refuse_strangers, reserve_all
from reuseport.kernel.shared import FileIdentity, adopt_descriptor, open_unix, remove_unix


@dataclass(frozen=True)
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

    def __init__(self, reservations: Sequence[Reservation], shared: Sequence[Shared]) -> None:
        self.reservations = tuple(reservations)
        self.shared = tuple(shared)
        self.incoming_cpu: Callable[[int], int | None] | None = None
        """Given a slot, the CPU whose connections its listeners are to get first."""
        self._escrow: dict[int, list[socket.socket]] = {}
        self._inboxes: dict[int, tuple[socket.socket, socket.socket]] = {}

    def endpoints(self) -> list[Endpoint]:
        """Where each slot has a listener of its own."""
        return [reservation.endpoint for reservation in self.reservations]

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
                    undo.enter_context(bind_listener(endpoint, cpu)) for endpoint in self.endpoints()
                ]
                undo.pop_all()
        return self._escrow[slot]

    def opened(self, slot: int) -> Sequence[socket.socket]:
        """The slot's listeners, as far as there are any."""
        return self._escrow.get(slot, ())

    def listening(self) -> Iterator[socket.socket]:
        """The listeners of all slots, also those that do not listen yet."""
        return itertools.chain.from_iterable(self._escrow.values())

    def listeners(self, slot: int) -> list[int]:
        """The descriptors of `escrow`."""
        return [listener.fileno() for listener in self.escrow(slot)]

    def release(self) -> None:
        """Close our duplicates of every listener: from now on the workers' are the last."""
        for listeners in self._escrow.values():
            for listener in listeners:
                listener.close()
        self._escrow.clear()
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


@contextlib.contextmanager
def held(binds: Sequence[str], join: bool) -> Iterator[Ports]:
    """Reserve every address, and let go of all of them at the end.

    Raises ConfigurationError when one cannot be had, or when somebody else listens there and we are not to
    `join` them; then nothing is left behind.
    """
    addresses = parse_all(binds)
    with contextlib.ExitStack() as stack:
        reservations = reserve_all(address for address in addresses if isinstance(address, TCPAddress))
        for reservation in reservations:
            stack.callback(reservation.close)
        if not join:
            refuse_strangers(reservations)
        shared: list[Shared] = []
        for address in addresses:
            if isinstance(address, UnixAddress):
                listener = open_unix(address)
                opened = Shared(str(address), listener, (address.path, FileIdentity.of(address.path)))
            elif isinstance(address, DescriptorAddress):
                opened = Shared(str(address), adopt_descriptor(address))
            else:
                continue
            shared.append(stack.enter_context(contextlib.closing(opened)))
        yield stack.enter_context(contextlib.closing(Ports(reservations, shared)))
