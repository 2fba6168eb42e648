"""A status in words: is it well, what is unusual, what happened last. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reuseport.client.rates import Rates
from reuseport.client.table import lines_of, rows_of
from reuseport.client.text import age, clean, record_line
from reuseport.instance import SlotStatus, Status

LATEST = 5
"""Records shown below the table."""


def is_well(status: Status) -> bool:
    """It serves, and every slot that is wanted has a worker that is ready."""
    return status["state"] in ("serving", "reloading") and status["ready"] >= status["workers"]


def headline(status: Status) -> str:
    """The verdict."""
    return f"{clean(status['application'])} {_verdict(status)}"


def _verdict(status: Status) -> str:
    ready, wanted, reload = status["ready"], status["workers"], status["reload"]
    if status["state"] == "stopping":
        return f"is stopping: {ready} of {wanted} workers still serve"
    if status["state"] == "starting":
        return f"is starting: {ready} of {wanted} workers are ready"
    if not is_well(status):
        unready = [slot for slot in status["slots"] if slot["wanted"] and slot["state"] != "ready"]
        states = ", ".join(f"slot {slot['slot']} is {_condition(slot)}" for slot in unready)
        return f"is not well: {ready} of {wanted} workers are ready; {states or 'look again'}"
    if reload is not None:
        done = f"{reload['done']} of {reload['of']} slots run it"
        return f"is well, and reloads to generation {reload['generation']}: {done}"
    every = "its worker is" if wanted == 1 else f"all {wanted} workers are"
    return f"is well: {every} ready (generation {status['generation']})"


def _condition(slot: SlotStatus) -> str:
    return {"backoff": "waiting to be tried again", "drained": "out of service"}.get(
        slot["state"], clean(slot["state"])
    )


def facts(status: Status) -> list[str]:
    """Where, who, since when, and how connections are given out."""
    balance, where = status["balance"], clean(" ".join(status["addresses"]))
    up = age(status["uptime"])
    return [
        f"{where}, launcher pid {status['pid']}, up {up}, reuseport {clean(status['version'])}",
        f"balance: {clean(balance['rule'])}, {clean(balance['reason'])}",
    ]


def notes(status: Status) -> Iterator[str]:
    """What the table does not show."""
    away = 0
    for slot in status["slots"]:
        name = f"slot {slot['slot']}"
        if not slot["wanted"] and slot["pid"] is None:
            away += 1
            continue
        yield from _beside(name, slot)
        if slot["executes"] is not None:
            yield f"{name}: it executes {clean(slot['executes'])}"
        if slot["foster"] is not None:
            yield f"{name}: slot {slot['foster']} accepts for it"
        if slot["retry_at"] is not None:
            yield f"{name}: it is tried again in {age(slot['retry_at'] - status['now'])}"
        if slot["state"] not in ("ready", "drained") and slot["last_exit"] is not None:
            yield f"{name}: {clean(slot['last_exit'])}"
    for holder in status["only_one"]:
        yield f"only one: {clean(holder['name'])} is held in slot {holder['slot']} by pid {holder['pid']}"
    if away:
        slots = "1 slot is" if away == 1 else f"{away} slots are"
        yield f"{slots} scaled away: siblings accept what still comes to the listeners"
    yield from _moved(status["slots"])


def _moved(slots: Sequence[SlotStatus]) -> Iterator[str]:
    """What went from worker to worker because one was blocked, or knew the session; by all workers so far."""
    rescued = sum(slot["handoffs"]["rescued"] for slot in slots)
    stolen = sum(slot["stolen"] for slot in slots)
    if rescued or stolen:
        yield f"blocked workers: {rescued:,} connections rescued from them, {stolen:,} accepted for them"
    counts = {kind: sum(slot["sticky"][kind] for slot in slots) for kind in ("hits", "moved", "missed")}
    if any(counts.values()):
        yield "sessions: {hits:,} requests hit, {moved:,} moved, {missed:,} missed".format(**counts)


def _beside(name: str, slot: SlotStatus) -> Iterator[str]:
    """The slot's other workers, and what those that leave wait for."""
    for other in (slot["successor"], *slot["predecessors"]):
        if other is not None:
            yield (
                f"{name}: the worker with pid {other['pid']} (generation {other['generation']}) "
                f"is {clean(other['state'])}, too"
            )
    for waiting in slot["waiting"]:
        since = "" if waiting["seconds"] is None else f", for {age(waiting['seconds'])}"
        yield (
            f"{name}: the worker with pid {waiting['pid']} waits for {waiting['requests']} requests; "
            f"the oldest{since}: {clean(waiting['oldest'])}"
        )


def last_reload(status: Status, records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """That it was aborted, until another one begins: what serves is not what its operator thinks."""
    kinds = ("reload_begun", "reload_done", "reload_aborted")
    told = [record for record in records if record["kind"] in kinds]
    if told and told[-1]["kind"] == "reload_aborted":
        ago, generation = age(status["now"] - told[-1]["time"]), status["generation"]
        yield f"the last reload was aborted {ago} ago: generation {generation} serves"


def latest(records: list[dict[str, Any]]) -> list[str]:
    """The last few that are worth a word."""
    worth = [record for record in records if record["level"] != "debug"]
    return [record_line(record) for record in worth[-LATEST:]]


def page(
    status: Status, rates: Mapping[int, Rates], records: list[dict[str, Any]], width: float
) -> list[str]:
    """All of it; the table with the columns that fit."""
    first = [headline(status), *last_reload(status, records), *facts(status)]
    lines = [*first, "", *lines_of(rows_of(status, rates), width)]
    for part in (list(notes(status)), latest(records)):
        lines += ["", *part] if part else []
    return lines
