"""Lines of the access log as logging would format them (logs.py), from uvicorn's five values and the clock.

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


class TextLine:
    """`2026-01-31 12:00:00,000 INFO     slot 3: 127.0.0.1:50000 - "GET / HTTP/1.1" 200 OK`."""

    def __init__(self, place: Place) -> None:
        self._place = place.name
        self._second = 0
        self._stamp = ""

    def __call__(self, client: str, method: str, path: str, version: str, status: int) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        line = (
            f"{self._stamp},{int((now - second) * 1000):03d} INFO     {self._place}: "
            f'{client} - "{method} {path} HTTP/{version}" {PHRASES.get(status, status)}'
        )
        return (
            line if line.isascii() and line.isprintable() else line.encode("unicode_escape").decode("ascii")
        )


class JsonLine:
    """One object, whose strings are quoted as JSON has it."""

    def __init__(self, place: Place) -> None:
        self._who = (
            ', "level": "INFO", "logger": "uvicorn.access"'
            f', "slot": {quoted(place.slot)}, "generation": {quoted(place.generation)}'
            f', "pid": {os.getpid()}, "place": {quoted(place.name)}, "timestamp": "'
        )
        self._second = 0
        self._stamp = ""

    def __call__(self, client: str, method: str, path: str, version: str, status: int) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        message = f'{client} - "{method} {path} HTTP/{version}" {status}'
        return (
            f'{{"message": {quoted(message)}{self._who}{self._stamp}.{int((now - second) * 1e6):06d}+00:00", '
            f'"client": {quoted(client)}, "method": {quoted(str(method))}, "path": {quoted(path)}, '
            f'"http_version": {quoted(version)}, "status": {status}}}'
        )
