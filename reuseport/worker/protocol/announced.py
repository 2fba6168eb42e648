"""What a proxy says of the client before the first byte of it: the PROXY protocol, versions 1 and 2. Pure.

As HAProxy's doc/proxy-protocol.txt has it. A header is read byte by exact byte, for what is behind it is the
client's: it may be TLS, and it may come in the same packet. Whatever is no header is an error: nobody is
guessed at.

    PROXY TCP4|TCP6 …   the addresses it says
    PROXY UNKNOWN, LOCAL, AF_UNSPEC   nothing is said: the connection's own
    AF_UNIX             the client has no address
    datagrams           refused: this is a stream
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

V2 = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY "
LONGEST_V1 = 107
"""Bytes, with the end of the line (section 2.1)."""
MOST_AFTER = 4096
"""Bytes of a version 2 header behind its first 16: addresses have 216 at most, the rest are TLVs."""
LONGEST = 16 + MOST_AFTER

_HEAD = struct.Struct(">12sBBH")
_INET = struct.Struct(">4s4sHH")
_INET6 = struct.Struct(">16s16sHH")
_UNIX = 216
_SSL, _CRC32C = 0x20, 0x03
"""PP2_TYPE_…"""
_CLIENT_SSL = 0x01
"""PP2_CLIENT_SSL: the client came by TLS."""


class NoHeaderError(ValueError):
    """This is no PROXY protocol header; the text says why."""


class Announced(NamedTuple):
    """A client as its proxy knows it; `client` and `server` as in an ASGI scope."""

    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    secure: bool = False
    """The client speaks TLS with the proxy."""
    known: bool = True
    """False: the proxy says nothing of a client, and the connection's own addresses hold."""

    def encode(self) -> bytes:
        """For the way to another worker; at most some 150 bytes."""
        return json.dumps(self).encode()

    @classmethod
    def decode(cls, data: bytes) -> Announced:
        """What `encode` made. Raises ValueError."""
        try:
            client, server, secure, known = json.loads(data)
            return cls(client and _pair(client), server and _pair(server), bool(secure), bool(known))
        except TypeError as error:
            raise ValueError(f"{data[:80]!r} is nobody") from error


def _pair(address: list[Any]) -> tuple[str, Any]:
    host, port = address
    if not isinstance(host, str) or not isinstance(port, int | None):
        raise TypeError
    return host, port


NOTHING = Announced(known=False)


class Found(NamedTuple):
    """A header that is complete: what it says, and how many bytes it has."""

    said: Announced
    length: int


def read(data: bytes) -> Found | None:
    """The header that `data` begins with; None: all of it is one's that goes on. Raises NoHeaderError."""
    if data[: len(V2)] == V2[: len(data)]:
        return _version_2(data)
    if data[: len(V1)] == V1[: len(data)]:
        return _version_1(data)
    raise NoHeaderError("it begins with something else")


# ── version 1: a line of text ─────────────────────────────────────────────────────────────────────────


def _version_1(data: bytes) -> Found | None:
    line, end, _ = data[:LONGEST_V1].partition(b"\r\n")
    if not end:
        if len(data) >= LONGEST_V1:
            raise NoHeaderError("its line does not end")
        return None
    return Found(_of_line(line), len(line) + len(end))


def _of_line(line: bytes) -> Announced:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return NOTHING  # and whatever follows is to be ignored
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise NoHeaderError("its line is neither TCP4 nor TCP6 with two addresses and two ports")
    family = socket.AF_INET if words[1] == b"TCP4" else socket.AF_INET6
    client, server = (_address(family, word) for word in words[2:4])
    return Announced((client, _port(words[4])), (server, _port(words[5])))


def _address(family: socket.AddressFamily, word: bytes) -> str:
    try:
        # Strict, and the shortest spelling: it is compared with others.
        packed = socket.inet_pton(family, word.decode("ascii"))
    except (OSError, ValueError) as error:
        raise NoHeaderError("an address in it is none") from error
    return str(ipaddress.ip_address(packed))


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65535:
        raise NoHeaderError("a port in it is none")
    return int(word)


# ── version 2: binary ─────────────────────────────────────────────────────────────────────────────────


def _version_2(data: bytes) -> Found | None:
    if len(data) < _HEAD.size:
        return None
    _, command, family, size = _HEAD.unpack_from(data)
    if command not in (0x20, 0x21):
        raise NoHeaderError("it is of another version, or gives another command")
    if size > MOST_AFTER:
        raise NoHeaderError(f"it is longer than {LONGEST} bytes")
    length = _HEAD.size + size
    if len(data) < length:
        return None
    if command == 0x20:
        return Found(NOTHING, length)  # LOCAL: the proxy itself, to see whether we are alive
    header = data[:length]
    said, behind = _addresses(family, header)
    for kind, start, end in _tlvs(header, behind):
        if kind == _CRC32C:
            _check(header, start, end)
        elif kind == _SSL and end - start >= 5:
            said = said._replace(secure=bool(header[start] & _CLIENT_SSL))
    return Found(said, length)


def _addresses(family: int, header: bytes) -> tuple[Announced, int]:
    """Who it is, and where its TLVs begin."""
    start = _HEAD.size
    match family:
        case 0x00:
            return NOTHING, start
        case 0x11 | 0x21:
            form = _INET if family == 0x11 else _INET6
            if len(header) < start + form.size:
                raise NoHeaderError("it is too short for its addresses")
            client, server, client_port, server_port = form.unpack_from(header, start)
            said = Announced(
                (str(ipaddress.ip_address(client)), client_port),
                (str(ipaddress.ip_address(server)), server_port),
            )
            return said, start + form.size
        case 0x31:
            if len(header) < start + _UNIX:
                raise NoHeaderError("it is too short for its addresses")
            return Announced(), start + _UNIX
        case _:
            raise NoHeaderError("it is of no family that a stream has")


def _tlvs(header: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Each one's type, and where its value begins and ends."""
    while at < len(header):
        if len(header) - at < 3:
            raise NoHeaderError("a part of it is cut off")
        kind, size = struct.unpack_from(">BH", header, at)
        at += 3
        if size > len(header) - at:
            raise NoHeaderError("a part of it is cut off")
        yield kind, at, at + size
        at += size


def _check(header: bytes, start: int, end: int) -> None:
    blank = header[:start] + bytes(end - start) + header[end:]
    if end - start != 4 or int.from_bytes(header[start:end], "big") != crc32c(blank):
        raise NoHeaderError("its checksum is another one")


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CASTAGNOLI = _table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, B.4, which no module of Python's has."""
    found = 0xFFFFFFFF
    for byte in data:
        found = found >> 8 ^ _CASTAGNOLI[(found ^ byte) & 0xFF]
    return found ^ 0xFFFFFFFF
