"""Requests that few clients send and every server meets, by name, and how to send them.

A case is what a client does on one connection, step by step: bytes to send, Until to read so far, HALF to
close its own direction. Then it reads to the end, so a server that keeps the connection fails the case:
most cases end with a request for the close.
"""

from __future__ import annotations

import contextlib
import enum
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from tests.conftest import PATIENCE


class Half(enum.Enum):
    """The client has sent all it will send."""

    HALF = enum.auto()


HALF = Half.HALF


@dataclass(frozen=True)
class Until:
    """Read until the answer has this in it."""

    text: bytes


Step = bytes | Until | Half
DATE = re.compile(rb"^(date: )\w{3}, .*? GMT", re.MULTILINE | re.IGNORECASE)


def play(port: int, steps: Sequence[Step]) -> bytes:
    """All that the server sends, without the time. Whether it ends with a reset is a matter of luck."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        try:
            for step in steps:
                if isinstance(step, Until):
                    while step.text not in received:
                        if not (more := client.recv(65536)):
                            return DATE.sub(rb"\1", received) + b"<ended early>"
                        received += more
                    continue
                # Who has refused the beginning need not hear the rest; what it said comes all the same.
                with contextlib.suppress(OSError):
                    if isinstance(step, bytes):
                        client.sendall(step)
                    else:
                        client.shutdown(socket.SHUT_WR)
            while more := client.recv(65536):
                received += more
        except ConnectionResetError:
            pass
        except TimeoutError:
            received += b"<still open>"
    return DATE.sub(rb"\1", received)


def request(line: bytes, *headers: bytes, body: bytes = b"", host: bool = True) -> bytes:
    """One request; `line` with or without a version."""
    if b"HTTP/" not in line:
        line += b" HTTP/1.1"
    return b"\r\n".join([line, *([b"Host: test"] if host else []), *headers, b"", body])


CLOSING = b"Connection: close"
END = request(b"GET /end", CLOSING)
"""The last of a connection."""


def asked(line: bytes, *headers: bytes, body: bytes = b"") -> tuple[Step, ...]:
    """One request, and the last one."""
    return (request(line, *headers, body=body), END)


def upgrade(path: bytes, *headers: bytes, version: bytes = b"13") -> bytes:
    """A handshake in order, but for what is given."""
    given = {header.partition(b":")[0].lower() for header in headers}
    usual = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: " + version,
    )
    return request(
        b"GET " + path, *(each for each in usual if each.partition(b":")[0].lower() not in given), *headers
    )


def frame(payload: bytes, opcode: int = 1, *, fin: int = 0x80, masked: bool = True) -> bytes:
    """A frame of at most 65,535 bytes; the mask of zeros leaves them as they are."""
    mask = 0x80 if masked else 0
    size = len(payload)
    length = bytes([mask | size]) if size < 126 else bytes([mask | 126]) + size.to_bytes(2)
    return bytes([fin | opcode]) + length + (bytes(4) if masked else b"") + payload


CLOSE = frame((1000).to_bytes(2), 8)
POST = b"POST /post"
CHUNKED = b"Transfer-Encoding: chunked"
OPEN = (upgrade(b"/echo"), Until(b"\r\n\r\n"))

REQUESTS: dict[str, tuple[Step, ...]] = {
    # ── one after the other ──
    "pipelined": (request(b"GET /1") + request(b"GET /parts") + request(b"GET /3") + END,),
    "pipelined posts": (
        request(POST, b"Content-Length: 3", body=b"abc")
        + request(POST, CHUNKED, body=b"1\r\nx\r\n0\r\n\r\n")
        + END,
    ),
    "pipelined behind a close": (request(b"GET /1", CLOSING) + request(b"GET /2"),),
    "byte by byte": tuple(END[index : index + 1] for index in range(len(END))),
    "empty lines first": (b"\r\n\r\n" + END,),
    "empty lines between": (request(b"GET /1") + b"\r\n" + END,),
    # ── bodies of requests ──
    "post": asked(POST, b"Content-Length: 5", body=b"hello"),
    "post without a length": asked(POST),
    "post that is not read": asked(b"POST /early", b"Content-Length: 5", body=b"hello"),
    "big post": asked(POST, b"Content-Length: 300000", body=b"x" * 300_000),
    "get with a body": asked(b"GET /get", b"Content-Length: 3", body=b"abc"),
    "chunked": asked(POST, CHUNKED, body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
    "chunked with an extension": asked(POST, CHUNKED, body=b"3;a=b\r\nabc\r\n0\r\n\r\n"),
    "chunked with trailers": asked(POST, CHUNKED, b"Trailer: X", body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"),
    "chunked with a wrong size": (request(POST, CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n"),),
    "chunked without an end": (request(POST, CHUNKED, body=b"3\r\nabc\r\n"), HALF),
    "chunked and a length": (
        request(POST, CLOSING, CHUNKED, b"Content-Length: 3", body=b"3\r\nabc\r\n0\r\n\r\n"),
    ),
    "gzip, chunked": (request(POST, CLOSING, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),),
    "an unknown coding": (request(POST, b"Transfer-Encoding: odd", body=b""),),
    "two lengths": (request(POST, CLOSING, b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),),
    "two lengths that differ": (request(POST, b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),),
    "a negative length": (request(POST, b"Content-Length: -1"),),
    "a length with a sign": (request(POST, b"Content-Length: +3", body=b"abc"),),
    "a huge length": (request(POST, b"Content-Length: 99999999999999999999999"),),
    "expect": (
        request(POST, b"Content-Length: 5", b"Expect: 100-continue"),
        Until(b"100 Continue\r\n\r\n"),
        b"hello" + END,
    ),
    "expect, not read": (request(b"POST /early", b"Content-Length: 5", b"Expect: 100-continue", CLOSING),),
    "expect, sent at once": asked(POST, b"Content-Length: 5", b"Expect: 100-continue", body=b"hello"),
    "expect something else": asked(POST, b"Content-Length: 5", b"Expect: a-miracle", body=b"hello"),
    # ── lines ──
    "head": asked(b"HEAD /head"),
    "head of parts": asked(b"HEAD /parts"),
    "options *": asked(b"OPTIONS *"),
    "a whole url": asked(b"GET http://other:81/path?query"),
    "connect": (request(b"CONNECT test:80"),),
    "an unknown method": (request(b"BREW /pot", CLOSING),),
    "a small method": (request(b"get /", CLOSING),),
    "a method with a space": (request(b"GE T /"),),
    "percent": asked(b"GET /a%20b%2Fc%C3%A9?x=%00&y=%zz"),
    "percent that is none": asked(b"GET /%zz%"),
    "percent that is no utf-8": asked(b"GET /%ff%fe"),
    "utf-8 unquoted": (request("GET /é".encode()),),
    "a fragment": (request(b"GET /a#b", CLOSING),),
    "no path": (request(b"GET "),),
    "a question mark": asked(b"GET /?"),
    "two slashes": asked(b"GET //a//../b"),
    "no version": (b"GET /\r\n\r\n",),
    "version 1.0": (request(b"GET / HTTP/1.0"),),
    "version 1.0, kept": (request(b"GET / HTTP/1.0", b"Connection: keep-alive"), END),
    "version 1.0, parts": (request(b"GET /parts HTTP/1.0"),),
    "version 1.0, kept parts": (request(b"GET /parts HTTP/1.0", b"Connection: keep-alive"),),
    "version 1.2": (request(b"GET / HTTP/1.2", CLOSING),),
    "version 2.0": (request(b"GET / HTTP/2.0", CLOSING),),
    "version 9": (request(b"GET / HTTP/9"),),
    "the preface of http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),),
    "a hello of tls": (bytes.fromhex("16030100a5010000a10303") + bytes(32),),
    "nothing": (HALF,),
    "half a line": (b"GET / HT", HALF),
    "half a head": (b"GET / HTTP/1.1\r\nHost: te", HALF),
    "half a body": (request(POST, b"Content-Length: 10", body=b"hello"), HALF),
    "half-closed behind the answer": (request(b"GET /parts"), Until(b"0\r\n\r\n"), HALF),
    "half-closed behind a 404": (request(b"GET /status/404"), Until(b"body"), HALF),
    "line feeds only": (END.replace(b"\r\n", b"\n"),),
    "a long path": asked(b"GET /" + b"a" * 30_000),
    # Never complete: how much of it h11 must have at once to refuse it depends on how it is cut up.
    "too long a path": (b"GET /" + b"a" * 300_000, HALF),
    # ── headers ──
    "no host": (request(b"GET /", CLOSING, host=False),),
    "two hosts": (request(b"GET /", b"Host: other", CLOSING),),
    "no value": asked(b"GET /", b"X-Empty:", b"X-Blank:   "),
    "spaces around": asked(b"GET /", b"X-Spaced:  \t a b \t "),
    "a space before the colon": (request(b"GET /", b"X-Odd : 1", CLOSING),),
    "no colon": (request(b"GET /", b"nonsense", CLOSING),),
    "no name": (request(b"GET /", b": value", CLOSING),),
    "folded": (request(b"GET /", b"X-Folded: a\r\n b", CLOSING),),
    "a nul in a value": (request(b"GET /", b"X-Nul: a\0b", CLOSING),),
    "a nul in a name": (request(b"GET /", b"X\0Nul: a", CLOSING),),
    "a nul in the path": (request(b"GET /a\0b", CLOSING),),
    "a bare cr in a value": (request(b"GET /", b"X-Cr: a\rb", CLOSING),),
    "a bare lf in a value": (request(b"GET /", b"X-Lf: a\nX-B: b", CLOSING),),
    "latin-1": asked(b"GET /", b"X-Latin: \xe9"),
    "the same one often": asked(b"GET /", *[b"Cookie: a=%d" % number for number in range(40)]),
    "many": asked(b"GET /", *[b"X-%d: %d" % (number, number) for number in range(150)]),
    "a huge one": (request(b"GET /", b"X-Huge: " + b"h" * 60_000, CLOSING),),
    "too huge a one": (b"GET / HTTP/1.1\r\nHost: test\r\nX-Huge: " + b"h" * 300_000, HALF),
    "keep-alive, close": asked(b"GET /", b"Connection: keep-alive, close"),
    "forwarded": asked(b"GET /", b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Proto: https"),
    # ── what the application does ──
    **{
        f"answer {path}": asked(b"GET /" + path.encode())
        for path in (
            "status/204",
            "status/205",
            "status/304",
            "status/418",
            "bare/200",
            "bare/204",
            "bare/304",
            "parts",
            "big",
            "early",
            "own",
            "chunked",
            "after",
            "odd_status/299",
            "odd_status/999",
            "odd_status/1000",
            "text_header",
        )
    },
    **{
        f"failing {path}": (request(b"GET /" + path.encode(), CLOSING),)
        for path in (
            "close",
            "short",
            "long",
            "raise/0",
            "raise/1",
            "raise/2",
            "raise/3",
            "nothing",
            "half",
            "value",
            "body_first",
            "twice",
            "more",
            "unknown",
            "informational/100",
            "informational/103",
            "status/101",
            "bad_header/name",
            "bad_header/value",
            "odd_status/0",
            "odd_status/99",
        )
    },
    **{
        f"kept though {path}": asked(b"GET /" + path.encode())
        for path in ("raise/0", "raise/2", "raise/3", "nothing", "more", "long", "short")
    },
    **{
        f"head of {path}": asked(b"HEAD /" + path.encode())
        for path in ("status/204", "raise/0", "short", "own", "big")
    },
    # ── upgrades ──
    "upgrade to h2c": (
        request(b"GET /", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAAA"),
        Until(b"}"),
        HALF,
    ),
    "upgrade to nothing known": (
        request(b"GET /", b"Connection: Upgrade", b"Upgrade: odd/1"),
        Until(b"}"),
        HALF,
    ),
    "upgrade without an upgrade": asked(b"GET /", b"Connection: Upgrade"),
    "post that upgrades": (
        request(POST, b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"abc"),
        Until(b"}"),
        HALF,
    ),
}

WEBSOCKETS: dict[str, tuple[Step, ...]] = {
    "echo": (*OPEN, frame(b"hello") + frame(b"bytes", 2) + CLOSE),
    "subprotocols": (upgrade(b"/echo", b"Sec-WebSocket-Protocol: a, b"), Until(b"\r\n\r\n"), CLOSE),
    "deflate": (
        upgrade(b"/echo", b"Sec-WebSocket-Extensions: permessage-deflate"),
        Until(b"\r\n\r\n"),
        CLOSE,
    ),
    "fragments": (*OPEN, frame(b"one ", fin=0) + frame(b"two", 0) + CLOSE),
    "a ping": (*OPEN, frame(b"ping", 9) + CLOSE),
    "close without a code": (*OPEN, frame(b"", 8)),
    "no close": (*OPEN, HALF),
    "not masked": (*OPEN, frame(b"hello", masked=False)),
    "a reserved bit": (*OPEN, frame(b"hello", fin=0xC0)),
    "an unknown opcode": (*OPEN, frame(b"hello", 3)),
    "no utf-8": (*OPEN, frame(b"\xff\xfe")),
    "a continuation of nothing": (*OPEN, frame(b"hello", 0)),
    "an impossible close code": (*OPEN, frame((999).to_bytes(2), 8)),
    "the application closes": (*OPEN, frame(b"close"), CLOSE),
    "the application raises": (*OPEN, frame(b"raise"), CLOSE),
    "the application returns": (*OPEN, frame(b"return"), CLOSE),
    **{
        f"answered by {path}": (upgrade(b"/" + path.encode()),)
        for path in ("refuse", "deny", "raise", "nothing")
    },
    "sends before it accepts": (upgrade(b"/early"), Until(b"\r\n\r\n"), HALF),
    "no key": (upgrade(b"/echo", b"Sec-WebSocket-Key:"), Until(b"\r\n\r\n"), HALF),
    "a bad key": (upgrade(b"/echo", b"Sec-WebSocket-Key: short"), Until(b"\r\n\r\n"), HALF),
    "an old version": (upgrade(b"/echo", version=b"8"), Until(b"\r\n\r\n"), HALF),
    "no connection header": (upgrade(b"/echo", CLOSING),),
    "a post": (upgrade(b"/echo").replace(b"GET", b"POST"),),
    "version 1.0": (upgrade(b"/echo").replace(b"HTTP/1.1", b"HTTP/1.0"), Until(b"x-own"), CLOSE),
    "behind another request": (request(b"GET /1"), Until(b"}"), *OPEN[:1], Until(b"x-own"), CLOSE),
}

PROCESSES: dict[str, tuple[Step, ...]] = {
    path: asked(b"GET /" + path.encode())
    for path in ("pool/fork", "pool/spawn", "pool/forkserver", "executor/fork", "executor/spawn", "command")
}
