"""Logs in its own ways: the root logger, a logger of its own, and, and as `/basic` and `/module` say."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

# By name: workers find it on their import path, type checkers do not.
plain = import_module("plain")
Scope = MutableMapping[str, Any]

log = logging.getLogger("shop")


async def app(scope: Scope, receive: Any, send: Any) -> None:
    """`/basic` after logging.basicConfig, as many applications begin; `/module` by logging.warning itself."""
    if scope["type"] == "http":
        if scope["path"] == "/basic":
            logging.basicConfig(level=logging.INFO, format="BASIC %(levelname)s %(message)s")
            log.info("after basicConfig")
        elif scope["path"] == "/module":
            logging.warning("by the module's function")  # noqa: LOG015 - what careless applications do
        else:
            logging.getLogger().warning("from the root logger")
            log.warning("from the shop")
    await plain.app(scope, receive, send)
