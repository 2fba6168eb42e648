"""Counts with prometheus_client in several processes: `/metrics` adds all workers up."""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

# By name: workers find it on their import path, type checkers do not.
plain = import_module("plain")

asked = Counter("asked", "Requests but those for the metrics.")
alive = Gauge("alive", "Workers.", multiprocess_mode="livesum")
ever = Gauge("ever", "Workers that have been, too.", multiprocess_mode="sum")


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """`/metrics`, and all else as plain has it."""
    if scope["type"] == "lifespan":
        alive.set(1)
        ever.set(1)
    elif scope["path"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        body = generate_latest(registry)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    else:
        asked.inc()
    await plain.app(scope, receive, send)
