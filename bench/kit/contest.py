"""One contestant running under test: unprivileged, with the ledger of what its workers execute.

Everything happens in a network namespace of its own (ip(7), network_namespaces(7)): sysctls have the kernel's
defaults there, and the kernel's TCP counters count this contest and nothing else of the machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.kit.measure import HOST, PATIENCE, Server, free_port, session
from bench.served.peers import APP, Contestant, Setup

INSIDE = "BENCH_INSIDE_NAMESPACE"
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
"""Without a bounding set an exec gives not even uid 0 a capability (capabilities(7)). The uid stays: nobody's
may not read the interpreter, and the kernel asks for capabilities, not for uids."""
SETTLE = 0.3
"""Seconds from the end of application startup until a peer, which says no more, is taken as listening."""
STEP = 0.01

_IFF_UP = 0x1
_SIOCSIFFLAGS = 0x8914
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_TCP_LISTEN = 10  # include/net/tcp_states.h
_CONNECTED = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT


def enter_namespace() -> None:
    """Run this program again where the network is its own. Raises SystemExit where the kernel refuses."""
    if INSIDE in os.environ:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            # struct ifreq: a name of 16 bytes, then a union of 24, here the flags (netdevice(7)).
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        return
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SystemExit("unshare is not installed: apt-get install util-linux")
    unprivileged = [] if os.geteuid() == 0 else ["--map-root-user"]
    module = ["-m", f"bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    os.execve(  # noqa: S606 - this very program
        unshare, [unshare, *unprivileged, "--net", sys.executable, *module], {**os.environ, INSIDE: "1"}
    )


class Running:
    """A contestant that serves."""

    def __init__(self, contestant: Contestant, setup: Setup, server: Server, ledger: Path) -> None:
        self.contestant = contestant
        self.setup = setup
        self.server = server
        self.port = setup.port
        self._ledger = ledger

    def url(self, path: str = "/") -> str:
        """Where a client asks."""
        return f"{'https' if self.setup.certificate else 'http'}://{HOST}:{self.port}{path}"

    def workers(self) -> list[int]:
        """Pids of the workers whose application is up, oldest first."""
        entries = [path for path in self._ledger.iterdir() if not path.name.startswith(".")]
        entries.sort(key=lambda path: path.stat().st_ctime_ns)
        return [int(path.name) for path in entries if alive(int(path.name))]

    def executing(self, pid: int) -> int:
        """Requests whose handler has begun in this worker and not ended; also after its end."""
        return int(struct.unpack("Q", (self._ledger / str(pid)).read_bytes()[:8])[0])

    def wait_for(self, count: int, before: set[int] | None = None) -> None:
        """Until exactly so many workers are up, none of them in `before`. Raises TimeoutError."""
        old = before or set()
        until(lambda: len(self.workers()) == count and not old & set(self.workers()), f"{count} new workers")
        if not self.contestant.tells:
            time.sleep(SETTLE)

    def reload(self) -> None:
        """One rolling reload, from the signal to its end. Raises TimeoutError, RuntimeError."""
        at, before = time.monotonic(), set(self.workers())
        self.server.process.send_signal(signal.SIGHUP)
        if self.contestant.tells:
            # Not waited for: predecessors that still drain. The next reload finds them there.
            end = self.server.line(r"reload: generation \d+ serves|reload .* aborted", since=at)
            if "aborted" in end.text:
                raise RuntimeError(end.text)
        else:
            self.wait_for(self.setup.workers, before)

    def accepted(self, pid: int) -> int:
        """Connections of clients that this worker holds. Exact only while it is stopped."""
        return accepted(pid, self.port)

    def held(self, pid: int) -> int:
        """Stop a worker that is to be killed: how many connections will die with it."""
        os.kill(pid, signal.SIGSTOP)
        return self.accepted(pid)

    def kill(self, pid: int) -> int:
        """SIGKILL a worker; how many requests it was executing."""
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), f"the end of {pid}")
        return self.executing(pid)


@contextmanager
def launched(
    contestant: Contestant,
    setup: Setup,
    wrapper: Sequence[str] = UNPRIVILEGED,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A contestant from the moment its process is started. `wrapper` is a command that sets privileges."""
    with tempfile.TemporaryDirectory() as directory:
        variables = {"BENCH_LEDGER": directory, "HOME": directory, **(environment or {})}
        command = [*wrapper, "env", *(f"{name}={value}" for name, value in variables.items())]
        with session([*command, *contestant.command(setup)], setup.port) as server:
            yield Running(contestant, setup, server, Path(directory))


@contextmanager
def running(
    contestant: Contestant,
    *,
    workers: int = 2,
    app: str = APP,
    wrapper: Sequence[str] = UNPRIVILEGED,
    recycle_after: int | None = None,
    certificate: tuple[str, str] | None = None,
    access_log: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A contestant with all its workers up; without any capability, unless `wrapper` says otherwise."""
    chain, key = certificate or (None, None)
    setup = Setup(
        free_port(),
        workers,
        app,
        recycle_after=recycle_after,
        certificate=chain,
        key=key,
        access_log=access_log,
    )
    with launched(contestant, setup, wrapper, environment) as one:
        one.server.line(contestant.ready)
        one.wait_for(workers)
        yield one


def accepted(pid: int, port: int) -> int:
    """Connections to a port of ours that this process holds. Exact only while it is stopped."""
    held = {link for link in (_link(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()) if link}
    connections = {f"socket:[{inode}]" for _, inode in _sockets(port, _CONNECTED)}
    return len(held & connections)


def _link(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return None


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(question: Callable[[], bool], what: str, patience: float = PATIENCE, step: float = STEP) -> None:
    """Ask again and again until the answer is yes. Raises TimeoutError."""
    deadline = time.monotonic() + patience
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:g} s for {what}")
        time.sleep(step)


# ── what the kernel counted ───────────────────────────────────────────────────────────────────────────


def counter(name: str) -> int:
    """A TCP counter of this namespace, from /proc/net/snmp or /proc/net/netstat."""
    for file in ("/proc/net/snmp", "/proc/net/netstat"):
        lines = Path(file).read_text(encoding="ascii").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            found = dict(zip(names.split()[1:], values.split()[1:], strict=True))
            if name in found and names.startswith("Tcp"):
                return int(found[name])
    raise LookupError(f"the kernel does not count {name}")


def accept_queues(port: int) -> list[int]:
    """How many connections wait in each listener's accept queue."""
    return [queued for queued, _ in _sockets(port, 1 << _TCP_LISTEN)]


def _sockets(port: int, states: int) -> Iterator[tuple[int, int]]:
    """Receive queue and inode of each IPv4 socket on a local port, by sock_diag(7).

    Not /proc/net/tcp: to print it the kernel walks the whole table, which takes milliseconds even when it is
    empty, and a row may be skipped while others come and go.
    """
    # struct nlmsghdr; struct inet_diag_req_v2: family, protocol, two bytes, states, a sockid of 48 bytes.
    body = struct.pack("=BBBBI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, states)
    request = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as netlink:
        netlink.sendto(request, (0, 0))
        while True:
            packet = netlink.recv(65536)
            while packet:
                length, kind = struct.unpack_from("=IH", packet)
                if kind != _SOCK_DIAG_BY_FAMILY:  # NLMSG_DONE, or an error
                    return
                # struct inet_diag_msg: four bytes, the sockid with the port in front, then five numbers.
                (local,) = struct.unpack_from("!H", packet, 16 + 4)
                _, queued, _, _, inode = struct.unpack_from("=IIIII", packet, 16 + 4 + 48)
                if local == port:
                    yield queued, inode
                packet = packet[(length + 3) & ~3 :]
