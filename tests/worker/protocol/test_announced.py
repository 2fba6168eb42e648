"""The PROXY protocol by hand: every header, cut at every byte, with something behind it; and what is none."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.worker.protocol.announced import (
    LONGEST,
    MOST_AFTER,
    NOTHING,
    V2,
    Announced,
    NoHeaderError,
    crc32c,
    read,
)

CLIENT, SERVER = ("192.0.2.7", 40000), ("198.51.100.1", 443)
CLIENT6, SERVER6 = ("2001:db8::7", 40000), ("2001:db8::1", 443)
LATER = b"\x16\x03\x01 or GET / HTTP/1.1\r\n\r\n"


def inet(client: tuple[str, int], server: tuple[str, int]) -> bytes:
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    addresses = b"".join(socket.inet_pton(family, address) for address, _ in (client, server))
    return addresses + struct.pack(">HH", client[1], server[1])


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def version_2(family: int, rest: bytes, command: int = 0x21, *, checked: bool = False) -> bytes:
    if checked:
        rest += tlv(0x03, bytes(4))
    header = V2 + struct.pack(">BBH", command, family, len(rest)) + rest
    return header[:-4] + crc32c(header).to_bytes(4, "big") if checked else header


SAID = Announced(CLIENT, SERVER)
SAID6 = Announced(CLIENT6, SERVER6)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
SSL = tlv(0x20, b"\x01" + bytes(4) + tlv(0x21, b"TLSv1.3"))
PLAIN = tlv(0x20, b"\x00" + bytes(4))

HEADERS = {
    "TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", SAID),
    "TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n", SAID6),
    "TCP6 in full": (
        b"PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0007 2001:db8:0:0:0:0:0:1 40000 443\r\n",
        SAID6,
    ),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", NOTHING),
    "UNKNOWN with more": (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", NOTHING),
    "inet": (version_2(0x11, inet(CLIENT, SERVER)), SAID),
    "inet6": (version_2(0x21, inet(CLIENT6, SERVER6)), SAID6),
    "unix": (version_2(0x31, UNIX), Announced()),
    "unspec": (version_2(0x00, b""), NOTHING),
    "unspec with more": (version_2(0x00, tlv(0x04, b"pad")), NOTHING),
    "local": (version_2(0x00, b"", 0x20), NOTHING),
    "local with addresses": (version_2(0x11, inet(CLIENT, SERVER), 0x20), NOTHING),
    "tlvs": (version_2(0x11, inet(CLIENT, SERVER) + tlv(0x01, b"h2") + tlv(0xEA, b"x" * 300)), SAID),
    "client speaks TLS": (version_2(0x11, inet(CLIENT, SERVER) + SSL), SAID._replace(secure=True)),
    "client speaks none": (version_2(0x11, inet(CLIENT, SERVER) + PLAIN), SAID),
    "checksum": (version_2(0x11, inet(CLIENT, SERVER) + SSL, checked=True), SAID._replace(secure=True)),
    "longest": (version_2(0x00, tlv(0x04, bytes(MOST_AFTER - 3))), NOTHING),
}

NONE = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00",
    "a line feed": b"\n",
    "nearly": b"PROXI",
    "nearly 2": V2[:-1] + b"\0",
    "family": b"PROXY TCP5 192.0.2.7 198.51.100.1 40000 443\r\n",
    "no family": b"PROXY \r\n",
    "the other family": b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 443\r\n",
    "short address": b"PROXY TCP4 127.1 198.51.100.1 40000 443\r\n",
    "a name": b"PROXY TCP4 localhost 198.51.100.1 40000 443\r\n",
    "a scope": b"PROXY TCP6 fe80::1%lo 2001:db8::1 40000 443\r\n",
    "no port": b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
    "port": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
    "negative port": b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
    "port with zeros": b"PROXY TCP4 192.0.2.7 198.51.100.1 00080 443\r\n",
    "port in other digits": "PROXY TCP4 192.0.2.7 198.51.100.1 ٤ 443\r\n".encode(),
    "two spaces": b"PROXY TCP4  192.0.2.7 198.51.100.1 40000 443\r\n",
    "more": b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443 more\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * 200,
    "version 3": version_2(0x11, inet(CLIENT, SERVER), 0x31),
    "command": version_2(0x11, inet(CLIENT, SERVER), 0x22),
    "datagrams": version_2(0x12, inet(CLIENT, SERVER)),
    "no such family": version_2(0x41, inet(CLIENT, SERVER)),
    "too short": version_2(0x11, inet(CLIENT, SERVER)[:-1]),
    "too short 6": version_2(0x21, inet(CLIENT, SERVER)),
    "too short unix": version_2(0x31, UNIX[:-1]),
    "too long": V2 + struct.pack(">BBH", 0x21, 0x11, MOST_AFTER + 1),
    "half a tlv": version_2(0x11, inet(CLIENT, SERVER) + b"\x04\x00"),
    "a tlv too long": version_2(0x11, inet(CLIENT, SERVER) + b"\x04\x00\x05abcd"),
    "checksum": version_2(0x11, inet(CLIENT, SERVER) + tlv(0x03, b"\0\0\0\x01")),
    "checksum of another length": version_2(0x11, inet(CLIENT, SERVER) + tlv(0x03, b"\0\0\0")),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_says_so_wherever_it_is_cut(name: str) -> None:
    header, said = HEADERS[name]
    assert len(header) <= LONGEST
    for length in range(1, len(header)):
        assert read(header[:length]) is None, length
    for behind in (b"", LATER, bytes(5000)):
        assert read(header + behind) == (said, len(header))


@pytest.mark.parametrize("name", NONE)
def test_what_is_none_is_refused(name: str) -> None:
    with pytest.raises(NoHeaderError, match=r"\bits? "):
        read(NONE[name])


@given(st.binary(max_size=300), st.sampled_from([b"", V2, V2 + b"\x21\x11", b"PROXY ", b"PROXY TCP4 "]))
def test_whatever_comes_it_is_read_refused_or_waited_for_and_that_has_an_end(
    data: bytes, begin: bytes
) -> None:
    data = begin + data
    try:
        found = read(data)
    except NoHeaderError:
        return
    if found is None:
        assert len(data) < LONGEST
    else:
        assert 0 < found.length <= len(data)
        assert read(data[: found.length]) == found


@pytest.mark.parametrize("name", HEADERS)
def test_it_travels(name: str) -> None:
    _, said = HEADERS[name]
    assert Announced.decode(said.encode()) == said
    assert len(said.encode()) < 200


def test_the_checksum_is_the_one_of_the_rfc() -> None:
    # RFC 3720, B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
