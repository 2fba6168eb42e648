"""Clients of `remembering`: sessions that one worker knows, asked for over whichever connection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launched
from tests.whole.lines import Answer, Line, Lines

HOW: dict[str, Callable[[str], tuple[str, str]]] = {
    "header": lambda key: ("", f"Session: {key}\r\n"),
    "cookie": lambda key: ("", f"Cookie: other=1; session={key}\r\n"),
    "query": lambda key: (f"?a=b&session={key}", ""),
}
"""How a key is told: what is added to the URL, and to the head."""


def head(key: str, how: str = "header", more: str = "Content-Length: 2\r\n") -> bytes:
    """Of a visit, whose body is two bytes unless `more` says otherwise."""
    query, header = HOW[how](key)
    return f"POST /visit{query} HTTP/1.1\r\nHost: test\r\n{header}{more}\r\n".encode()


def open_session(line: Line, key: str = "") -> Answer:
    line.send(f"POST /open?key={key} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())
    return line.answer()


def visit(line: Line, key: str, what: str = "hi", how: str = "header") -> Answer:
    """`what` is two characters."""
    line.send(head(key, how) + what.encode())
    return line.answer()


def opened(server: Launched, lines: Lines, sessions: int = 8) -> dict[str, str]:
    """So many sessions, and more until two slots have some: by key, the slot that knows it."""
    found: dict[str, str] = {}
    while len(found) < sessions or len(set(found.values())) < 2:
        [line] = lines.open(server.port, 1)
        who = open_session(line).who
        found[who["key"]] = who["slot"]
    return found


def away_from(server: Launched, lines: Lines, slot: str) -> Line:
    """A connection that another slot has accepted: opened until one is, for the busy accept none."""
    deadline = time.monotonic() + PATIENCE
    while True:
        [line] = lines.open(server.port, 1)
        if line.ask().who["slot"] != slot:
            return line
        assert time.monotonic() < deadline, f"all connections go to slot {slot}"


def counted(server: Launched) -> dict[str, int]:
    """Hits, moves and misses of all slots; at most a tenth of a second old."""
    slots = Control(server).status()["slots"]
    return {word: sum(slot["sticky"][word] for slot in slots) for word in ("hits", "moved", "missed")}


def told(answer: Answer) -> list[str]:
    found: list[str] = json.loads(answer.body)["visits"]
    return found
