"""A status as the launcher gives it, made by hand: all slots are well unless a test says otherwise."""

from __future__ import annotations

from typing import Any, cast

from reuseport.instance import SlotStatus, Status
from reuseport.scoreboard import DURATION_BOUNDS, TURNED_AWAY


def status(slots: int | list[SlotStatus] = 4, **changes: Any) -> Status:
    """`slots` of them, each with figures of its own, or just these; `changes` replaces keys."""
    given = [slot_status(number) for number in range(slots)] if isinstance(slots, int) else slots
    made: dict[str, Any] = {
        "version": "0.1.0",
        "pid": 4711,
        "application": "shop:app",
        "started_at": 1764115000.0,
        "now": 1764115200.0,
        "uptime": 200.0,
        "last": 31,
        "addresses": ["http://127.0.0.1:8000"],
        "state": "serving",
        "generation": 2,
        "reload": None,
        "workers": len(given),
        "ready": len(given),
        "balance": {"rule": "least-loaded", "level": 2, "reason": "steered"},
        "slots": given,
        "only_one": [],
        "spawns": {"start": len(given), "crash": 1},
        "exits": {"SIGKILL": 1},
        "reloads": {"done": 1, "aborted": 0},
        "violations": 0,
        "fosters": {"crash": 1, "stall": 2, "scale": 0, "drain": 0},
        "handoffs": 12,
        "rebalanced": 3,
        "certificate_expires": 2_000_000_000.0,
        "kernel": {"listen_overflows": 5, "migrate_success": 7, "migrate_failure": 0},
    }
    return cast(Status, _replaced(made, changes))


def slot_status(number: int, **changes: Any) -> SlotStatus:
    """Each figure is a different one, and different in each slot; `changes` replaces keys."""
    many = 100 * (number + 1)
    made: dict[str, Any] = {
        "slot": number,
        "wanted": True,
        "state": "ready",
        "generation": 2,
        "pid": 4712 + number,
        "started_at": 1764115001.0,
        "successor": None,
        "predecessors": [],
        "waiting": [],
        "retry_at": None,
        "foster": None,
        "executes": None,
        "requests": 5 * many + 15,
        "responses": {f"{code}xx": many + code for code in range(1, 6)},
        "abandoned": many + 6,
        "in_flight": many + 7,
        "connections": many + 8,
        "websockets": many + 9,
        "accepted": many + 10,
        "assigned": many + 11,
        "accept_queue": {"length": many + 12, "limit": many + 13},
        "accept_wait": many + 0.25,
        "lag": many + 0.14,
        "heartbeat_age": many + 0.15,
        "cpu": many + 0.16,
        "collecting": many + 0.31,
        "rss": many + 17,
        "pss": many + 18,
        "open_fds": many + 19,
        "durations": {
            "counts": [many + index for index in range(len(DURATION_BOUNDS) + 1)],
            "sum": many + 0.2,
        },
        "handoffs": {
            "sent": many + 21,
            "received": many + 22,
            "refused": many + 23,
            "rebalanced": many + 24,
            "rescued": many + 31,
        },
        "sticky": {"hits": many + 32, "moved": many + 33, "missed": many + 34},
        "stolen": many + 35,
        "lingered": {"tls": many + 27, "protocol": many + 28, "stop": many + 29},
        "turned_away": {word.name.lower(): many + 40 + at for at, word in enumerate(TURNED_AWAY)},
        "spawns": many + 25,
        "restarts": many + 26,
        "implausible": many + 30,
        "last_exit": None,
    }
    return cast(SlotStatus, _replaced(made, changes))


def _replaced(made: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    assert changes.keys() <= made.keys(), f"no such key: {changes.keys() - made.keys()}"
    return made | changes
