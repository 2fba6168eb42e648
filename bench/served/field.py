"""Everybody who competes in `python -m bench`, by groups.

Ours run with the privileges of who starts the comparison where they steer, and without any where they do not;
all others without any. Names are what the reports print.
"""

from __future__ import annotations

from dataclasses import replace

from bench.served import peers
from bench.served.lineup import Entry, mode, with_flags
from bench.served.peers import OURS


def _named(name: str, entry: Entry) -> Entry:
    return replace(entry, contestant=replace(entry.contestant, name=name))


# ── modes: one worker and one application, so that only the distribution differs ──────────────────────

SINGLE = _named("single", replace(Entry(mode("plain")), workers=1))
"""One uvicorn process."""
SHARED = _named("shared listener", Entry(mode("shared")))
MASTER = _named("master", Entry(mode("master")))
BLIND = _named("blind master", Entry(mode("blind")))
PLAIN = _named("plain SO_REUSEPORT", Entry(mode("plain")))

# ── reuseport, at every level and balance ─────────────────────────────────────────────────────────────


def _ours(name: str, balance: str) -> Entry:
    return Entry(with_flags(OURS, name, "--balance", balance))


REUSEPORT = replace(_ours("reuseport", "least-loaded"), wrapper=())
"""What `--balance auto` is wherever the kernel lets us; the subject of all comparisons."""
ROUND_ROBIN = replace(_ours("reuseport round-robin", "round-robin"), wrapper=())
HASH = _ours("reuseport hash", "hash")
CPU = _ours("reuseport cpu", "cpu")
MIGRATING = replace(_ours("reuseport hash, migrating", "hash"), migrates=True)
"""Level 1. Differs from level 0 where a listener closes, so it is in those rows only."""

PRELOADED = replace(Entry(with_flags(REUSEPORT.contestant, "reuseport --preload", "--preload")), wrapper=())
"""With the application imported before the fork, as gunicorn --preload."""
EXECUTED = replace(Entry(with_flags(REUSEPORT.contestant, "reuseport --no-mold", "--no-mold")), wrapper=())
"""Every worker an interpreter of its own, as uvicorn's are."""

MODES = (SINGLE, SHARED, MASTER, BLIND, PLAIN)
BALANCES = (REUSEPORT, ROUND_ROBIN, HASH, CPU)

# ── peers ─────────────────────────────────────────────────────────────────────────────────────────────

UVICORN = Entry(peers.UVICORN)
GUNICORN_UVICORN = Entry(peers.GUNICORN_UVICORN)
GUNICORN_UVICORN_REUSE_PORT = Entry(peers.GUNICORN_UVICORN_REUSE_PORT)
GUNICORN_ASGI = Entry(peers.GUNICORN_ASGI)
GUNICORN_ASGI_REUSE_PORT = Entry(peers.GUNICORN_ASGI_REUSE_PORT)
HYPERCORN = Entry(peers.HYPERCORN)
GRANIAN = Entry(peers.GRANIAN)
PEREGRINE = Entry(peers.PEREGRINE)
"""Compared by the price of a request alone: of its distribution nothing is new."""

GUNICORN_UVICORN_PRELOAD, GUNICORN_ASGI_PRELOAD = (
    Entry(with_flags(entry.contestant, f"{entry.name} --preload", "--preload"))
    for entry in (GUNICORN_UVICORN, GUNICORN_ASGI)
)

PYTHON_PEERS = (
    UVICORN,
    GUNICORN_UVICORN,
    GUNICORN_UVICORN_REUSE_PORT,
    GUNICORN_ASGI,
    GUNICORN_ASGI_REUSE_PORT,
    HYPERCORN,
    GRANIAN,
)

NODE_SINGLE = replace(Entry(peers.NODE_SINGLE), workers=1, runtime="node")
NODE_TURNS = replace(Entry(peers.NODE_TURNS), runtime="node")
NODE_SHARED = replace(Entry(peers.NODE_SHARED), runtime="node")

NODE = (NODE_SINGLE, NODE_TURNS, NODE_SHARED)

FORKING = (
    REUSEPORT,
    PRELOADED,
    EXECUTED,
    UVICORN,
    GUNICORN_UVICORN,
    GUNICORN_UVICORN_PRELOAD,
    GUNICORN_ASGI,
    GUNICORN_ASGI_PRELOAD,
    GRANIAN,
)
"""Who is compared by how workers come to be, and what they have in common."""

EVERYBODY = (*BALANCES, *MODES, *PYTHON_PEERS, *NODE)
