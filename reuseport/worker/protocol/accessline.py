"""Lines of the access log as logging would format them (logs.lines): uvicorn's five values and the clock.

All of it is printable ASCII, so nobody can forge a line or its end: uvicorn quotes the path, but the client's
address may come from a header, and an application may change what it is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import TypeAlias

from reuseport.logs import PHRASES, Place

Line: TypeAlias = Callable[[str, str, str, str, int], str]
"""Of client, method, path, HTTP version and status; without its end."""


def text_line(place: Place) -> Line:
    """`2026-01-31 12:00:00,000 INFO     slot 3: 127.0.0.1:50000 - "GET / HTTP/1.1" 200 OK`."""
    clock, phrase = time.time, PHRASES.get
    last, last_second, second, stamp = 0, 0, "", ""

    def line(client: str, method: str, path: str, version: str, status: int) -> str:
        nonlocal last, last_second, second, stamp
        now = int(clock() * 1000)
        if now != last:  # requests come in swarms: most lines have the time of the one before
            last = now
            if now // 1000 != last_second:
                last_second = now // 1000
                second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last_second))
            stamp = f"{second},{now % 1000:03d} INFO     {place.name}: "
        made = f'{stamp}{client} - "{method} {path} HTTP/{version}" {phrase(status, status)}'
        return made if made.isascii() and made.isprintable() else _escaped(made)

    return line


def json_line(place: Place) -> Line:
    """One object, whose strings are quoted as JSON has it."""
    clock = time.time
    last, last_second, second, stamp = 0, 0, "", ""
    who = (
        '"level": "INFO", "logger": "uvicorn.access", '
        f'"slot": {quoted(place.slot)}, "generation": {quoted(place.generation)}, '
        f'"pid": {os.getpid()}, "place": {quoted(place.name)}, "timestamp": '
    )

    def line(client: str, method: str, path: str, version: str, status: int) -> str:
        nonlocal last, last_second, second, stamp
        now = int(clock() * 1000)
        if now != last:
            last = now
            if now // 1000 != last_second:
                last_second = now // 1000
                second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(last_second))
            stamp = f'{who}"{second}.{now % 1000:03d}000+00:00", '
        message = f'{client} - "{method} {path} HTTP/{version}" {status}'
        return (
            f'{{"message": {quoted(message)}, {stamp}'
            f'"client": {quoted(client)}, "method": {quoted(str(method))}, "path": {quoted(path)}, '
            f'"http_version": {quoted(version)}, "status": {status}}}'
        )

    return line


def _escaped(made: str) -> str:
    return made.encode("unicode_escape").decode("ascii")
