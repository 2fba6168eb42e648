"""What a launcher tells, as plain data: a healthy status, with whatever a test wants to be different."""

from __future__ import annotations

from typing import Any

from reuseport.scoreboard import TURNED_AWAY

Told = dict[str, Any]

BUCKETS = 15


def slot(number: int, **different: Any) -> Told:
    """One healthy slot."""
    return {
        "slot": number,
        "wanted": True,
        "state": "ready",
        "generation": 1,
        "pid": 100 + number,
        "started_at": 1000.0,
        "successor": None,
        "predecessors": [],
        "waiting": [],
        "retry_at": None,
        "foster": None,
        "executes": None,
        "requests": 0,
        "responses": {"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0},
        "abandoned": 0,
        "in_flight": 0,
        "connections": 0,
        "websockets": 0,
        "accepted": 0,
        "stolen": 0,
        "assigned": 0,
        "accept_queue": {"length": 0, "limit": 2048},
        "accept_wait": 0.0,
        "lag": 0.001,
        "heartbeat_age": 0.01,
        "cpu": 0.0,
        "collecting": 0.0,
        "rss": 40 << 20,
        "pss": 20 << 20,
        "open_fds": 20,
        "durations": {"counts": [0] * BUCKETS, "sum": 0.0},
        "handoffs": {"sent": 0, "received": 0, "refused": 0, "rebalanced": 0, "rescued": 0},
        "sticky": {"hits": 0, "moved": 0, "missed": 0},
        "lingered": {"tls": 0, "protocol": 0, "stop": 0},
        "turned_away": dict.fromkeys((word.name.lower() for word in TURNED_AWAY), 0),
        "spawns": 1,
        "restarts": 0,
        "implausible": 0,
        "last_exit": None,
        **different,
    }


def status(slots: list[Told], now: float = 2000.0, **different: Any) -> Told:
    """A launcher that serves with these slots."""
    return {
        "version": "1",
        "pid": 99,
        "application": "app:app",
        "started_at": 1000.0,
        "now": now,
        "uptime": now - 1000.0,
        "last": 0,
        "addresses": ["http://127.0.0.1:8000"],
        "state": "serving",
        "generation": 1,
        "reload": None,
        "workers": sum(slot["wanted"] for slot in slots),
        "ready": sum(slot["wanted"] and slot["state"] == "ready" for slot in slots),
        "balance": {"rule": "least-loaded", "level": 2, "reason": "steered"},
        "slots": slots,
        "only_one": [],
        "spawns": {"start": len(slots)},
        "exits": {},
        "reloads": {"done": 0, "aborted": 0},
        "violations": 0,
        "fosters": {"crash": 0, "stall": 0, "scale": 0, "drain": 0},
        "handoffs": 0,
        "rebalanced": 0,
        "certificate_expires": None,
        "kernel": {"listen_overflows": 0, "migrate_success": 0, "migrate_failure": 0},
        **different,
    }


def record(kind: str, time: float = 1990.0, **different: Any) -> Told:
    """One event."""
    return {
        "seq": 1,
        "time": time,
        "kind": kind,
        "level": "info",
        "slot": None,
        "generation": None,
        "cause": None,
        "text": kind,
        **different,
    }
