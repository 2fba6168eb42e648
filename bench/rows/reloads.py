"""Rows of the table about planned changes: reload, scale, recycle. Nobody dies; nobody may notice."""

from __future__ import annotations

import http.client
import signal
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bench.kit.clients import ANNOUNCED, CLOSED, FAILED, Crowd, Tally, Target, keeping_alive
from bench.kit.contest import Running, counter, running, until
from bench.kit.measure import HOST
from bench.kit.row import Figure, Size
from bench.kit.tools import Outcome, ab, curl, h2load, wrk
from bench.served.peers import Contestant

WATCHERS = 8
"""Keep-alive clients of our own beside a tool that does not count how its connections end."""
LEAST_RATE = 5000.0
WARM = 1.0
"""Seconds of load before the first change."""


@contextmanager
def _watched(one: Running, load: AbstractContextManager[Outcome]) -> Iterator[tuple[Outcome, Tally]]:
    """The load and some watchers, warm."""
    tally = Tally()
    jobs = [keeping_alive(Target(one.port), tally) for _ in range(WATCHERS)]
    with load as outcome, Crowd(*jobs):
        time.sleep(WARM)
        yield outcome, tally


def _keep_alive(one: Running, change: Callable[[], object]) -> Figure:
    """wrk on 64 kept connections while `change` happens; connections opened meanwhile replace closed ones."""
    with _watched(one, wrk(one.url(), 64)) as (load, tally):
        opened, begun = counter("PassiveOpens"), time.monotonic()
        change()
        lasted, reopened = time.monotonic() - begun, counter("PassiveOpens") - opened
        time.sleep(WARM)
    return Figure(
        f"wrk {load.answered} answered ({load.rate:.0f}/s), {load.lost} errors [{load.errors}]; "
        f"connections closed by the server: {reopened} (kernel's count); {WATCHERS} watchers: {tally}; "
        f"{lasted:.0f} s",
        met=load.lost == 0 and reopened == 0 and tally.lost() == 0 and tally.ends[CLOSED] == 0,
        short=f"{load.lost} errors, {reopened} closed",
    )


def _connecting(one: Running, change: Callable[[], object]) -> Figure:
    """ab without keep-alive while `change` happens."""
    with _watched(one, ab(one.url(), 32)) as (load, tally):
        begun = time.monotonic()
        change()
        lasted = time.monotonic() - begun
        time.sleep(WARM)
    return Figure(
        f"ab {load.answered} answered ({load.rate:.0f}/s), {load.lost} failed [{load.errors}]; "
        f"{WATCHERS} watchers: {tally}; {lasted:.0f} s",
        met=load.lost == 0 and tally.lost() == 0,
        short=f"{load.lost} of {load.answered} failed at {load.rate:.0f}/s",
        rate=load.rate,
    )


def _repeat(act: Callable[[], None], times: int) -> Callable[[], None]:
    def acts() -> None:
        for _ in range(times):
            act()

    return acts


def reload_keep_alive(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """50 rolling reloads at saturation, wrk keep-alive, 64 connections."""
    with running(contestant) as one:
        yield _keep_alive(one, _repeat(one.reload, size.of(50)))


def reload_connecting(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """50 rolling reloads, one connection per request."""
    with running(contestant) as one:
        figure = _connecting(one, _repeat(one.reload, size.of(50)))
    # The rate is part of the promise: at a lower one fewer connections are in anybody's hands.
    yield replace(figure, met=figure.met and figure.rate >= LEAST_RATE)


def one_worker(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """--workers 1, 20 reloads, both kinds of load."""
    if not contestant.supervises_one:
        return
    with running(contestant, workers=1) as one:
        yield _keep_alive(one, _repeat(one.reload, size.of(20)))
    with running(contestant, workers=1) as one:
        yield _connecting(one, _repeat(one.reload, size.of(20)))


def old_connection(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """A keep-alive connection opened before 10 reloads answers after them, from the newest generation."""
    with running(contestant) as one, httpx.Client() as asking, curl(one.url()) as opened:
        plain = http.client.HTTPConnection(HOST, one.port)
        plain.request("GET", "/")
        plain.getresponse().read()
        ours = plain.sock.getsockname()
        streams = [_stream(asking.get(one.url()))]
        for _ in range(size.of(10)):
            one.reload()
            streams.append(_stream(asking.get(one.url())))
        newest = one.workers()
        try:
            plain.request("GET", "/")
            answer = plain.getresponse()
            answer.read()
            same = plain.sock is not None and plain.sock.getsockname() == ours
            by_newest = int(answer.headers["x-pid"]) in newest
        except (http.client.HTTPException, OSError):
            same = by_newest = False
        plain.close()
    used, connects = len(set(streams)), sum(opened)
    yield Figure(
        f"silent connection: {'the same' if same else 'closed'}, "
        f"{'answered' if by_newest else 'not answered'} by the newest generation; httpx used {used} "
        f"connections for {len(streams)} requests, curl {connects} for {len(opened)}",
        met=same and by_newest and used == 1 and connects == 1,
        short="answers" if same and by_newest else "closed",
    )


def _stream(response: httpx.Response) -> object:
    """Which connection a response came by."""
    return response.extensions["network_stream"].get_extra_info("client_addr")


def scale(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """1→8→1 ten times, both kinds of load; from and to 2 where one worker has no supervisor."""
    if not contestant.scales:
        return
    least = 1 if contestant.supervises_one else 2

    def up() -> None:
        _walk(one, signal.SIGTTIN, range(least + 1, 9))

    def down() -> None:
        _walk(one, signal.SIGTTOU, range(7, least - 1, -1))

    def up_and_down() -> None:
        up()
        down()

    figures = []
    with running(contestant, workers=least) as one:
        for _ in range(size.of(10)):
            up()
            # Load that was there before them would have no connection with the workers that go.
            figures.append(_keep_alive(one, down))
    yield Figure(
        f"wrk begun at 8 workers, on the way down: {'; '.join(figure.short for figure in figures)}",
        met=all(figure.met for figure in figures),
        short=f"{sum(figure.met for figure in figures)} of {len(figures)} ways down without error or close",
    )
    with running(contestant, workers=least) as one:
        yield _connecting(one, _repeat(up_and_down, size.of(10)))


def _walk(one: Running, number: signal.Signals, counts: range) -> None:
    for count in counts:
        _step(one, number, count)
    one.wait_for(counts[-1])


def _step(one: Running, number: signal.Signals, count: int) -> None:
    """One worker more or less. The next signal waits for this one's effect: two pending ones would be one."""
    at = time.monotonic()
    one.server.process.send_signal(number)
    if one.contestant.tells:
        one.server.line(rf"scaling from \d+ to {count} workers", since=at)
    else:
        until(lambda: len(one.workers()) == count, f"{count} workers")


def recycle(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """--limit-max-requests 500 under both kinds of load, for 30 s."""
    if not contestant.recycles:
        return
    for measure in (_keep_alive, _connecting):
        with running(contestant, recycle_after=500) as one:
            yield measure(one, lambda: time.sleep(size.of(30)))


def tls(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """TLS keep-alive through 10 reloads: closed only between requests, announced by Connection: close."""
    with tempfile.TemporaryDirectory() as directory:
        authority = trustme.CA()
        issued = authority.issue_cert(HOST)
        chain, key = Path(directory, "chain.pem"), Path(directory, "key.pem")
        issued.cert_chain_pems[0].write_to_path(chain)
        # PKCS#8, which granian insists on; trustme writes the traditional form.
        key.write_bytes(_pkcs8(issued.private_key_pem.bytes()))
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        tally, reloads = Tally(), size.of(10)
        with running(contestant, certificate=(str(chain), str(key))) as one:
            target = Target(one.port, tls=trusting)
            crowd = Crowd(*(keeping_alive(target, tally) for _ in range(32)))
            with crowd, h2load(one.url(), 16, 3.0 * reloads) as load:
                time.sleep(WARM)
                _repeat(one.reload, reloads)()
                time.sleep(WARM)
    yield Figure(
        f"32 keep-alive clients: {tally}; h2load: {load.errors}",
        met=tally.lost() == 0 and tally.ends[CLOSED] == 0,
        short=f"{tally.ends[FAILED]} reset in a request, {tally.ends[CLOSED]} unannounced, "
        f"{tally.ends[ANNOUNCED]} announced",
    )


def _pkcs8(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
