"""The sockets through which the launcher is seen and steered, opened before anything is started.

Each door has its rights: whoever may open the control socket's file may do everything; at the admin address
everybody may look, and who has the token may act. Nothing here imports a web framework.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from reuseport import runtime
from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import DescriptorAddress, TCPAddress, UnixAddress, parse
from reuseport.kernel.listener import listen_alone
from reuseport.kernel.shared import FileIdentity, open_unix, remove_unix
from reuseport.records import record
from reuseport.settings.table import Settings

BACKLOG = 64
SHORTEST_TOKEN = 16
"""Characters: of a random hexadecimal token, 64 bits."""
LONGEST_TOKEN = 4096
LONGEST_PATH = 107
"""Bytes: sockaddr_un has no room for more (unix(7))."""

log = logging.getLogger("reuseport")


class Token:
    """The secret of the admin address. Only its hash is kept."""

    def __init__(self, text: str) -> None:
        import hashlib  # OpenSSL with it, a mebibyte that who has no token does without

        self._digest = hashlib.sha256(text.encode()).digest()

    def matches(self, given: bytes) -> bool:
        """In a time that tells nothing of where, or by how much, the two differ."""
        import hashlib
        import hmac

        return hmac.compare_digest(hashlib.sha256(given).digest(), self._digest)


@record(frozen=True)
class Door:
    """A listening socket, and what whoever comes through it may do. Owned by `opened`."""

    listener: socket.socket
    name: str
    acts: bool = False
    """Everybody may act: the file system has asked already who it is."""
    token: Token | None = None
    """Who has it may act."""
    hosts: frozenset[str] = field(default_factory=frozenset)
    """Names that a browser may call us by; empty: whatever it says (no browser connects to a unix socket)."""


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[list[Door]]:
    """The control socket and the admin address, as far as the settings want them.

    Raises ConfigurationError for what was asked for and cannot be had. A control socket that nobody asked
    for, and that has no place here, is left out with a word in the log.
    """
    with contextlib.ExitStack() as stack:
        doors: list[Door] = []
        if not settings.no_control:
            doors += _control(stack, settings)
        if settings.admin is not None:
            doors += _admin(stack, settings, settings.admin)
        for door in doors:
            log.info("%s at %s", "control" if door.acts else "admin", door.name)
        yield doors


def _control(stack: contextlib.ExitStack, settings: Settings) -> Iterator[Door]:
    if settings.control is not None:
        yield _control_at(stack, settings.control)
        return
    try:
        directory = runtime.directory()
        runtime.sweep(directory)
        path = str(runtime.control_socket(directory, os.getpid()))
        yield _control_at(stack, path)
    except (ConfigurationError, OSError) as error:
        # OSError: the file system is full, or ill.
        log.warning("going on without a control socket: %s", error)


def _control_at(stack: contextlib.ExitStack, path: str) -> Door:
    return Door(_unix(stack, path), f"unix:{path}", acts=True)


def _admin(stack: contextlib.ExitStack, settings: Settings, name: str) -> Iterator[Door]:
    token = None if settings.admin_token_file is None else read_token(settings.admin_token_file)
    address = parse(name)
    if isinstance(address, UnixAddress):
        yield Door(_unix(stack, address.path), str(address), token=token)
        return
    if isinstance(address, DescriptorAddress):
        raise ConfigurationError(f"--admin {name}: write HOST:PORT or unix:/path")
    for listener in listen_alone(address, BACKLOG):
        stack.callback(listener.close)
        host, port = listener.getsockname()[:2]
        if token is None and not settings.admin_open and not _is_loopback(host):
            raise ConfigurationError(
                f"--admin {name} can be reached from other machines, and has no token: give "
                "--admin-token-file PATH, choose a loopback address, or say --admin-open"
            )
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        yield Door(listener, f"http://{place}", token=token, hosts=_hosts(address, settings))


def _hosts(address: TCPAddress, settings: Settings) -> frozenset[str]:
    return frozenset(
        name.lower() for name in ("localhost", address.host, socket.gethostname(), *settings.admin_hosts)
    )


def _unix(stack: contextlib.ExitStack, path: str) -> socket.socket:
    """Bound with mode 0600 from the first moment on, and listening. Raises ConfigurationError, OSError."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ConfigurationError(f"unix:{path} is too long: choose a path of {LONGEST_PATH} bytes or less")
    listener = open_unix(UnixAddress(path), mode=0o600)
    stack.callback(listener.close)
    stack.callback(remove_unix, path, FileIdentity.of(path))
    listener.listen(BACKLOG)
    return listener


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def read_token(path: str) -> Token:
    """The secret in the file, without white space around it. Raises ConfigurationError.

    Also where everybody may read it, as ssh(1) does with a private key: if it is ours, for who keeps it for
    us may have reasons. Its group is left out of that: containers are given secrets by a group.
    """
    fix = f"write one into it: (umask 077; openssl rand -hex 32 > {path})"
    try:
        with Path(path).open(encoding="ascii") as file:
            status = os.fstat(file.fileno())
            text = file.read(LONGEST_TOKEN + 1).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"cannot read --admin-token-file {path}: {reason}; {fix}") from error
    if not SHORTEST_TOKEN <= len(text) <= LONGEST_TOKEN or not text.isprintable() or " " in text:
        raise ConfigurationError(
            f"--admin-token-file {path} has no token of {SHORTEST_TOKEN} characters or more; {fix}"
        )
    if status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXO:
        raise ConfigurationError(
            f"--admin-token-file {path} may be read by everybody (mode {stat.S_IMODE(status.st_mode):o}), and"
            f" who has the token may stop us: chmod o= {path}"
        )
    return Token(text)
