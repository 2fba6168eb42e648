"""The servers that are compared: how each is started, and which of the features under test it has.

Every one serves the same application with as many workers, without an access log, with uvloop and httptools
where it lets us choose.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bench.measure import HOST

APP = "bench.application:app"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a scenario wants of a server. Files in PEM; `idle` is the keep-alive timeout, seconds."""

    port: int
    workers: int = 2
    idle: int = 75
    recycle_after: int | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """`arguments` are those of `python -m module`; `ready` is what the server prints when it is up."""

    name: str
    module: str
    packages: tuple[str, ...]
    arguments: Callable[[Setup], list[str]]
    ready: str
    scales: bool = True
    supervises_one: bool = True
    """Whether --workers 1 has a supervisor, which can reload and scale."""
    recycles: bool = True

    def command(self, setup: Setup) -> list[str]:
        """The whole command line."""
        return [sys.executable, "-m", self.module, *self.arguments(setup)]

    def versions(self) -> str:
        """What is installed, or ImportError naming what to install."""
        try:
            return ", ".join(f"{package} {version(package)}" for package in self.packages)
        except PackageNotFoundError as error:
            raise ImportError(f"{error.name} is not installed: install the dependency group bench") from error


def _uvicorn_flags(setup: Setup) -> list[str]:
    """reuseport and uvicorn spell these alike."""
    flags = ["--host", HOST, "--port", str(setup.port), "--workers", str(setup.workers), "--no-access-log"]
    flags += ["--timeout-keep-alive", str(setup.idle)]
    if setup.recycle_after is not None:
        flags += ["--limit-max-requests", str(setup.recycle_after)]
    if setup.certificate is not None and setup.key is not None:
        flags += ["--ssl-certfile", setup.certificate, "--ssl-keyfile", setup.key]
    return flags


def _uvicorn(setup: Setup) -> list[str]:
    return [APP, *_uvicorn_flags(setup)]


def _gunicorn(setup: Setup, *more: str) -> list[str]:
    flags = ["--bind", f"{HOST}:{setup.port}", "--workers", str(setup.workers), "--no-control-socket"]
    flags += ["--keep-alive", str(setup.idle), *more]
    if setup.recycle_after is not None:
        flags += ["--max-requests", str(setup.recycle_after)]
    if setup.certificate is not None and setup.key is not None:
        flags += ["--certfile", setup.certificate, "--keyfile", setup.key]
    return [*flags, APP]


def _gunicorn_uvicorn_reuse_port(setup: Setup) -> list[str]:
    return _gunicorn(setup, "--worker-class", "uvicorn_worker.UvicornWorker", "--reuse-port")


def _gunicorn_asgi_reuse_port(setup: Setup) -> list[str]:
    return _gunicorn(setup, "--worker-class", "asgi", "--reuse-port")


def _gunicorn_asgi(setup: Setup) -> list[str]:
    return _gunicorn(setup, "--worker-class", "asgi")


def _granian(setup: Setup) -> list[str]:
    flags = ["--interface", "asgi", "--host", HOST, "--port", str(setup.port)]
    flags += ["--workers", str(setup.workers), "--respawn-failed-workers"]
    if setup.certificate is not None and setup.key is not None:
        flags += ["--ssl-certificate", setup.certificate, "--ssl-keyfile", setup.key]
    return [*flags, APP]


OURS = Contestant("reuseport", "reuseport", ("reuseport",), _uvicorn, r"all \d+ workers are ready")

PEERS = (
    Contestant(
        "uvicorn --workers", "uvicorn", ("uvicorn",), _uvicorn, r"Uvicorn running on", supervises_one=False
    ),
    Contestant(
        "gunicorn --reuse-port, uvicorn-worker",
        "gunicorn",
        ("gunicorn", "uvicorn-worker"),
        _gunicorn_uvicorn_reuse_port,
        r"Listening at",
    ),
    Contestant(
        "gunicorn --reuse-port, asgi", "gunicorn", ("gunicorn",), _gunicorn_asgi_reuse_port, r"Listening at"
    ),
    Contestant("gunicorn, asgi", "gunicorn", ("gunicorn",), _gunicorn_asgi, r"Listening at"),
    Contestant("granian", "granian", ("granian",), _granian, r"Listening at", scales=False, recycles=False),
)
