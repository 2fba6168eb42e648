"""What happens to the server: reloads, crashes, terminations, scaling, a mold that dies. Recycling is set."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import psutil

from bench.kit.contest import accepted, until
from bench.kit.measure import Server
from bench.soaking.watch import Record, at_rest, status

MOST = 2
"""Workers that scaling adds."""


class Disturbances:
    """One after the other, by chance."""

    def __init__(self, record: Record, server: Server, port: int, admin: int, seed: int) -> None:
        self._record = record
        self._server = server
        self._port = port
        self._admin = admin
        self._rng = random.Random(seed)
        self._added = 0
        self._generation = 0

    def go_on(self, seconds: float, pause: float) -> None:
        """So long, one every `pause` seconds."""
        until = time.monotonic() + seconds
        steps = {self.reload: 4, self.crash: 3, self.terminate: 2, self.up: 2, self.down: 2, self.no_mold: 1}
        while (left := until - time.monotonic()) > 0:
            (step,) = self._rng.choices(list(steps), list(steps.values()))
            step()
            time.sleep(min(pause, left))

    def widen(self) -> None:
        """Serve all slots once that there will be: who fosters one later holds two descriptors for it."""
        workers = self._record.workers
        for more in range(MOST):
            self.up()
            until(lambda more=more: status(self._admin)["ready"] > workers + more, "a worker more")  # type: ignore[misc]
        self.end()
        until(lambda: at_rest(self._admin, workers), "rest")

    def end(self) -> None:
        """As many workers again as there were."""
        while self._added:
            self.down()

    def reload(self) -> None:
        """SIGHUP."""
        self._note("reload")
        self._generation = status(self._admin)["generation"]
        self._server.process.send_signal(signal.SIGHUP)

    def crash(self) -> None:
        """SIGKILL. What it has accepted is counted first, while it stands still."""
        if (pid := self._one()) is None:
            return
        try:
            os.kill(pid, signal.SIGSTOP)
            held = accepted(pid, self._port)
            self._note("crash")
            self._record.crashes.append((self._record.now(), held))
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            pass  # it has just gone by itself

    def terminate(self) -> None:
        """SIGTERM to one worker, which asks to be replaced."""
        if (pid := self._one()) is not None:
            self._note("terminate")
            os.kill(pid, signal.SIGTERM)

    def up(self) -> None:
        """SIGTTIN."""
        if self._added < MOST:
            self._added += 1
            self._note("scale up")
            self._server.process.send_signal(signal.SIGTTIN)

    def down(self) -> None:
        """SIGTTOU."""
        if self._added:
            self._added -= 1
            self._note("scale down")
            self._server.process.send_signal(signal.SIGTTOU)
            time.sleep(0.05)  # two of the same signal at once are one (signal(7))

    def no_mold(self) -> None:
        """SIGKILL to the mold."""
        if (mold := self.mold()) is not None:
            self._note("mold killed")
            mold.kill()

    def mold(self) -> psutil.Process | None:
        """The one that there is, if any."""
        for process in self._server.children():
            with contextlib.suppress(psutil.Error):
                if "reuseport.mold" in process.cmdline():
                    return process
        return None

    def reloaded(self) -> bool:
        """A reload is done since the last was asked for."""
        return bool(status(self._admin)["generation"] > self._generation)

    def _one(self) -> int | None:
        ready = [slot["pid"] for slot in status(self._admin)["slots"] if slot["state"] == "ready"]
        return self._rng.choice(ready) if len(ready) > 1 else None

    def _note(self, what: str) -> None:
        self._record.events.append((self._record.now(), what))
