"""Keeps as much memory as it is asked to: `/?mib=200`. Everything else is answered by `plain`."""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

# By name: workers find it on their import path, type checkers do not.
plain = import_module("plain")
Scope = MutableMapping[str, Any]

_kept: list[bytes] = []


async def app(scope: Scope, receive: Any, send: Any) -> None:
    """Bytes that are not zero, so the pages are resident."""
    query = parse_qs(scope.get("query_string", b"").decode())
    if "mib" in query:
        _kept.append(b"x" * (int(query["mib"][0]) << 20))
    await plain.app(scope, receive, send)
