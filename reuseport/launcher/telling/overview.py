"""Everything about the server at one moment, as the API tells it: the slots as the supervisor knows them, the
figures as the scoreboard and the kernel have them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from reuseport import __version__
from reuseport.instance import (
    HolderStatus,
    KernelStatus,
    QueueStatus,
    ReloadStatus,
    Sample,
    SlotStatus,
    Status,
    WaitingStatus,
    WorkerStatus,
)
from reuseport.kernel.netstat import tcp_extension
from reuseport.kernel.queue import accept_queue
from reuseport.launcher.balance import Balance
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.slots import Slot, Worker
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.exclusion import Exclusion
from reuseport.launcher.ports import Ports
from reuseport.launcher.process import Process
from reuseport.launcher.telling.announcing import ready
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.usage import NOTHING, Usage
from reuseport.messages import MOST_NAMES, Waits
from reuseport.printable import printable
from reuseport.scoreboard import DURATION_BUCKETS, RESPONSES, TURNED_AWAY, Desk
from reuseport.settings.table import Settings

MOST_OLDEST = 250
"""Characters of what a worker says it waits for."""
MOST_NAME = 100
"""And of what it holds."""


class Overview:
    """Reads what others own. `processes` by worker number; times of the supervisor are `loop.time()`."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        processes: Mapping[int, Process],
        ports: Ports,
        balance: Balance,
        exclusion: Exclusion,
        chronicle: Chronicle,
        usage: Usage,
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._processes = processes
        self._ports = ports
        self._balance = balance
        self._exclusion = exclusion
        self._chronicle = chronicle
        self._totals = chronicle.totals
        self._readings = chronicle.totals.readings
        self._usage = usage

    def status(self, now: float) -> Status:
        """All of it; `now` is the time as the supervisor counts it."""
        supervisor, totals, choice = self._supervisor, self._totals, self._balance.choice
        slots = [self._slot(slot, now) for slot in self._slots()]
        return {
            "version": __version__,
            "pid": os.getpid(),
            "application": self._settings.app,
            "started_at": self._chronicle.started_at,
            "now": time.time(),
            "uptime": now - self._chronicle.begun,
            "last": self._chronicle.history.last,
            "addresses": self._ports.places("https" if self._settings.ssl_certfile else "http"),
            "state": supervisor.stage(),
            "generation": supervisor.generation,
            "reload": self._reload(),
            "workers": supervisor.target,
            "ready": self.ready(),
            "balance": {
                "rule": choice.rule,
                "level": int(choice.level),
                "reason": choice.reason,
            },
            "slots": slots,
            "only_one": self._holders(),
            "spawns": dict(totals.spawns),
            "exits": dict(totals.exits),
            "reloads": dict(totals.reloads),
            "violations": totals.violations,
            "fosters": dict(totals.fosters),
            "handoffs": sum(slot["handoffs"]["sent"] for slot in slots),
            "rebalanced": sum(slot["handoffs"]["rebalanced"] for slot in slots),
            "certificate_expires": totals.first_expiry() or None,
            "kernel": _kernel(),
        }

    def ready(self) -> int:
        """Slots whose worker is ready, among those wanted."""
        return ready(self._supervisor)

    def sample(self) -> Sample:
        """The sums that charts show."""
        slots = self._slots()
        totals = [self._totals.of(slot.number) for slot in slots]
        rss = [self._usage.of(process.pid).rss for process in self._processes.values()]
        return {
            "time": time.time(),
            "requests": sum(total[code] for total in totals for code in RESPONSES),
            "errors": sum(total[Desk.RESPONSES_5XX] for total in totals),
            "in_flight": sum(self._sum(slot, Desk.IN_FLIGHT) for slot in slots),
            "connections": sum(self._sum(slot, Desk.CONNECTIONS) for slot in slots),
            "accept_queue": sum(self._queue(slot)["length"] for slot in slots),
            "lag": max(map(self._lag, slots), default=0.0),
            "cpu": sum(total[Desk.CPU] for total in totals) / 1e9,
            "rss": sum(size or 0 for size in rss),
            "ready": self.ready(),
            "durations": [sum(total[bucket] for total in totals) for bucket in DURATION_BUCKETS],
        }

    # ── one slot ──────────────────────────────────────────────────────────────────────────────────────

    def _slots(self) -> list[Slot]:
        return [slot for _, slot in sorted(self._supervisor.slots.items())]

    def _slot(self, slot: Slot, now: float) -> SlotStatus:
        number = slot.number
        serving, starting = slot.serving(), slot.starting()
        shown = serving or starting or next(iter(slot.workers), None)
        pid = self._pid(shown)
        used = NOTHING if pid is None else self._usage.of(pid)
        total = self._totals.of(number)
        return {
            "slot": number,
            "wanted": number < self._supervisor.target,
            "state": _state(slot, shown, now),
            "generation": slot.generation if shown is None else shown.generation,
            "pid": pid,
            "started_at": None if shown is None else time.time() - (now - shown.spawned_at),
            "successor": self._worker(starting) if starting is not None and starting is not shown else None,
            "predecessors": [
                self._worker(worker)
                for worker in slot.workers
                if worker is not shown and worker is not starting
            ],
            "waiting": [self._waiting(worker, worker.waits) for worker in slot.workers if worker.waits],
            "retry_at": time.time() + slot.retry_at - now if shown is None and slot.retry_at > now else None,
            "foster": self._foster(slot),
            "executes": None if shown is None else _executes(shown),
            "requests": sum(total[code] for code in RESPONSES),
            "responses": {f"{code}xx": total[word] for code, word in enumerate(RESPONSES, 1)},
            "abandoned": total[Desk.ABANDONED],
            "in_flight": self._sum(slot, Desk.IN_FLIGHT),
            "connections": self._sum(slot, Desk.CONNECTIONS),
            "websockets": self._sum(slot, Desk.WEBSOCKETS),
            "accepted": total[Desk.ACCEPTED],
            "stolen": total[Desk.STOLEN],
            "assigned": self._readings.assigned(number),
            "accept_queue": self._queue(slot),
            "accept_wait": max((self._word(worker, Desk.ACCEPT_WAIT) for worker in slot.workers), default=0)
            / 1e9,
            "lag": self._lag(slot),
            "heartbeat_age": None if serving is None else self._silence(serving),
            "cpu": total[Desk.CPU] / 1e9,
            "collecting": total[Desk.COLLECTING] / 1e9,
            "rss": used.rss,
            "pss": None if shown is None else self._word(shown, Desk.PSS) or None,
            "open_fds": used.open_fds,
            "durations": {
                "counts": [total[bucket] for bucket in DURATION_BUCKETS],
                "sum": total[Desk.DURATION_SUM] / 1e9,
            },
            "handoffs": {
                "sent": total[Desk.HANDOFFS_SENT],
                "received": total[Desk.HANDOFFS_RECEIVED],
                "refused": total[Desk.HANDOFFS_REFUSED],
                "rebalanced": total[Desk.REBALANCED],
                "rescued": total[Desk.RESCUED],
            },
            "sticky": {
                "hits": total[Desk.STICKY_HITS],
                "moved": total[Desk.STICKY_MOVED],
                "missed": total[Desk.STICKY_MISSED],
            },
            "lingered": {
                "tls": total[Desk.LINGERED_TLS],
                "protocol": total[Desk.LINGERED_PROTOCOL],
                "stop": total[Desk.LINGERED_STOP],
            },
            "turned_away": {word.name.lower(): total[word] for word in TURNED_AWAY},
            "spawns": self._totals.spawned[number],
            "restarts": self._totals.restarts[number],
            "implausible": self._readings.doubts[number],
            "last_exit": self._chronicle.last_losses.get(number),
        }

    def _word(self, worker: Worker, word: Desk) -> int:
        return self._readings.word(worker.slot, worker.desk, word)

    def _sum(self, slot: Slot, word: Desk) -> int:
        return sum(self._word(worker, word) for worker in slot.workers)

    def _lag(self, slot: Slot) -> float:
        """Seconds."""
        return max((self._word(worker, Desk.LAG) for worker in slot.workers), default=0) / 1e9

    def _pid(self, worker: Worker | None) -> int | None:
        process = None if worker is None else self._processes.get(worker.number)
        return None if process is None else process.pid

    def _worker(self, worker: Worker) -> WorkerStatus:
        return {
            "pid": self._pid(worker),
            "generation": worker.generation,
            "state": worker.phase.value,
        }

    def _waiting(self, worker: Worker, waits: Waits) -> WaitingStatus:
        return {
            "pid": self._pid(worker),
            "requests": waits.requests,
            "oldest": printable(waits.oldest[:MOST_OLDEST]),
            "seconds": waits.seconds,
        }

    def _foster(self, slot: Slot) -> int | None:
        foster = None if slot.foster is None else self._supervisor.workers.get(slot.foster)
        return None if foster is None else foster.slot

    def _silence(self, worker: Worker) -> float | None:
        heartbeat = self._word(worker, Desk.HEARTBEAT)
        return max(0.0, (time.monotonic_ns() - heartbeat) / 1e9) if heartbeat else None

    def _queue(self, slot: Slot) -> QueueStatus:
        queues = [accept_queue(listener) for listener in self._ports.opened(slot.number)]
        return {
            "length": sum(queue.waiting for queue in queues),
            "limit": sum(queue.limit for queue in queues),
        }

    def _holders(self) -> list[HolderStatus]:
        """Who says that it holds what, as far as the kernel knows of a holder."""
        return [
            {"name": printable(name[:MOST_NAME]), "slot": process.spawn.slot, "pid": process.pid}
            for process in self._processes.values()
            for name in process.holds[:MOST_NAMES]
            if self._exclusion.is_held(name)
        ]

    def _reload(self) -> ReloadStatus | None:
        progress = self._supervisor.reloading()
        if progress is None:
            return None
        generation, done, of = progress
        return {"generation": generation, "done": done, "of": of}


def _executes(worker: Worker) -> str | None:
    """What it executes, while somebody waits to know."""
    return worker.where or None if worker.phase in (Phase.STARTING, Phase.STALLED) else None


def _state(slot: Slot, shown: Worker | None, now: float) -> str:
    serves = shown is not None and shown.phase in (Phase.READY, Phase.STALLED, Phase.STARTING)
    if slot.drained and not serves:
        return "drained" if shown is None else shown.phase.value
    if shown is not None:
        return shown.phase.value
    return "backoff" if slot.retry_at > now else "empty"


def _kernel() -> KernelStatus:
    counters = tcp_extension()
    return {
        "listen_overflows": counters.get("ListenOverflows"),
        "migrate_success": counters.get("TCPMigrateReqSuccess"),
        "migrate_failure": counters.get("TCPMigrateReqFailure"),
    }
