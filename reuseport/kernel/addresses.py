"""Addresses: what `--bind` says, and what the kernel is asked to bind.

An address is the operator's words; an endpoint is one family and sockaddr those words resolve to. One address
may give several endpoints ("localhost" is often ::1 and 127.0.0.1).
"""

import ipaddress
import itertools
import os
import socket
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from reuseport.errors import ConfigurationError
from reuseport.records import record

Sockaddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

# sun_path is 108 bytes (unix(7)). Linux accepts a name without the final zero; not every client does.
UNIX_PATH_BYTES = 107

IPV4_ANY = "0.0.0.0"
IPV6_ANY = "::"

FORMS = "write HOST:PORT, [IPV6]:PORT, :PORT, unix:/path or fd://N"


@record(frozen=True)
class TCPAddress:
    """A host name or IP literal (IPv6 without brackets) and a port, 0 to 65535; 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


@record(frozen=True)
class UnixAddress:
    """The path of a stream socket in the file system (unix(7))."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@record(frozen=True)
class DescriptorAddress:
    """The number of an open, inherited descriptor."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Address: TypeAlias = TCPAddress | UnixAddress | DescriptorAddress


@record(frozen=True)
class Endpoint:
    """What bind(2) takes: AF_INET with (host, port), or AF_INET6 with (host, port, flowinfo, scope id)."""

    family: int
    sockaddr: Sockaddr

    def __str__(self) -> str:
        return f"{_bracketed(self._scoped('%'))}:{self.port}"

    @property
    def host(self) -> str:
        return self.sockaddr[0]

    @property
    def port(self) -> int:
        return self.sockaddr[1]

    def with_port(self, port: int) -> "Endpoint":
        """The same interface at another port."""
        return Endpoint(self.family, (self.sockaddr[0], port, *self.sockaddr[2:]))

    def url(self, scheme: str) -> str:
        """Such as "http://127.0.0.1:8000" or "http://[::1]:8000"; a scope is escaped as RFC 6874 asks."""
        return f"{scheme}://{_bracketed(self._scoped('%25'))}:{self.port}"

    def to_json(self) -> list[str | int]:
        """[family, host, port] or [family, host, port, flowinfo, scope id]."""
        return [self.family, *self.sockaddr]

    @classmethod
    def from_json(cls, fields: Sequence[object]) -> "Endpoint":
        """The inverse of `to_json`. Raises ValueError for any other shape."""
        match fields:
            case [int(family), str(host), int(port)]:
                return cls(family, (host, port))
            case [int(family), str(host), int(port), int(flow), int(scope)]:
                return cls(family, (host, port, flow, scope))
        raise ValueError(f"not an endpoint: {fields!r}")

    def _scoped(self, mark: str) -> str:
        scope = self.sockaddr[3] if len(self.sockaddr) == 4 else 0
        return f"{self.host}{mark}{scope}" if scope else self.host


def parse(text: str) -> Address:
    """Read one `--bind` value. Raises ConfigurationError when it has none of the known forms."""
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd://"):
        return _parse_descriptor(text)
    return _parse_tcp(text)


def parse_all(texts: Iterable[str]) -> tuple[Address, ...]:
    """Read every `--bind` value, in order. Raises ConfigurationError also when two exclude each other."""
    addresses = tuple(parse(text) for text in texts)
    for one, other in itertools.combinations(addresses, 2):
        match one, other:
            case TCPAddress(), TCPAddress():
                _refuse_pair(one, other)
            case _ if one == other:
                raise ConfigurationError(f"{one} is given twice; remove one")
    return addresses


def resolve(address: TCPAddress) -> tuple[Endpoint, ...]:
    """Ask the resolver (getaddrinfo(3)) what a host name means, in its order, without repeats.

    Raises ConfigurationError when the name is unknown.
    """
    try:
        found = socket.getaddrinfo(
            address.host,
            address.port,
            type=socket.SOCK_STREAM,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_PASSIVE,
        )
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError: the IDNA encoder refuses empty and overlong labels before the resolver is asked.
        raise ConfigurationError(
            f"cannot resolve the host of {address}: {_reason(error)}; use an IP address of this host"
        ) from error
    # A dict keeps the resolver's order, which is the administrator's preference (gai.conf(5)).
    return tuple(dict.fromkeys(Endpoint(int(family), _sockaddr(sockaddr)) for family, *_, sockaddr in found))


def refuse_overlaps(endpoints: Iterable[Endpoint]) -> None:
    """Raise ConfigurationError for an endpoint given twice, and for both wildcards at one port."""
    for one, other in itertools.combinations(endpoints, 2):
        _refuse_pair(one, other)


def _refuse_pair(one: TCPAddress | Endpoint, other: TCPAddress | Endpoint) -> None:
    # Port 0 never meets itself: the kernel chooses a fresh port each time.
    if one.port != other.port or one.port == 0:
        return
    if one == other:
        raise ConfigurationError(f"{one} is given twice; remove one")
    # Mixing both wildcards hit regressions in several stable kernels, and gains nothing.
    if {one.host, other.host} == {IPV4_ANY, IPV6_ANY}:
        raise ConfigurationError(
            f"{one} and {other} cannot be combined: [::] alone serves IPv4 too; remove {IPV4_ANY}"
        )


def _parse_tcp(text: str) -> TCPAddress:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        hint = f"for a port on this machine write 127.0.0.1:{text}" if text.isdecimal() else FORMS
        raise ConfigurationError(f"{text!r} is not an address: host or port is missing; {hint}")
    if "://" in text:
        raise ConfigurationError(
            f"{text!r} is a URL: leave out {text.partition('://')[0]}://, --ssl-certfile brings TLS; {FORMS}"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ConfigurationError(f"{text!r} is not an address: [{host}] is not IPv6; {FORMS}")
        # bind(2) refuses a mapped address with IPV6_V6ONLY (EINVAL), which is how single addresses are bound.
        if mapped := ipaddress.IPv6Address(host).ipv4_mapped:
            raise ConfigurationError(f"{text!r} is an IPv4 address in IPv6 clothes; write {mapped}:{port}")
    elif ":" in host:
        raise ConfigurationError(
            f"{text!r} is ambiguous: put the IPv6 address in brackets, such as [::1]:8000"
        )
    # "*" is both wildcards to glibc, and both together are refused.
    elif any(character in host for character in "[]/@* \0"):
        raise ConfigurationError(f"{text!r} is not an address; {FORMS}")
    return TCPAddress(host or IPV4_ANY, _parse_port(port, text))


def _parse_port(port: str, text: str) -> int:
    # isascii: int() also reads the digits of other scripts, which nobody means.
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ConfigurationError(f"{text!r} is not an address: the port must be a number from 0 to 65535")
    return int(port)


def _parse_unix(text: str) -> UnixAddress:
    # unix:///run/app.sock is how proxies write it; both slashes belong to the scheme.
    path = text.removeprefix("unix:").removeprefix("//")
    if not path or path.endswith("/") or "\0" in path:
        raise ConfigurationError(f"{text!r} names no socket file; write unix:/path")
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        raise ConfigurationError(
            f"{text!r} is too long: the kernel takes {UNIX_PATH_BYTES} bytes of path; use a shorter directory"
        )
    return UnixAddress(path)


def _parse_descriptor(text: str) -> DescriptorAddress:
    number = text.removeprefix("fd://")
    # Ten digits and more overflow the C int of the system calls.
    if not (number.isascii() and number.isdecimal()) or len(number) > 9:
        raise ConfigurationError(f"{text!r} names no descriptor; write fd://N, such as fd://3")
    return DescriptorAddress(int(number))


def _is_ipv6(host: str) -> bool:
    try:
        # A scope ("%eth0") is for the resolver, inet_pton(3) does not know it.
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _sockaddr(found: Sequence[object]) -> Sockaddr:
    return Endpoint.from_json([0, *found]).sockaddr


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not a host name"
