"""The rows of the comparison: what is asked, of whom, and what was expected.

Who is in a row is who can tell something in it; in throughput and start everybody.
"""

from __future__ import annotations

from dataclasses import replace

from bench.kit.comparison import Row
from bench.kit.results import Claim, Metric
from bench.rows import apart, article, kept, losses, many, memory, openloop, recover, start, throughput
from bench.rows.figures import CPU, MEMORY, P50, P99, P999, RATE, SLOWEST
from bench.served import field
from bench.served.field import (
    BLIND,
    EVERYBODY,
    FORKING,
    GRANIAN,
    GUNICORN_ASGI,
    GUNICORN_UVICORN,
    GUNICORN_UVICORN_REUSE_PORT,
    HASH,
    HYPERCORN,
    MASTER,
    MIGRATING,
    NODE,
    NODE_SHARED,
    NODE_SINGLE,
    NODE_TURNS,
    PEREGRINE,
    PLAIN,
    PRELOADED,
    REUSEPORT,
    SHARED,
    SINGLE,
    UVICORN,
)

US = REUSEPORT.name
NO_RELOAD = dict.fromkeys((NODE_TURNS.name, NODE_SHARED.name), "Node's cluster has no reload")
NO_WAIT = dict.fromkeys((entry.name for entry in NODE), "the article's server has no such page")
NO_LOG = {
    **dict.fromkeys((entry.name for entry in (*field.MODES, *NODE)), "writes no access log"),
    GRANIAN.name: "its access log is among its other lines",
}
MODES_STAY = dict.fromkeys(
    (entry.name for entry in field.MODES if entry is not SINGLE), "the modes have no supervision"
)

HELD = Metric("held", "held up", "%", "lower", 100.0)

ROWS = (
    Row(
        "keepalive",
        "hello, 64 kept connections, 2 workers, wrk",
        (RATE, CPU, P50, P99),
        throughput.kept(64, throughput.hello, seconds=2),
        EVERYBODY,
        (REUSEPORT, SINGLE, SHARED, UVICORN, NODE_TURNS),
        ("wrk",),
        (
            Claim(US, "rate", UVICORN.name, least=1.0),
            Claim(US, "cpu", NODE_SINGLE.name, most=1.0),
        ),
    ),
    Row(
        "logged",
        "hello as in keepalive, but each request a line of the access log in a file",
        (RATE, CPU, P50, P99),
        throughput.logged(64, seconds=2),
        (REUSEPORT, HASH, UVICORN, GUNICORN_UVICORN, GUNICORN_ASGI, HYPERCORN),
        (REUSEPORT, UVICORN),
        ("wrk",),
        (Claim(US, "rate", UVICORN.name, least=1.0),),
        absent=NO_LOG,
    ),
    Row(
        "connect",
        "hello, a connection for each request, 64 at a time, 2 workers, ab",
        (RATE, CPU, P50, P99),
        throughput.new(64, seconds=2),
        EVERYBODY,
        (REUSEPORT, SHARED, MASTER, UVICORN, NODE_TURNS),
        ("ab",),
        (
            Claim(US, "rate", NODE_TURNS.name, least=1.5),
            Claim(US, "rate", MASTER.name, least=1.15),
        ),
    ),
    Row(
        "apart",
        f"CPU a request: one worker on a CPU of its own, wrk and ab on another, 64 connections; "
        f"{apart.interpreter()}",
        (
            *(replace(CPU, name=name, title=title) for name, title in apart.KINDS.items()),
            *(replace(CPU, name=f"{name}_user", title=f"{name}: user time") for name in apart.KINDS),
            *(
                Metric(f"{name}_calls", f"{name}: system calls", "", "lower", 1.0, ",.2f")
                for name in apart.KINDS
            ),
        ),
        apart.apart(64, seconds=2),
        (REUSEPORT, UVICORN, GUNICORN_ASGI, GRANIAN, PEREGRINE),
        (REUSEPORT, UVICORN),
        ("wrk", "ab"),
        (
            Claim(US, "raw", UVICORN.name, most=0.55),
            Claim(US, "raw", GRANIAN.name, most=1.1),
            Claim(US, "browser", UVICORN.name, most=0.87),
            Claim(US, "post", UVICORN.name, most=0.85),
            Claim(US, "large", UVICORN.name, most=0.85),
            Claim(US, "starlette", UVICORN.name, most=0.80),
            Claim(US, "logged", UVICORN.name, most=0.6),
            Claim(US, "new", UVICORN.name, most=0.85),
        ),
    ),
    Row(
        "article",
        "the article's experiment: /api/N of 25 ms, 100 connections, 10 s of autocannon; Starlette, Express",
        (
            replace(RATE, title="requests/s", form=",.1f"),
            Metric("sent", "requests", "", "higher"),
            Metric("mean", "mean latency", "ms", "lower", 1e3),
            replace(CPU, unit="ms", scale=1e3),
        ),
        article.article,
        (REUSEPORT, SINGLE, *NODE),
        (REUSEPORT, SINGLE, NODE_SINGLE, NODE_TURNS),
        ("node", "autocannon"),
        (Claim(US, "rate", SINGLE.name, least=1.9),),
        beside=(
            *article.beside(US, SINGLE.name),
            *article.beside(NODE_TURNS.name, NODE_SINGLE.name),
            *article.beside(NODE_SHARED.name, NODE_SINGLE.name),
        ),
    ),
    Row(
        "cpu",
        "/api/N of 10 ms on the event loop, 32 kept connections, 2 workers, wrk",
        (replace(RATE, form=",.1f"), replace(CPU, unit="ms", scale=1e3, form=",.2f"), P50, P99),
        throughput.kept(32, throughput.works(10), seconds=3),
        (REUSEPORT, HASH, SINGLE, SHARED, MASTER, UVICORN, GRANIAN),
        (REUSEPORT, SINGLE, SHARED),
        ("wrk",),
        (Claim(US, "rate", SINGLE.name, least=1.95),),
    ),
    Row(
        "sleep",
        "a handler that awaits 20 ms, 128 kept connections (6,400/s at most), 2 workers, wrk",
        (RATE, CPU, P50, P99),
        throughput.kept(128, throughput.waits(20), seconds=2),
        (REUSEPORT, SHARED, UVICORN, GUNICORN_ASGI, GRANIAN, HYPERCORN),
        (REUSEPORT, UVICORN),
        ("wrk",),
        absent=NO_WAIT,
    ),
    Row(
        "latency",
        "hello, 1,500/s due over 64 kept connections, 2 workers",
        (P99, P50, P999, SLOWEST, CPU),
        openloop.steady(openloop.on_kept(64), rate=1500, seconds=3),
        (REUSEPORT, HASH, SHARED, UVICORN, GRANIAN, NODE_TURNS),
        (REUSEPORT, UVICORN, NODE_TURNS),
    ),
    Row(
        "arrivals",
        "hello, 1,000/s due, each on a new connection, 2 workers",
        (P99, P50, P999, SLOWEST, CPU),
        openloop.steady(openloop.on_new, rate=1000, seconds=3),
        (REUSEPORT, HASH, SHARED, UVICORN, GRANIAN, NODE_TURNS),
        (REUSEPORT, UVICORN, NODE_TURNS),
    ),
    *(
        Row(
            name,
            "400/s due on new connections, 1 in 100 costs 200 ms of CPU, "
            f"{workers} workers; the others' latency",
            (P99, P50, SLOWEST, Metric("slow_p50", "p50 of the slow", "ms", "lower", 1e3)),
            openloop.mixed(workers=workers, rate=400, share=0.01, milliseconds=200, seconds=5),
            (REUSEPORT, HASH, PLAIN, SHARED, MASTER, BLIND, GRANIAN, NODE_TURNS),
            (REUSEPORT, SHARED, NODE_TURNS),
            claims=tuple(Claim(of, "p99", SHARED.name, most=1.1) for of in (US, HASH.name)),
        )
        for name, workers in (("mixed", 2), ("mixed-8", 8))
    ),
    *(
        Row(
            name,
            f"200 new connections while one of {workers} workers is blocked for 2.5 s",
            (SLOWEST, HELD, P50),
            openloop.while_one_is_blocked(workers=workers, milliseconds=2500, over=1.5),
            (REUSEPORT, HASH, PLAIN, SHARED, MASTER, GRANIAN, NODE_TURNS),
            (REUSEPORT, PLAIN, SHARED),
            claims=(Claim(US, "slowest", most=0.005), Claim(HASH.name, "slowest", most=0.015)),
        )
        for name, workers in (("blocked", 2), ("blocked-8", 8))
    ),
    Row(
        "kept",
        "16 kept connections, one of which blocks its worker, of 2, for 3 s by computing; the other 15",
        (SLOWEST, HELD, P50),
        kept.kept_while_one_is_blocked(milliseconds=3000),
        (REUSEPORT, HASH, PLAIN, SHARED, UVICORN, GRANIAN, NODE_TURNS),
        (REUSEPORT, UVICORN),
        claims=tuple(Claim(of, "slowest", most=0.1) for of in (US, HASH.name)),
    ),
    Row(
        "kept-asleep",
        "likewise, by time.sleep",
        (SLOWEST, HELD, P50),
        kept.kept_while_one_is_blocked(milliseconds=3000, asleep=True),
        (REUSEPORT, HASH, PLAIN, SHARED, UVICORN, GRANIAN),
        (REUSEPORT, UVICORN),
        claims=tuple(Claim(of, "slowest", most=0.1) for of in (US, HASH.name)),
    ),
    Row(
        "few",
        "4 long-lived connections, 4 workers, /api/N of 20 ms, wrk",
        (replace(RATE, form=",.1f"), P50, P99, replace(CPU, unit="ms", scale=1e3, form=",.2f")),
        throughput.kept(4, throughput.works(20), seconds=3, workers=4),
        (REUSEPORT, HASH, PLAIN, SHARED, MASTER, UVICORN, GUNICORN_ASGI, GRANIAN, NODE_TURNS),
        (REUSEPORT, UVICORN, NODE_TURNS),
        ("wrk",),
        (Claim(US, "rate", UVICORN.name, least=1.3),),
    ),
    Row(
        "reload",
        "a reload of 2 workers at saturation, under wrk on 32 kept connections, and another under ab",
        (
            Metric("kept_lost", "lost, kept", counted=True),
            Metric("kept_closed", "closed, kept", counted=True),
            Metric("new_lost", "lost, new", counted=True),
            Metric("lasted", "one reload", "s", "lower", 1.0, ".2f"),
        ),
        losses.reload,
        (
            REUSEPORT,
            HASH,
            MIGRATING,
            UVICORN,
            GUNICORN_ASGI,
            GUNICORN_UVICORN,
            GUNICORN_UVICORN_REUSE_PORT,
            GRANIAN,
        ),
        (REUSEPORT, UVICORN, GRANIAN),
        ("wrk", "ab"),
        tuple(Claim(US, metric, most=0.0) for metric in ("kept_lost", "kept_closed", "new_lost")),
        NO_RELOAD | MODES_STAY,
    ),
    Row(
        "crash",
        "SIGKILL of one of 2 workers at saturation, under wrk on 32 kept connections, and under ab",
        (
            Metric("beyond", "lost beyond what the killed had accepted", counted=True),
            Metric("kept_lost", "lost, kept", counted=True),
            Metric("new_lost", "lost, new", counted=True),
            Metric("back", "replaced after", "s", "lower", 1.0, ".2f"),
        ),
        losses.crash,
        (
            REUSEPORT,
            HASH,
            MIGRATING,
            UVICORN,
            GUNICORN_ASGI,
            GUNICORN_UVICORN_REUSE_PORT,
            GRANIAN,
            NODE_TURNS,
        ),
        (REUSEPORT, UVICORN),
        ("wrk", "ab"),
        (Claim(US, "beyond", most=0.0),),
        MODES_STAY,
    ),
    Row(
        "start",
        "4 workers of a Starlette application, Express on Node: from the command to the last that serves",
        (
            Metric("start", "start", "ms", "lower", 1e3),
            MEMORY,
        ),
        start.start,
        (*FORKING, HASH, SHARED, MASTER, HYPERCORN, NODE_TURNS),
        (REUSEPORT, PRELOADED, UVICORN, GRANIAN),
        (),
        (Claim(US, "start", UVICORN.name, most=0.7),),
    ),
    Row(
        "recover",
        "4 workers of a Starlette application, one after the other killed: until its successor is up",
        (Metric("recovered", "back after", "ms", "lower", 1e3),),
        recover.recover,
        FORKING,
        (REUSEPORT, PRELOADED, UVICORN),
    ),
    Row(
        "memory",
        "4 workers of a Starlette application that have all answered",
        (MEMORY,),
        memory.memory(start.APP, 4),
        FORKING,
        (REUSEPORT, PRELOADED, UVICORN),
        (),
        (
            Claim(US, "memory", UVICORN.name, most=0.8),
            Claim(PRELOADED.name, "memory", UVICORN.name, most=0.65),
        ),
    ),
    Row(
        "memory-shop",
        "8 workers of an application of FastAPI, pydantic and SQLAlchemy that have all answered",
        (MEMORY,),
        memory.memory("bench.served.shop:app", 8),
        FORKING,
        (REUSEPORT, PRELOADED, UVICORN),
        (),
        (Claim(PRELOADED.name, "memory", UVICORN.name, most=0.4),),
    ),
    Row(
        "many",
        "64 workers: from the command to the last that is up, idle, a reload of all, the stop",
        (
            Metric("start", "start", "s", "lower", 1.0, ".2f"),
            Metric("idle", "idle, all together", "% of a core", "lower", 100.0, ".2f"),
            Metric("reload", "reload", "s", "lower", 1.0, ".2f"),
            Metric("stop", "stop", "s", "lower", 1.0, ".2f"),
            Metric("memory", "PSS of all", "MiB", "lower", 1.0, ",.0f"),
        ),
        many.many,
        (REUSEPORT, UVICORN, GUNICORN_ASGI, GRANIAN),
        (REUSEPORT,),
        claims=(
            Claim(US, "start", most=5.0),
            Claim(US, "idle", most=0.03),
            Claim(US, "reload", most=8.0),
            Claim(US, "stop", most=3.0),
        ),
    ),
)
