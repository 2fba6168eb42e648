"""`reuseport APP`: get hold of everything, or refuse before anything has started; then launch."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from reuseport import logs, surroundings
from reuseport.errors import ConfigurationError
from reuseport.instance import Attach
from reuseport.kernel.descriptors import few, have_enough
from reuseport.kernel.inherited import passed
from reuseport.launcher import ports, siginfo
from reuseport.launcher.activation import workers_for
from reuseport.launcher.affinity import sticking
from reuseport.launcher.autoreload import watching
from reuseport.launcher.balance import chosen
from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.execution import refuse_what_does_not_fit
from reuseport.launcher.host.identity import give_up, identity_of
from reuseport.launcher.host.limits import Room, auto_workers, host_limits, reload_room
from reuseport.launcher.host.pidfile import PidFile
from reuseport.launcher.launcher import Launcher
from reuseport.launcher.mold import Mold
from reuseport.launcher.telling import multiprocess
from reuseport.settings.table import Settings

SPARE_SLOTS = 64
"""How far SIGTTIN can scale beyond --workers: the scoreboard is sized once."""

AWAITED = 1.0
"""Seconds that a reload waits for a predecessor to be gone before it goes on. Not for its streams: slot after
slot it would be the graceful timeout each."""

log = logging.getLogger("reuseport")


Admin: TypeAlias = Callable[[Settings], AbstractContextManager[Attach]]
"""Opens what shows and steers us, before anything is started."""


def serve(settings: Settings, admin: Admin | None = None, first: Mold | None = None) -> int:
    """Serve until stopped; return the exit code. Raises ConfigurationError and HostError."""
    siginfo.hold()
    logs.configure_launcher(settings)
    with logs.relayed() as relay:
        code = _serve(settings, admin, relay, first)
        log.info("stopped, exit code %d", code)
    return code


def _serve(settings: Settings, admin: Admin | None, relay: logs.Relay, first: Mold | None) -> int:
    refuse_what_does_not_fit(settings)
    _warn_of_what_all_can_read()
    _have_descriptors()
    identity = identity_of(settings)
    workers, limits = settings.workers, host_limits()
    if surroundings.given.companions and not settings.mold:
        log.info("workers are executed, not forked: threads of an instrumentation are to run in each")
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(
            ports.held(settings.binds(), settings.join, passed(os.environ), named=settings.names_address())
        )
        workers = workers_for(held.passed(), workers)
        if workers == "auto":
            decision = auto_workers(limits)
            log.info(decision.reasoning)
            workers = decision.workers
        _refuse_never_ready(settings, workers)
        if settings.pid_file is not None:
            pid_file = PidFile(Path(settings.pid_file))
            pid_file.write()
            stack.callback(pid_file.remove)
        multiprocess.prepare(os.environ, identity)
        room = reload_room(limits, workers, settings.reload_at_once)
        if room.reasoning:
            log.info(room.reasoning)
        own = bool(held.endpoints())
        policy = policy_of(settings, workers, room, held.passed(), held.most_slots(), own=own)
        balance = stack.enter_context(chosen(settings, workers, policy.capacity, len(held.endpoints())))
        affinity = stack.enter_context(sticking(settings, workers, policy.capacity))
        if balance.choice.rule == "cpu":
            held.incoming_cpu = balance.cpu
        scheme = "https" if settings.ssl_certfile else "http"
        log.info("pid %d serves %s on %s", os.getpid(), settings.app, held.describe(scheme))
        attach = None if admin is None else stack.enter_context(admin(settings))
        give_up(balance.choice.steered, identity)
        relay.begin()
        stack.enter_context(watching(settings))
        return Launcher(settings, policy, held, balance, relay, identity, affinity, first).run(attach)


def _warn_of_what_all_can_read() -> None:
    if any(word.partition("=")[0] == "--ssl-keyfile-password" for word in surroundings.given.argv[1:]):
        log.warning(
            "everybody on this machine can read --ssl-keyfile-password in the list of processes: give"
            " --ssl-keyfile-password-file, or REUSEPORT_SSL_KEYFILE_PASSWORD"
        )


def _refuse_never_ready(settings: Settings, workers: int) -> None:
    if settings.min_ready > workers:
        ours = "1 worker" if workers == 1 else f"{workers} workers"
        raise ConfigurationError(
            f"--min-ready {settings.min_ready} of {ours}: neither probes nor systemd would ever be told that"
            " we are ready; give it no more than --workers"
        )


def _have_descriptors() -> None:
    if few(limit := have_enough()):
        log.warning(
            "ulimit -n is %d at most: who finds no descriptor free in a worker waits in its accept queue",
            limit,
        )


def policy_of(
    settings: Settings,
    workers: int,
    room: Room,
    opened: int = 0,
    most: int | None = None,
    *,
    own: bool = True,
) -> Policy:
    """What the supervisor needs to know of the settings.

    `opened` slots have listeners that listen; `most` is how many slots can have any, `own` whether they do.
    """
    return Policy(
        workers=workers,
        capacity=workers + SPARE_SLOTS if most is None else max(most, workers),
        opened=opened,
        # A few at a time: as many as can import side by side, but never one by one.
        starts_at_once=max(2, len(os.sched_getaffinity(0))),
        graceful_timeout=settings.graceful_timeout,
        shutdown_delay=settings.shutdown_delay,
        shutdown_timeout=settings.shutdown_timeout,
        worker_timeout=settings.worker_timeout,
        startup_timeout=settings.startup_timeout,
        lifetime=settings.worker_lifetime,
        lifetime_jitter=settings.worker_lifetime_jitter,
        reload_at_once=room.at_once,
        awaited=math.inf if room.strictly else AWAITED,
        # By CPU was asked for by name: only who is there accepts.
        stealing=settings.stealing and own and settings.balance != "cpu",
    )
