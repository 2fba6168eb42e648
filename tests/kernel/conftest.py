"""Real processes beside the tests: another user's, another program's, in a network of their own."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from reuseport.kernel.silent import silent_sockets

# Modules are imported before the privileges go: the other user need not be able to read this tree. An
# interface of a new network namespace is down, and 127.0.0.1 absent, until SIOCSIFFLAGS (netdevice(7)).
PRELUDE = """
import codecs, contextlib, fcntl, os, pwd, socket, struct, sys
from pathlib import Path
from reuseport.errors import ReuseportError
from reuseport.kernel import listener, strangers
from reuseport.kernel.addresses import Endpoint

codecs.lookup("ascii")

def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))

def become(uid):
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

def open_listener(host, port, *options):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind((host, port))
    sock.listen()
    return sock

"""


class Run(Protocol):
    """Start a program and return its pid and the line it prints. It lives until its input ends."""

    def __call__(self, source: str, *, command: tuple[str, ...] = ()) -> tuple[int, str]: ...


@pytest.fixture
def run() -> Iterator[Run]:
    root = str(Path(__file__).parents[2])
    with contextlib.ExitStack() as running:

        def start(source: str, *, command: tuple[str, ...] = ()) -> tuple[int, str]:
            process = running.enter_context(
                subprocess.Popen(
                    [
                        *command,
                        sys.executable,
                        "-c",
                        f"{PRELUDE}{source}\nsys.stdout.flush()\nsys.stdin.read()",
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": root},
                )
            )
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, "the program died before it answered"
            return process.pid, line

        yield start


@pytest.fixture
def own_network(run: Run) -> Callable[[str], str]:
    """Run a program in a network namespace of its own, as its root."""
    command = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--net", "--map-root-user")
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces are not supported here")
    return lambda source: run(f"loopback_up()\n{source}", command=command)[1]


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")


@pytest.fixture
def ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("IPv6 is not supported here")


@pytest.fixture
def silent_shown() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        if os.fstat(probe.fileno()).st_ino not in {each.inode for each in silent_sockets()}:
            pytest.skip("this kernel does not show sockets that are bound and do not listen")


@pytest.fixture
def no_leak() -> Iterator[None]:
    """The test must leave as many descriptors open as it found."""
    before = _descriptors()
    yield
    assert _descriptors() == before


def _descriptors() -> set[tuple[str, str]]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        # The descriptor that lists the directory is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.add((entry.name, str(entry.readlink())))
    return found
