"""The servers that are compared: how each is started, and which of the features under test it has.

Every one serves the same application with as many workers, with uvloop and httptools where it lets us choose,
and without an access log, unless that is what is compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.kit.measure import HOST
from bench.kit.versions import version_of

APP = "bench.served.application:app"
NODE = Path(__file__).parent / "node"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a scenario wants of a server. Files in PEM; `idle` is the keep-alive timeout, seconds.

    `access_log` is the file for it, which not every contestant heeds.
    """

    port: int
    workers: int = 2
    app: str = APP
    idle: int = 75
    recycle_after: int | None = None
    certificate: str | None = None
    key: str | None = None
    access_log: str | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """`command` is the whole command line; `ready` is what the server prints when it is up."""

    name: str
    packages: tuple[str, ...]
    command: Callable[[Setup], list[str]]
    ready: str
    scales: bool = True
    supervises_one: bool = True
    """Whether --workers 1 has a supervisor, which can reload and scale."""
    recycles: bool = True
    tells: bool = False
    """Whether its log tells of each step; others are given a moment after it."""

    def versions(self) -> str:
        """What is installed, or ImportError naming what to install."""
        return ", ".join(f"{package} {version_of(package)}" for package in self.packages)


def module(name: str, *arguments: str) -> list[str]:
    """The command line of a Python program."""
    return [sys.executable, "-m", name, *arguments]


def _uvicorn_flags(setup: Setup) -> list[str]:
    """reuseport and uvicorn spell these alike."""
    flags = ["--host", HOST, "--port", str(setup.port), "--workers", str(setup.workers)]
    flags += ["--timeout-keep-alive", str(setup.idle)]
    if setup.access_log is None:
        flags += ["--no-access-log"]
    if setup.recycle_after is not None:
        flags += ["--limit-max-requests", str(setup.recycle_after)]
    if setup.certificate is not None and setup.key is not None:
        flags += ["--ssl-certfile", setup.certificate, "--ssl-keyfile", setup.key]
    return flags


def _ours(setup: Setup) -> list[str]:
    log = [] if setup.access_log is None else ["--access-log-file", setup.access_log]
    return module("reuseport", setup.app, *_uvicorn_flags(setup), *log)


def _uvicorn(setup: Setup) -> list[str]:
    # Its access log goes to stdout, and nothing else does.
    shell = [] if setup.access_log is None else ["sh", "-c", 'exec "$@" > "$0"', setup.access_log]
    return [*shell, *module("uvicorn", setup.app, *_uvicorn_flags(setup))]


def _gunicorn(setup: Setup, *more: str) -> list[str]:
    flags = ["--bind", f"{HOST}:{setup.port}", "--workers", str(setup.workers), "--no-control-socket"]
    flags += ["--keep-alive", str(setup.idle), *more]
    if setup.access_log is not None:
        flags += ["--access-logfile", setup.access_log]
    if setup.recycle_after is not None:
        flags += ["--max-requests", str(setup.recycle_after)]
    if setup.certificate is not None and setup.key is not None:
        flags += ["--certfile", setup.certificate, "--keyfile", setup.key]
    return module("gunicorn", *flags, setup.app)


def _gunicorn_uvicorn(setup: Setup) -> list[str]:
    return _gunicorn(setup, "--worker-class", "uvicorn_worker.UvicornWorker")


def _gunicorn_uvicorn_reuse_port(setup: Setup) -> list[str]:
    return [*_gunicorn_uvicorn(setup), "--reuse-port"]


def _gunicorn_asgi(setup: Setup) -> list[str]:
    return _gunicorn(setup, "--worker-class", "asgi")


def _gunicorn_asgi_reuse_port(setup: Setup) -> list[str]:
    return [*_gunicorn_asgi(setup), "--reuse-port"]


def _hypercorn(setup: Setup) -> list[str]:
    flags = ["--bind", f"{HOST}:{setup.port}", "--workers", str(setup.workers), "--worker-class", "uvloop"]
    if setup.access_log is not None:
        flags += ["--access-logfile", setup.access_log]
    return module("hypercorn", *flags, "--keep-alive", str(setup.idle), setup.app)


def _granian(setup: Setup) -> list[str]:
    flags = ["--interface", "asgi", "--host", HOST, "--port", str(setup.port)]
    flags += ["--workers", str(setup.workers), "--respawn-failed-workers"]
    if setup.certificate is not None and setup.key is not None:
        flags += ["--ssl-certificate", setup.certificate, "--ssl-keyfile", setup.key]
    return module("granian", *flags, setup.app)


def _peregrine(setup: Setup) -> list[str]:
    flags = ["--protocol", "asgi", "--host", HOST, "--port", str(setup.port)]
    flags += ["--workers", str(setup.workers), "--keep-alive", str(setup.idle * 1000)]
    return module("peregrine", *flags, setup.app)


OURS = Contestant("reuseport", ("reuseport", "uvicorn"), _ours, r"all \d+ workers are ready", tells=True)

UVICORN = Contestant("uvicorn --workers", ("uvicorn",), _uvicorn, r"Uvicorn running on", supervises_one=False)
GUNICORN_UVICORN, GUNICORN_UVICORN_REUSE_PORT = (
    Contestant(name, ("gunicorn", "uvicorn-worker"), command, r"Listening at")
    for name, command in (
        ("gunicorn uvicorn-worker", _gunicorn_uvicorn),
        ("gunicorn uvicorn-worker --reuse-port", _gunicorn_uvicorn_reuse_port),
    )
)
GUNICORN_ASGI, GUNICORN_ASGI_REUSE_PORT = (
    Contestant(name, ("gunicorn",), command, r"Listening at")
    for name, command in (
        ("gunicorn asgi", _gunicorn_asgi),
        ("gunicorn asgi --reuse-port", _gunicorn_asgi_reuse_port),
    )
)
HYPERCORN = Contestant("hypercorn", ("hypercorn",), _hypercorn, r"Running on", scales=False)
GRANIAN = Contestant("granian", ("granian",), _granian, r"Listening at", scales=False, recycles=False)
PEREGRINE = Contestant(
    "peregrine", ("peregrine-server",), _peregrine, r"worker ready", scales=False, recycles=False
)

PEERS = (
    UVICORN,
    GUNICORN_UVICORN_REUSE_PORT,
    GUNICORN_ASGI_REUSE_PORT,
    GUNICORN_ASGI,
    GRANIAN,
)
"""Those that can change their workers while they serve, as far as each can."""

NODE_APPS = {APP: "bare", "bench.served.framework:app": "express"}
"""Node's counterparts of our applications, in bench/served/node."""


def _node(setup: Setup, program: str, *more: str) -> list[str]:
    return ["node", str(NODE / program), NODE_APPS[setup.app], str(setup.port), *more]


def _node_single(setup: Setup) -> list[str]:
    return _node(setup, "single.js")


def _node_turns(setup: Setup) -> list[str]:
    return _node(setup, "cluster.js", str(setup.workers), "rr")


def _node_shared(setup: Setup) -> list[str]:
    return _node(setup, "cluster.js", str(setup.workers), "none")


NODE_SINGLE, NODE_TURNS, NODE_SHARED = (
    Contestant(name, ("node", "express"), command, r"all \d+ workers start")
    for name, command in (
        ("node single", _node_single),
        ("node cluster rr", _node_turns),
        ("node cluster none", _node_shared),
    )
)
"""The article's server, without cluster, and with it by SCHED_RR and SCHED_NONE."""
