"""What the end of each request looks like, in records and in the status. Pure."""

from __future__ import annotations

from typing import Any

from reuseport.client.text import clean, cleaned
from reuseport.errors import UndoneError
from reuseport.instance import SlotStatus, Status


class Reload:
    """Done when the records say so; the status only for what records were missed."""

    def __init__(self, generation: int, before: Status) -> None:
        self.what = f"the reload to generation {generation}"
        self.reason: dict[str, Any] | None = None
        """The record of the worker that could not start."""
        self._generation = generation
        self._begun = False
        self._ready: set[int] = set()
        self._of = sum(slot["wanted"] and slot["state"] != "drained" for slot in before["slots"])

    def reached(self) -> tuple[int, int]:
        return len(self._ready), max(self._of, len(self._ready))

    def concerns(self, record: dict[str, Any]) -> bool:
        if record["kind"] == "could_not_start":
            self.reason = record
            return False
        ours = record["generation"] == self._generation
        return ours and record["kind"] in {"reload_begun", "ready", "reload_done", "reload_aborted"}

    def on_record(self, record: dict[str, Any]) -> str | None:
        match record["kind"]:
            case "ready":
                self._ready.add(record["slot"])
            case "reload_done":
                return f"generation {self._generation} serves in every slot"
            case "reload_aborted":
                raise UndoneError(clean(record["text"]))
        return None

    def on_status(self, status: Status) -> str | None:
        reload = status["reload"]
        if status["state"] == "stopping":
            raise UndoneError(f"{self.what}: the server stops")
        if reload is not None and reload["generation"] == self._generation:
            self._of = reload["of"]
            self._begun = True
        elif status["generation"] >= self._generation:
            return f"generation {self._generation} serves in every slot"
        elif self._begun:
            raise UndoneError(f"{self.what} was aborted; see reuseport status --events")
        return None


class Scale:
    """Done when so many serve and the others are gone; slots that are out of service stay so."""

    def __init__(self, workers: int, before: Status) -> None:
        self.what = f"scaling to {workers} {'worker' if workers == 1 else 'workers'}"
        self._workers = workers
        self._begun = False
        ready = {slot["slot"] for slot in before["slots"] if slot["state"] == "ready"}
        self._pending = set(range(workers)) - ready
        self._left = abs(workers - before["workers"])
        self._of = self._left

    def reached(self) -> tuple[int, int]:
        return self._of - self._left, self._of

    def concerns(self, record: dict[str, Any]) -> bool:
        return record["kind"] in {"ready", "exited", "scaled"} or _failed(record)

    def on_record(self, record: dict[str, Any]) -> str | None:
        if _failed(record) and record["slot"] in self._pending:
            raise UndoneError(_but(self.what, record))
        return None

    def on_status(self, status: Status) -> str | None:
        if status["state"] == "stopping":
            raise UndoneError(f"{self.what}: the server stops")
        if status["workers"] != self._workers and not self._begun:
            return None
        if status["workers"] != self._workers:
            raise UndoneError(f"{self.what}: meanwhile somebody else scaled to {status['workers']}")
        self._begun = True
        wanted = {slot["slot"] for slot in status["slots"] if slot["state"] in ("ready", "drained")}
        self._pending = set(range(self._workers)) - wanted
        leaving = [slot for slot in status["slots"] if not slot["wanted"] and not _empty(slot)]
        self._left = min(self._of, len(self._pending) + len(leaving))
        return None if self._pending or leaving else f"{_workers(self._workers)} in service"


class Drain:
    """Done when the slot has no worker any more."""

    def __init__(self, slot: int) -> None:
        self.what = f"draining slot {slot}"
        self._slot = slot
        self._done = 0

    def reached(self) -> tuple[int, int]:
        return self._done, 1

    def concerns(self, record: dict[str, Any]) -> bool:
        return bool(record["slot"] == self._slot)

    def on_record(self, record: dict[str, Any]) -> str | None:
        if record["kind"] == "restarted":
            raise UndoneError(f"{self.what}: meanwhile somebody put it into service again")
        return None

    def on_status(self, status: Status) -> str | None:
        if status["state"] == "stopping":
            raise UndoneError(f"{self.what}: the server stops")
        for slot in status["slots"]:
            if slot["slot"] == self._slot and not (slot["state"] == "drained" and _empty(slot)):
                return None
        self._done = 1
        return f"slot {self._slot} is out of service until it is restarted"


class Restart:
    """Done when a worker that was not there before is ready in the slot."""

    def __init__(self, slot: int, before: Status) -> None:
        self.what = f"restarting slot {slot}"
        self._slot = slot
        self._before = next((each["pid"] for each in before["slots"] if each["slot"] == slot), None)
        self._done = 0

    def reached(self) -> tuple[int, int]:
        return self._done, 1

    def concerns(self, record: dict[str, Any]) -> bool:
        return bool(record["slot"] == self._slot)

    def on_record(self, record: dict[str, Any]) -> str | None:
        if _failed(record):
            raise UndoneError(_but(self.what, record))
        return None

    def on_status(self, status: Status) -> str | None:
        if status["state"] == "stopping":
            raise UndoneError(f"{self.what}: the server stops")
        for slot in status["slots"]:
            ready = slot["state"] == "ready" and slot["successor"] is None
            if slot["slot"] == self._slot and ready and slot["pid"] != self._before:
                self._done = 1
                return f"slot {self._slot} is ready, with the new worker {slot['pid']}"
        return None


def _empty(slot: SlotStatus) -> bool:
    return slot["pid"] is None and slot["successor"] is None and not slot["predecessors"]


def _workers(number: int) -> str:
    return "1 worker is" if number == 1 else f"{number} workers are"


def _failed(record: dict[str, Any]) -> bool:
    """A worker that was to become ready did not."""
    match record["kind"]:
        case "could_not_start" | "crashed":
            return True
        case "killed":
            # One that drained for too long is no loss.
            return record["cause"] not in ("graceful_timeout", "shutdown_timeout")
    return False


def _but(what: str, record: dict[str, Any]) -> str:
    return f"{what}: the launcher goes on trying, but {cleaned(record['text'])}"
