"""Listening sockets that each worker has for itself: the reservation and the workers' listeners.

Everything here is bound and not listening: listen(2) is the worker's last step before it is ready, because a
socket joins its reuseport group at listen and gets connections from then on
(net/ipv4/inet_connection_sock.c, inet_csk_listen_start).
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from reuseport.errors import ConfigurationError, HostError
from reuseport.kernel import strangers
from reuseport.kernel.addresses import IPV6_ANY, Endpoint, TCPAddress, refuse_overlaps, resolve
from reuseport.records import record

# This host has no such address, or lacks the whole family (ipv6.disable=1). For one endpoint of several of a
# name that is normal: /etc/hosts maps localhost to ::1 on hosts without IPv6.
ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

# Privileged ports and security modules answer EACCES, a cgroup's bind program EPERM.
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})

# A limit of this process or of the host is used up: nothing in the configuration is wrong.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# The kernel knows the address and still wants more: the interface of a link-local one (ipv6(7)).
INCOMPLETE = frozenset({errno.EINVAL, errno.ENODEV})

# How often to ask again when the port the kernel chose for one family is taken for the other. One failure is
# rare: a row of them means that the ephemeral range is used up.
PORT_ATTEMPTS = 16

# SO_REUSEPORT while binding: beside others of our user that have it, or only where nobody is.
_SHARED, _ALONE = 1, 0


@record(frozen=True)
class Reservation:
    """The launcher's hold on one port: the endpoint with its real port, and the bound socket.

    `first` says that nobody had bound the port, listening or not. Has one owner, the launcher, which closes
    it last.
    """

    endpoint: Endpoint
    socket: socket.socket
    first: bool

    def close(self) -> None:
        self.socket.close()


def reserve_all(addresses: Iterable[TCPAddress]) -> tuple[Reservation, ...]:
    """Reserve all endpoints in order, or none. Raises as `resolve`, `refuse_overlaps`, `reserve_together`."""
    names = [resolve(address) for address in addresses]
    refuse_overlaps(endpoint for endpoints in names for endpoint in endpoints)
    with contextlib.ExitStack() as undo:
        held: list[Reservation] = []
        for endpoints in names:
            reservations = reserve_together(endpoints)
            held.extend(undo.enter_context(contextlib.closing(each)) for each in reservations)
        undo.pop_all()
    return tuple(held)


def refuse_strangers(reservations: Iterable[Reservation]) -> None:
    """Raise ConfigurationError if anybody listens on a reserved port, or is about to.

    Call it before a worker listens.
    """
    reservations = tuple(reservations)
    ours = {os.fstat(reservation.socket.fileno()).st_ino for reservation in reservations}
    for reservation in reservations:
        for stranger in strangers.listeners_on(reservation.endpoint):
            raise ConfigurationError(
                f"port {reservation.endpoint.port} is already served by {stranger.describe()} on"
                f" {stranger.address}; stop it, choose another --port, or pass --join to serve beside it"
            )
        if reservation.first:
            continue
        starting = strangers.starting_on(reservation.endpoint, ours)
        if starting or (starting is None and not strangers.seen_on(reservation.endpoint)):
            who = starting[0].describe() if starting else "another launcher of this user"
            raise ConfigurationError(
                f"port {reservation.endpoint.port} is reserved by {who}, which is just starting;"
                " stop it, choose another --port, or pass --join to serve beside it"
            )


def reserve_together(endpoints: Sequence[Endpoint]) -> tuple[Reservation, ...]:
    """Reserve the endpoints of one name on one port, also one the kernel chooses, or none of them.

    Those this host has not are skipped if it has another. Raises ConfigurationError for an address taken,
    forbidden or not of this host, HostError at a limit and where no port is free.
    """
    for _ in range(PORT_ATTEMPTS):
        try:
            return _reserve_together(endpoints)
        except OSError as error:
            # Only the kernel's own choice ends here: for a port with a number EADDRINUSE was explained.
            if error.errno != errno.EADDRINUSE:
                raise
    hosts = " and ".join(endpoint.host for endpoint in endpoints)
    raise HostError(f"no port is free on {hosts}; name a port, or widen net.ipv4.ip_local_port_range")


def bind_listener(endpoint: Endpoint, cpu: int | None = None) -> socket.socket:
    """Bind a slot's own socket beside the reservation. Non-blocking, not inheritable, not yet listening.

    With a `cpu` the kernel prefers it, within its group, for connections whose packets come in there
    (SO_INCOMING_CPU, socket(7); in groups since Linux 6.2). Raises as `reserve_together`.

    SO_REUSEADDR, which every connection inherits, is for those that come before and after us: see `_reserve`.
    It lets nobody in beside us, for the reservation has it not, and a bind must pass everyone who is there.
    """
    try:
        listener = _bound(endpoint, _SHARED, reuseaddr=1)
    except OSError as error:
        _explain(endpoint, error)
        raise
    listener.setblocking(False)
    if cpu is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, cpu)
    return listener


def listen_alone(address: TCPAddress, backlog: int) -> tuple[socket.socket, ...]:
    """Listen where nobody else may, in no group: at each endpoint of the address that this host has.

    Non-blocking, not inheritable. SO_REUSEADDR lets us in past the TIME_WAIT connections of our last run and,
    among sockets without SO_REUSEPORT, past nobody who listens (socket(7)). Raises as `reserve_together`.
    """
    endpoints = resolve(address)
    with contextlib.ExitStack() as undo:
        listeners: list[socket.socket] = []
        for endpoint in endpoints:
            try:
                listener = undo.enter_context(_bound(endpoint, _ALONE, reuseaddr=1))
                listener.listen(backlog)
            except OSError as error:
                if error.errno in ABSENT and (listeners or endpoint is not endpoints[-1]):
                    continue
                _explain(endpoint, error)
                raise
            listener.setblocking(False)
            listeners.append(listener)
        undo.pop_all()
    return tuple(listeners)


def _bound(endpoint: Endpoint, reuseport: int, reuseaddr: int = 0) -> socket.socket:
    with contextlib.ExitStack() as undo:
        # The protocol is named: with 0, asyncio does not recognise what it accepts as TCP and leaves Nagle's
        # algorithm on (asyncio/base_events.py, _set_nodelay).
        listener = undo.enter_context(socket.socket(endpoint.family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuseport)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuseaddr)
        if endpoint.family == socket.AF_INET6:
            # Set for every address, so that net.ipv6.bindv6only does not decide. Only members that agree on
            # it share a group.
            only = 0 if endpoint.host == IPV6_ANY else 1
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        listener.bind(endpoint.sockaddr)
        undo.pop_all()
    return listener


def _explain(endpoint: Endpoint, error: OSError) -> None:
    """Raise what the operator can act on; return for an errno nobody foresaw, which must crash."""
    if error.errno == errno.EADDRINUSE:
        raise ConfigurationError(f"{endpoint} is in use: {strangers.explain_in_use(endpoint)}") from error
    if error.errno in FORBIDDEN:
        raise ConfigurationError(f"{endpoint} is forbidden: {_privilege(endpoint.port)}") from error
    if error.errno in ABSENT:
        hint = "see `ip address`, or bind 0.0.0.0 or [::] for all"
        raise ConfigurationError(f"{endpoint} is not an address of this host; {hint}") from error
    if error.errno in INCOMPLETE:
        hint = "a link-local address needs its interface: [fe80::1%eth0]:8000"
        raise ConfigurationError(f"{endpoint} cannot be bound; {hint}") from error
    if error.errno in EXHAUSTED:
        hint = "raise ulimit -n or free memory"
        raise HostError(f"no socket for {endpoint}: {error.strerror}; {hint}") from error


def _privilege(port: int) -> str:
    start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii"))
    if port < start:
        return (
            f"ports below {start} need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=) or a lower"
            f" net.ipv4.ip_unprivileged_port_start; or choose port {start} or above"
        )
    return "a security policy (SELinux, AppArmor, a cgroup program) keeps us from the port; change it"


def _reserve_together(endpoints: Sequence[Endpoint]) -> tuple[Reservation, ...]:
    held: list[Reservation] = []
    absent: list[tuple[Endpoint, OSError]] = []
    with contextlib.ExitStack() as undo:
        for endpoint in endpoints:
            try:
                reservation = _reserve_beside(held, endpoint)
            except OSError as error:
                if error.errno in ABSENT:
                    absent.append((endpoint, error))
                    continue
                if endpoint.port or error.errno != errno.EADDRINUSE:
                    _explain(endpoint, error)
                raise
            held.append(undo.enter_context(contextlib.closing(reservation)))
        if not held:
            _explain(*absent[0])
        undo.pop_all()
    return tuple(held)


def _reserve_beside(held: Sequence[Reservation], endpoint: Endpoint) -> Reservation:
    if held and not endpoint.port:
        endpoint = endpoint.with_port(held[0].endpoint.port)
        # Our own user's group would let us in without a word; for a port nobody asked for, that is "taken".
        if strangers.listeners_on(endpoint):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return _reserve(endpoint)


def _reserve(endpoint: Endpoint) -> Reservation:
    """Bind where nobody is, else beside our own, else over what other servers have left.

    bind(2) and listen(2) ask everyone who has the port, connections in TIME_WAIT included
    (inet_bind_conflict, net/ipv4/inet_connection_sock.c). Two sockets agree if both have SO_REUSEPORT and one
    user, which TIME_WAIT is not asked for; or if both have SO_REUSEADDR and the one who is there does not
    listen. Connections keep the options of the listener they came from:

        TIME_WAIT left by          lets in
        uvicorn and most others    SO_REUSEADDR
        us                         either

    A reservation that kept SO_REUSEADDR would agree with every stranger that has it, so it has it for one
    call. Who binds within that call cannot listen afterwards, nor is in our way.
    """
    try:
        bound, first = _bound(endpoint, _ALONE), True
        # Now the workers' listeners are let in: the kernel asks the option of the sockets that are there
        # (inet_bind_conflict), not the one they had at bind.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Perhaps only TIME_WAIT connections of our last run; refuse_strangers looks closer.
        bound, first = _bound_beside(endpoint), False
    return Reservation(endpoint.with_port(bound.getsockname()[1]), bound, first)


def _bound_beside(endpoint: Endpoint) -> socket.socket:
    try:
        return _bound(endpoint, _SHARED)
    except OSError as error:
        # Without a trace of a connection it is a socket that does not listen yet: a server that is starting.
        if error.errno != errno.EADDRINUSE or not strangers.seen_on(endpoint):
            raise
    with contextlib.ExitStack() as undo:
        bound = undo.enter_context(_bound(endpoint, _SHARED, reuseaddr=1))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        _prove(endpoint)
        undo.pop_all()
    return bound


def _prove(endpoint: Endpoint) -> None:
    """Raise OSError(EADDRINUSE) if a stranger could bind over us.

    Where the kernel remembers that all had SO_REUSEADDR when they bound, it may ask nobody what he has now
    (fastreuse, in inet_csk_get_port). A listener makes it forget, and TIME_WAIT means that there was one.
    """
    try:
        stranger = _bound(endpoint, _ALONE, reuseaddr=1)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return
    stranger.close()
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
