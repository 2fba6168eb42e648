"""Strangers: who else has our port or our path.

SO_REUSEPORT makes a double start silent: the second program binds, listens, and takes its share of the
connections. So the port is looked up in /proc/net/tcp and tcp6 (proc_net_tcp(5)), and among the sockets that
do not listen yet, before anything is started.
"""

import errno
import ipaddress
import itertools
import os
import socket
import stat
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from reuseport.errors import ConfigurationError
from reuseport.kernel import owners
from reuseport.kernel.addresses import Endpoint, UnixAddress
from reuseport.kernel.named import named_sockets
from reuseport.kernel.silent import silent_sockets
from reuseport.records import record

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

_LISTEN = 10  # include/net/tcp_states.h

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


@record(frozen=True)
class Stranger:
    """A socket on an address that overlaps ours: its owner's uid, its inode, its address as HOST:PORT."""

    uid: int
    inode: int
    address: str

    def describe(self) -> str:
        """Such as "pid 812 (nginx, user www-data)". The pid is hidden when the socket is another user's."""
        pids = owners.holders(self.inode)
        if not pids:
            return f"a process of user {owners.user(self.uid)} (uid {self.uid})"
        # The oldest holder is nearly always the parent that opened it, the one to stop.
        return f"pid {pids[0]} ({owners.command(pids[0])}, user {owners.user(self.uid)})"


@record(frozen=True)
class _Row:
    endpoint: Endpoint
    state: int
    uid: int
    inode: int

    def stranger(self) -> Stranger:
        return Stranger(self.uid, self.inode, str(self.endpoint))


def listeners_on(endpoint: Endpoint) -> tuple[Stranger, ...]:
    """Everybody who listens where a connection to the endpoint could go, ourselves included.

    /proc does not tell IPV6_V6ONLY, so a listener on [::] counts as one on IPv4 as well: a wrong refusal is
    loud and --join overrules it, a missed double start is silent.
    """
    return tuple(
        row.stranger()
        for table in _TABLES
        for row in _listening(table, endpoint.port)
        if _overlap(endpoint, row.endpoint)
    )


def seen_on(endpoint: Endpoint) -> bool:
    """Whether any socket with a row in /proc/net/tcp explains that the port was bound before us.

    One that is bound and does not listen has none: that is how a reservation looks from outside.
    """
    return any(_overlap(endpoint, row.endpoint) for table in _TABLES for row in _rows(table))


def inodes_at(port: int) -> frozenset[int]:
    """Of all sockets that listen at this port, or are bound there and do not, as far as the kernel tells."""
    listening = {row.inode for table in _TABLES for row in _listening(table, port)}
    try:
        silent = silent_sockets()
    except OSError:
        silent = ()
    return frozenset(listening | {each.inode for each in silent if each.endpoint.port == port})


def starting_on(endpoint: Endpoint, ours: Collection[int]) -> tuple[Stranger, ...] | None:
    """Who else is bound there and does not listen: servers just starting. None where nobody can tell.

    `ours`: inodes of sockets of our own that are like that. A kernel that does not show them shows nobody's.
    """
    try:
        silent = silent_sockets()
    except OSError:
        return None
    if not set(ours) <= {each.inode for each in silent}:
        return None
    return tuple(
        Stranger(each.uid, each.inode, str(each.endpoint))
        for each in silent
        if each.inode not in ours and _overlap(endpoint, each.endpoint)
    )


def explain_in_use(endpoint: Endpoint) -> str:
    """Why bind(2) said EADDRINUSE for a socket with SO_REUSEPORT, and what to do about it.

    The kernel lets a socket in only beside sockets that all have SO_REUSEPORT and our uid, or that do not
    listen and have SO_REUSEADDR, if it has that, too (net/ipv4/inet_connection_sock.c, inet_bind_conflict).
    """
    rows = [row for table in _TABLES for row in _rows(table) if _overlap(endpoint, row.endpoint)]
    # A listener tells more than its connections. Inode 0 is a connection that no process has any more.
    for row in sorted(rows, key=lambda row: row.state != _LISTEN):
        if row.inode:
            return f"{row.stranger().describe()} {_claim(row)}; stop it, or choose another port"
    if rows:
        return (
            "only closing connections of a stopped server without SO_REUSEADDR are left there;"
            " wait up to 60 seconds, or choose another port"
        )
    # A bound socket that neither listens nor is connected has no row.
    for stranger in starting_on(endpoint, ()) or ():
        silent = f"{stranger.describe()} has bound {stranger.address} and does not listen"
        if os.getpid() in owners.holders(stranger.inode):
            return f"{silent}: it is this server itself; choose another port for one of the two"
        return f"{silent}, perhaps a server that is just starting; stop it, or choose another port"
    return (
        "a socket that does not listen holds it, of another user or without SO_REUSEPORT, perhaps a server"
        " that is just starting; stop that, or choose another port"
    )


def clear_path(address: UnixAddress) -> int:
    """Remove a dead server's socket file from the path. Returns the new file's mode: the old one's, or 0666.

    Raises ConfigurationError when somebody has the path, listening or about to, or when it is not a socket.
    """
    path = Path(address.path)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0o666
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigurationError(f"{path} exists and is not a socket; choose another path or remove it")
    if _answers(address) or _is_bound(address):
        raise ConfigurationError(f"{address} is served by another program; stop it or choose another path")
    path.unlink(missing_ok=True)
    return stat.S_IMODE(status.st_mode)


def _claim(row: _Row) -> str:
    if row.state != _LISTEN:
        return f"has a connection from {row.endpoint}"
    if row.uid != os.geteuid():
        return f"serves {row.endpoint} as another user, and only one user's sockets may share a port"
    return f"serves {row.endpoint} without SO_REUSEPORT"


def _listening(table: Path, port: int) -> Iterator[_Row]:
    # net/ipv4/tcp_ipv4.c, tcp_get_idx(): the listening hash is walked before the established one, so a
    # million connections cost nothing. A listener leaves its hash before its state changes (tcp_set_state).
    # Of other ports nothing is read: any user may have listeners by the ten thousand, and we wait for it.
    return itertools.takewhile(lambda row: row.state == _LISTEN, _rows(table, f":{port:04X} "))


def _rows(table: Path, listening_on: str = "") -> Iterator[_Row]:
    """All rows; of listeners only those in whose line this is."""
    # A host without IPv6 has no tcp6.
    if not table.exists():
        return
    with table.open(encoding="ascii") as lines:
        next(lines)
        for line in lines:
            if listening_on not in line and " 0A " in line:
                continue
            fields = line.split()
            yield _Row(_endpoint(fields[1]), int(fields[3], 16), int(fields[7]), int(fields[9]))


def _endpoint(text: str) -> Endpoint:
    """Read "0100007F:1F40": 32-bit words in the host's byte order, then the port as a plain number."""
    words, _, port = text.partition(":")
    packed = b"".join(
        struct.pack("=I", int(words[start : start + 8], 16)) for start in range(0, len(words), 8)
    )
    if len(packed) == 4:
        return Endpoint(socket.AF_INET, (socket.inet_ntop(socket.AF_INET, packed), int(port, 16)))
    return Endpoint(socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, packed), int(port, 16), 0, 0))


def _overlap(one: Endpoint, other: Endpoint) -> bool:
    if one.port != other.port:
        return False
    ours, theirs = _ip(one), _ip(other)
    return ours == theirs or _covers(ours, theirs) or _covers(theirs, ours)


def _covers(wildcard: _IP, ip: _IP) -> bool:
    # [::] may be dual stack and then takes both families; 0.0.0.0 takes IPv4 alone.
    return wildcard.is_unspecified and wildcard.version >= ip.version


def _ip(endpoint: Endpoint) -> _IP:
    ip = ipaddress.ip_address(endpoint.host)
    # A connection accepted by a dual-stack listener shows as ::ffff:127.0.0.1, and stands in IPv4's way.
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _answers(address: UnixAddress) -> bool:
    """Would a client get through? ECONNREFUSED says no; a full queue or a datagram server says yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        result = client.connect_ex(address.path)
    return result not in {errno.ECONNREFUSED, errno.ENOENT}


def _is_bound(address: UnixAddress) -> bool:
    """Has somebody bound the path without listening yet, as we do ourselves while the first worker starts?

    connect(2) refuses such a socket just like a dead one; the kernel knows it, under the path its owner gave.
    Connections accepted from a dead listener are in another state.
    """
    return any(each.path == address.path for each in named_sockets() if not each.listens)
