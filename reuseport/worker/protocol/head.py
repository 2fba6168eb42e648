"""The head of a response: status line and header lines as bytes, checked and encoded once where that will do.

What uvicorn checks of each header, name and value, is checked here of each name once in the life of the
process, and of all values together: a control character anywhere is one more than the lines' own ends.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from typing import TypeAlias

Header: TypeAlias = tuple[bytes, bytes]
"""Name and value."""


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}

NOT_IN_A_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
"""What uvicorn refuses; token characters are fewer (RFC 9110, 5.6.2)."""
CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)
"""Not in a value."""

LENGTH = b"content-length: "
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Names of headers that say how the response ends, so each of them is looked at."""

_MOST_KNOWN = 1024
_LONGEST_KNOWN = 64
"""Bytes. An application that makes up names must not fill the memory with them."""

known: dict[bytes, bytes] = {b"content-length": LENGTH, b"Content-Length": LENGTH}
"""By a name as the application writes it: the beginning of its line. None of FRAMING but the length."""


def begun_line(name: bytes) -> bytes:
    """The beginning of a header's line, `name: `. Raises RuntimeError for what cannot be a name."""
    if NOT_IN_A_NAME.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    name = bytes(name)
    lowered = name.lower()
    line = lowered + b": "
    if lowered not in FRAMING and len(known) < _MOST_KNOWN and len(name) <= _LONGEST_KNOWN:
        known[name] = line
    return line


Defaults: TypeAlias = tuple[bytes, list[Header]]
"""The headers that every response has: date, server, and those of --header.

Encoded. Or as they are, to be looked at with each response, when one of them says how it ends or cannot be
sent. A plain tuple: a named one is taken apart at half the speed.
"""


def encoded(headers: Iterable[Header]) -> Defaults:
    """To be put in front of a response's own headers."""
    headers = list(headers)
    lines = b"".join(name.lower() + b": " + value + b"\r\n" for name, value in headers)
    unusual = any(
        name.lower() in FRAMING
        or NOT_IN_A_NAME.search(name)
        or len(value.translate(None, CONTROLS)) != len(value)
        for name, value in headers
    )
    return (b"", headers) if unusual else (lines, [])
