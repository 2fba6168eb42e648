"""Everything at once, in an order that nobody thought of: afterwards all is as if nothing had been.

Some requests block their worker, so connections are rescued all the while; and many belong to another slot
than the one that their connection has come to, so they are moved.

The seed is printed, which decides upon the event loop, too; `REUSEPORT_TEST_WALK=seconds:seed` takes the same
walk again, or a longer one.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.conftest import Launch, Launched
from tests.whole.lines import Failure, Load, settled, wait_until
from tests.whole.posts import Posts
from tests.whole.traffic import listeners

SECONDS = 60.0 if os.environ.get("CI") else 20.0
MOST = 4
"""Workers the walk scales up to."""
JUST_BEFORE = 1.0
"""Seconds from a SIGKILL to the first time a client can have noticed, and back: generous."""


class Walk:
    """Random steps, and when each worker was killed."""

    def __init__(self, server: Launched, rng: random.Random) -> None:
        self.server = server
        self.rng = rng
        self.kills: list[float] = []
        self.steps: list[str] = []
        self.target = 2
        self._terminated: set[int] = set()
        self._stopped: set[int] = set()

    def step(self) -> None:
        """One of them; the more violent ones are rarer."""
        steps = {
            self.reload: 4,
            self.up: 4,
            self.down: 4,
            self.reopen: 1,
            self.kill: 2,
            self.terminate: 3,
            self.stop: 2,
            self.go_on: 4,
            self.kill_mold: 2,
            self.stop_mold: 1,
        }
        (step,) = self.rng.choices(list(steps), list(steps.values()))
        self.steps.append(step.__name__)
        step()

    def pauses(self, seconds: float) -> Iterator[float]:
        """How long to let things happen between two steps, until the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield self.rng.choice([0.0, 0.01, 0.1, 0.3, 0.6])

    def reload(self) -> None:
        self.server.signal(signal.SIGHUP)

    def up(self) -> None:
        if self.target < MOST:
            self._scale(signal.SIGTTIN)

    def down(self) -> None:
        if self.target > 1:
            self._scale(signal.SIGTTOU)

    def _scale(self, number: signal.Signals) -> None:
        # The answer is waited for: of two signals that have not been read the kernel keeps one.
        self.server.signal(number)
        self.target = int(self.server.wait_for(r"scaling from \d+ to (\d+) workers")[1])

    def reopen(self) -> None:
        self.server.signal(signal.SIGUSR1)

    def kill(self) -> None:
        self.kills.append(time.monotonic())
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        """Once each: the second time a worker leaves without waiting for a successor."""
        self._send(signal.SIGTERM, but=self._terminated)

    def stop(self) -> None:
        if not self._stopped:  # somebody must be left
            self._stopped.add(self._send(signal.SIGSTOP))

    def kill_mold(self) -> None:
        self._send_mold(signal.SIGKILL)

    def stop_mold(self) -> None:
        """It does not answer, until it goes on or is found out."""
        if (pid := self._send_mold(signal.SIGSTOP)) is not None:
            self._stopped.add(pid)

    def _send_mold(self, number: signal.Signals) -> int | None:
        """To any of them, if there is one: which, also one that imports or forks just now."""
        found = sorted(mold.pid for mold in self.server.molds())
        if not found:
            return None
        pid = self.rng.choice(found)
        self._try(pid, number)
        return pid

    def go_on(self) -> None:
        while self._stopped:
            self._try(self._stopped.pop(), signal.SIGCONT)

    def _send(self, number: signal.Signals, but: set[int] | None = None) -> int:
        """To a process of any slot in any phase."""
        children = [child.pid for child in self.server.children()]
        pid = self.rng.choice(sorted(set(children) - (but or set())) or [0])
        if but is not None:
            but.add(pid)
        if pid:
            self._try(pid, number)
        return pid

    def _try(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def test_random_walk(launch: Launch, tmp_path: Path) -> None:
    seconds, _, seed = os.environ.get("REUSEPORT_TEST_WALK", f"{SECONDS}:").partition(":")
    seed = seed or str(random.randrange(2**32))
    loop = ("uvloop", "asyncio")[int(seed) % 2]
    print(f"REUSEPORT_TEST_WALK={seconds}:{seed}, {loop}")  # noqa: T201 - pytest shows it when the test fails
    # Without control: commands of other tests ask every launcher there is, and a visitor costs a descriptor.
    flags = ("--no-access-log", "--no-control", "--sticky", "query:key", "--loop", loop)
    executed = tmp_path / "executed"
    executed.touch()
    server = launch("stubborn:app", "--workers", "2", *flags, env={"TEST_EXECUTED": str(executed)}).ready(2)
    molds = len(server.molds())  # none if REUSEPORT_MOLD says so
    launcher = psutil.Process(server.pid)
    # Of each slot its listener and both ends of both inboxes, of each worker its pidfd, its channel, its
    # stacks; of the mold its pidfd and its channel, now and in the end.
    base = launcher.num_fds() - 2 * 5 - 2 * 3
    walk = Walk(server, random.Random(seed))
    posts = Posts(server.port, clients=4, seed=int(seed), blocking=0.02, longest=150.0, keys=12)
    with Load(server.port) as load, posts:
        for pause in walk.pauses(float(seconds)):
            walk.step()
            time.sleep(pause)  # the walk's own pace: nothing is waited for
        walk.go_on()
        while walk.target < MOST:
            walk.up()
        server.signal(signal.SIGHUP)
        wait_until(lambda: calm(server), lambda: f"{walk.steps}\n{server.output}")
        load.wait_for_more(100)
        posts.wait_for_more(100)
    print(f"{len(walk.steps)} steps, {len(walk.kills)} kills, {posts.answered} posts, {load.answered} others")  # noqa: T201
    assert posts.wrong == []
    times = Counter(executed.read_text(encoding="ascii").split())
    assert [number for number, each in times.items() if each > 1] == []
    assert posts.told <= times.keys()
    failures = [*load.failures, *posts.failures]
    unexplained = [failure for failure in failures if not explained(failure, walk.kills)]
    assert not unexplained, f"{unexplained}\n{walk.kills}\n{walk.steps}\n{server.output}"
    settled(server, MOST)
    wait_until(lambda: len(server.molds()) == molds, lambda: server.output)
    assert server.workers().keys() == set(range(MOST))
    assert len(listeners(server.port)) == MOST
    wait_until(lambda: launcher.num_fds() == base + MOST * 5 + MOST * 3, launcher.num_fds)
    assert "Traceback" not in server.output
    assert server.stop() == 0


def calm(server: Launched) -> bool:
    """All slots are served by one worker each, by the end of the log and the list of processes."""
    children = server.children()
    began, ended = server.count("reload: generation .* one at a time"), server.count("serves in every slot")
    return len(children) == MOST and began == ended + server.count("reload to generation .* aborted")


def explained(failure: Failure, kills: list[float]) -> bool:
    """A worker was killed while this connection was in use: it may have been one of its own."""
    return any(failure.well_until - JUST_BEFORE <= kill <= failure.noticed_at for kill in kills)
