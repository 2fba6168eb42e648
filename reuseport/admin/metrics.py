"""What Prometheus scrapes: the status, under the names that dashboards and alert rules know.

METRICS says all: each name, its labels, what it means, and where in the status it stands. The label `worker`
is the slot, never a pid: whoever replaces a worker goes on with its series. The manual shows this
table; names are only ever added to it.
"""

from __future__ import annotations

import collections
import itertools
import platform
from collections.abc import Callable, Mapping

from uvicorn import __version__ as uvicorn_version

from reuseport.admin.families import Family, Labels, Readings, Samples, go_float, openmetrics, plain
from reuseport.certificate import days_left
from reuseport.instance import SlotStatus, Status
from reuseport.records import record
from reuseport.scoreboard import DURATION_BOUNDS, TURNED_AWAY

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
"""The format that every Prometheus reads."""
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_1 = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"

STATES = ("empty", "starting", "ready", "stalled", "draining", "dying", "backoff", "drained")
"""The phases of a worker, and how a slot can be without one."""
REASONS = (
    *("start", "crash", "hang", "reload", "max_requests", "max_rss", "lifetime"),
    *("terminated", "violation", "scale", "restart"),
)
"""Shown from the beginning, as 0: a counter that Prometheus first sees at 1 has not grown."""

MOST_HELD = 64
"""Names of only_one that are shown, in their order: an application may make up any number of them."""


@record(frozen=True, slots=True)
class Exported:
    """One name. `read` finds its figures in a status."""

    name: str
    labels: tuple[str, ...]
    about: str
    read: Callable[[Status], Readings]

    def family(self, status: Status) -> Family:
        """Its samples now."""
        kind = "counter" if self.name.endswith("_total") else "gauge"
        return Family(self.name, kind, self.about, (Samples(self.name, self.labels, self.read(status)),))


# ── kinds of entries ──────────────────────────────────────────────────────────────────────────────────


def _one(name: str, about: str, read: Callable[[Status], float | None]) -> Exported:
    return Exported(name, (), about, lambda status: [((), read(status))])


def _by(label: str, name: str, about: str, read: Callable[[Status], Mapping[str, int | None]]) -> Exported:
    return Exported(name, (label,), about, lambda status: [((key,), n) for key, n in read(status).items()])


def _each(name: str, about: str, read: Callable[[SlotStatus], float | None]) -> Exported:
    return Exported(
        f"reuseport_worker_{name}",
        ("worker",),
        about,
        lambda status: [((str(slot["slot"]),), read(slot)) for slot in status["slots"]],
    )


# ── what a status does not have as it stands ──────────────────────────────────────────────────────────


def _build(status: Status) -> Readings:
    yield (status["version"], platform.python_version(), uvicorn_version), 1


def _states(status: Status) -> Mapping[str, int]:
    counts = collections.Counter(dict.fromkeys(STATES, 0))
    for slot in status["slots"]:
        # An empty slot that was scaled away lacks nobody.
        counts[slot["state"]] += slot["wanted"] or slot["state"] != "empty"
        counts.update(worker["state"] for worker in slot["predecessors"])
        if slot["successor"] is not None:
            counts[slot["successor"]["state"]] += 1
    return counts


def _spawns(status: Status) -> Mapping[str, int]:
    return {**dict.fromkeys(REASONS, 0), **status["spawns"]}


def _migrations(status: Status) -> Mapping[str, int | None]:
    kernel = status["kernel"]
    return {"success": kernel["migrate_success"], "failure": kernel["migrate_failure"]}


def _lingered(status: Status) -> Mapping[str, int]:
    slots = [slot["lingered"] for slot in status["slots"]]
    return {
        "tls": sum(slot["tls"] for slot in slots),
        "protocol": sum(slot["protocol"] for slot in slots),
        "stop": sum(slot["stop"] for slot in slots),
    }


def _days_left(status: Status) -> float | None:
    expires = status["certificate_expires"]
    return None if expires is None else days_left(expires, status["now"])


def _turned_away(status: Status) -> Mapping[str, int]:
    slots = [slot["turned_away"] for slot in status["slots"]]
    return {word.name.lower(): sum(slot[word.name.lower()] for slot in slots) for word in TURNED_AWAY}


def _codes(status: Status) -> Readings:
    return [
        ((str(slot["slot"]), code), number)
        for slot in status["slots"]
        for code, number in slot["responses"].items()
    ]


def _held(status: Status) -> Readings:
    holders = sorted((holder["name"], str(holder["slot"])) for holder in status["only_one"])
    # A name that is cut to its beginning can be there twice.
    return [(labels, 1) for labels in dict.fromkeys(holders[:MOST_HELD])]


def _sticky(status: Status) -> Readings:
    for slot in status["slots"]:
        worker, found = str(slot["slot"]), slot["sticky"]
        yield from (
            ((worker, "hit"), found["hits"]),
            ((worker, "moved"), found["moved"]),
            ((worker, "missed"), found["missed"]),
        )


METRICS = (
    Exported("reuseport_build_info", ("version", "python", "uvicorn"), "Always 1.", _build),
    _one("reuseport_start_time_seconds", "When the launcher started, Unix time.", lambda s: s["started_at"]),
    _one("reuseport_generation", "The generation: each reload starts a new one.", lambda s: s["generation"]),
    _one(
        "reuseport_steering_level",
        "How the kernel chooses a listener: 2 steered, 1 migrating, 0 hashed.",
        lambda status: status["balance"]["level"],
    ),
    _one("reuseport_workers_wanted", "Slots to be served.", lambda status: status["workers"]),
    _by(
        "state",
        "reuseport_workers",
        "Workers, also those that come and go in a reload; a slot without one is empty, backoff or drained.",
        _states,
    ),
    _by("reason", "reuseport_worker_spawns_total", "Workers spawned.", _spawns),
    _by(
        "status",
        "reuseport_worker_exits_total",
        "Workers gone: exit status, or name of the signal.",
        lambda status: status["exits"],
    ),
    _by("result", "reuseport_reloads_total", "Reloads, done or aborted.", lambda status: status["reloads"]),
    _one(
        "reuseport_channel_violations_total",
        "Workers ended because what they sent to the launcher was none of the protocol's.",
        lambda status: status["violations"],
    ),
    _by(
        "reason",
        "reuseport_fosters_total",
        "Times a sibling began to accept for a slot.",
        lambda status: status["fosters"],
    ),
    _one(
        "reuseport_handoffs_total",
        "Live connections passed to another worker.",
        lambda status: status["handoffs"],
    ),
    _one(
        "reuseport_rebalanced_total",
        "Those of them that went to a worker with less to do.",
        lambda status: status["rebalanced"],
    ),
    _by(
        "reason",
        "reuseport_lingered_total",
        "Connections of leaving workers that could not go over: tls, protocol, or stop of the server.",
        _lingered,
    ),
    _one(
        "reuseport_requests_abandoned_total",
        "Requests that ended before their response was complete.",
        lambda status: sum(slot["abandoned"] for slot in status["slots"]),
    ),
    _one(
        "reuseport_certificate_days_left",
        "Days until the first of the certificates that are served ends; absent without TLS.",
        _days_left,
    ),
    Exported(
        "reuseport_only_one",
        ("name", "worker"),
        "1 for each name that only one worker can hold, and who holds it; absent while nobody does.",
        _held,
    ),
    _by(
        "reason",
        "reuseport_turned_away_total",
        "Clients that were not served, by what they did: silent, slow_head, slow_body, not_reading, "
        "head_too_large, body_too_large, waited, or unannounced.",
        _turned_away,
    ),
    _one(
        "reuseport_listen_overflows_total",
        "Times an accept queue was too full for a connection, of the whole host.",
        lambda status: status["kernel"]["listen_overflows"],
    ),
    _by(
        "result",
        "reuseport_tcp_migrate_total",
        "Connections that the kernel moved to another listener, or failed to, of the whole host.",
        _migrations,
    ),
    Exported(
        "reuseport_worker_requests_total",
        ("worker", "code"),
        "Responses by the class of their status, 1xx to 5xx.",
        _codes,
    ),
    _each("requests_in_flight", "Requests being answered now.", lambda slot: slot["in_flight"]),
    _each("connections", "Client connections open now.", lambda slot: slot["connections"]),
    _each("websockets", "Those of them that speak WebSocket.", lambda slot: slot["websockets"]),
    _each("accepted_total", "Connections accepted, also for other slots.", lambda slot: slot["accepted"]),
    _each(
        "assigned_total",
        "Connections that the steering program gave to the slot; 0 below level 2.",
        lambda slot: slot["assigned"],
    ),
    _each(
        "accept_queue_length",
        "Connections that wait to be accepted.",
        lambda slot: slot["accept_queue"]["length"],
    ),
    _each("accept_queue_limit", "How many may wait.", lambda slot: slot["accept_queue"]["limit"]),
    _each(
        "accept_wait_seconds",
        "The longest that a connection had waited to be accepted, of a sample of the last ten seconds; to a "
        "few milliseconds.",
        lambda slot: slot["accept_wait"],
    ),
    _each(
        "event_loop_lag_seconds",
        "The most by which the event loop woke too late in the last tenth of a second.",
        lambda slot: slot["lag"],
    ),
    _each(
        "heartbeat_age_seconds",
        "How long ago the event loop last turned; absent where nobody serves.",
        lambda slot: slot["heartbeat_age"],
    ),
    _each("cpu_seconds_total", "CPU time used, user and system.", lambda slot: slot["cpu"]),
    _each(
        "collector_seconds_total",
        "Time that Python's garbage collector has stopped the worker.",
        lambda slot: slot["collecting"],
    ),
    _each(
        "resident_memory_bytes",
        "Resident memory; absent where the kernel hides it.",
        lambda slot: slot["rss"],
    ),
    _each(
        "pss_bytes",
        "Memory, with a fair share of what is shared; absent until it is measured, seconds after the start.",
        lambda slot: slot["pss"],
    ),
    _each("open_fds", "Open descriptors; absent where the kernel hides them.", lambda slot: slot["open_fds"]),
    _each("generation", "The generation of the worker.", lambda slot: slot["generation"]),
    _each(
        "restarts_total",
        "Workers spawned because one had crashed or hung.",
        lambda slot: slot["restarts"],
    ),
    _each(
        "rescued_total",
        "Connections that went to another worker because the event loop was blocked.",
        lambda slot: slot["handoffs"]["rescued"],
    ),
    Exported(
        "reuseport_worker_sticky_requests_total",
        ("worker", "result"),
        "Requests with a session key, where they came in: hit, moved to their slot, or missed it.",
        _sticky,
    ),
    _each(
        "steals_total",
        "Connections accepted for other slots whose workers were blocked.",
        lambda slot: slot["stolen"],
    ),
    _each(
        "implausible_total",
        "Figures on the scoreboard that cannot be true and were not believed.",
        lambda slot: slot["implausible"],
    ),
)
DURATIONS = ("http_server_request_duration_seconds", "From an HTTP request to the end of its response.")
"""The histogram: one for the whole server, since one a slot would be 17 series more for each."""


# ── the text ──────────────────────────────────────────────────────────────────────────────────────────


def wants_openmetrics(accept: str) -> bool:
    """Whether who sends this Accept header takes OpenMetrics and nothing else."""
    return OPENMETRICS in accept and "text/plain" not in accept and "*/*" not in accept


def exposition(status: Status, accept: str = "") -> tuple[bytes, str]:
    """The text and its content type, for a scrape with this Accept header.

    Plain text for everybody who takes it, even where OpenMetrics is preferred, as by Prometheus: it says the
    same in a form that more of them know.
    """
    families = [*(exported.family(status) for exported in METRICS), _durations(status)]
    return (openmetrics(families), OPENMETRICS_1) if wants_openmetrics(accept) else (plain(families), PLAIN)


def _durations(status: Status) -> Family:
    name, about = DURATIONS
    slots = [slot["durations"] for slot in status["slots"]]
    bounds: list[str] = [*map(go_float, DURATION_BOUNDS), "+Inf"]
    columns = zip(*(slot["counts"] for slot in slots), strict=True)
    counts = [sum(column) for column in columns] or [0] * len(bounds)
    below = list(itertools.accumulate(counts))
    buckets = [((bound,), count) for bound, count in zip(bounds, below, strict=True)]
    whole: Labels = ()
    samples = (
        Samples(f"{name}_bucket", ("le",), buckets),
        Samples(f"{name}_count", whole, [(whole, below[-1])]),
        Samples(f"{name}_sum", whole, [(whole, sum(slot["sum"] for slot in slots))]),
    )
    return Family(name, "histogram", about, samples)
