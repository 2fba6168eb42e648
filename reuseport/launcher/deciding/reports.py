"""What the supervisor reports, in words: all its sentences, each with its kind, slot and cause. Pure.

Read as one line of the log and as one record of the history: the same text in both.
"""

from __future__ import annotations

from reuseport.history import Kind, Level
from reuseport.launcher.deciding.events import Reason, Report
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.slots import Worker


def ready(worker: Worker, now: float) -> Report:
    """Its listeners accept."""
    text = (
        f"slot {worker.slot} is ready (generation {worker.generation}, "
        f"after {now - worker.spawned_at:.2f} s, reason: {worker.reason.value})"
    )
    return _of(worker, Kind.READY, text, cause=worker.reason.value)


def all_ready(workers: int) -> Report:
    """For the first time every slot is served."""
    return Report("info", Kind.ALL_READY, f"all {workers} workers are ready")


def exited(worker: Worker, how: str) -> Report:
    """It was to go, and is gone."""
    return _of(worker, Kind.EXITED, how)


def crashed(worker: Worker, how: str) -> Report:
    """It should have gone on."""
    return _of(worker, Kind.CRASHED, how, "error", Reason.CRASH.value)


def could_not_start(worker: Worker, text: str, told: str) -> Report:
    """It said why. N workers fail alike: what was told last is not told again."""
    why = ", for the same reason" if text == told else f": {text}"
    return _of(worker, Kind.COULD_NOT_START, f"worker in slot {worker.slot} could not start{why}", "error")


def answered(requests: int) -> str:
    """Why it is recycled."""
    return f"it answered {requests} requests (--limit-max-requests)"


def backs_off(slot: int, pause: float) -> Report:
    """The slot stays empty for a while."""
    text = f"slot {slot} is tried again in {pause:.1f} s"
    return Report("warning", Kind.BACKOFF, text, slot=slot)


def violated(worker: Worker, how: str) -> Report:
    """It cannot be believed any more."""
    text = f"worker in slot {worker.slot} does not keep to the protocol: {how}: SIGKILL"
    return _of(worker, Kind.VIOLATION, text, "error", Reason.VIOLATION.value)


def drains_by_itself(worker: Worker) -> Report:
    """It did not wait for a successor."""
    text = f"worker in slot {worker.slot} drains: it was sent SIGTERM twice"
    return _of(worker, Kind.EXITED, text, "warning", Reason.TERMINATED.value)


def recycled(worker: Worker, reason: Reason, detail: str) -> Report:
    """It will be replaced."""
    text = f"worker in slot {worker.slot} will be recycled: {detail}"
    return _of(worker, Kind.RECYCLE, text, cause=reason.value)


def stalled(worker: Worker, silent: float) -> Report:
    """Its event loop does not turn."""
    text = f"event loop in slot {worker.slot} has been silent for {silent:.1f} s"
    return _of(worker, Kind.STALLED, text, "warning")


def hang(worker: Worker, silent: float) -> str:
    """Why it is ended: it has been silent for too long."""
    return (
        f"event loop in slot {worker.slot} has been silent for {silent:.1f} s (--worker-timeout){_in(worker)}"
    )


def not_ready(worker: Worker, timeout: float) -> str:
    """Why it is ended: it has been starting for too long."""
    return f"worker in slot {worker.slot} was not ready within {timeout:g} s (--startup-timeout){_in(worker)}"


def still_starts(worker: Worker, now: float) -> Report:
    """Half of its time to become ready is over."""
    text = f"worker in slot {worker.slot} is not ready after {now - worker.spawned_at:.0f} s{_in(worker)}"
    return _of(worker, Kind.STARTING, text, "warning")


def turns_again(worker: Worker, silent: float) -> Report:
    """Its event loop turns."""
    text = f"event loop in slot {worker.slot} turns again, after {silent:.1f} s{_in(worker)}"
    return _of(worker, Kind.TURNING, text)


def aborted(worker: Worker, why: str, reason: Reason) -> Report:
    """It took too long, to start or to turn."""
    return _of(worker, Kind.KILLED, f"{why}: stacks follow, then it is ended", "error", reason.value)


def killed(worker: Worker, shutdown_limit: float) -> Report:
    """It was told to end and did not."""
    if worker.shuts_down and worker.phase is Phase.DRAINING:
        text = (
            f"lifespan shutdown in slot {worker.slot} was not over within {shutdown_limit:g} s "
            f"(--shutdown-timeout): SIGKILL"
        )
        return _of(worker, Kind.KILLED, text, "warning", "shutdown_timeout")
    text = f"worker in slot {worker.slot} did not end in time: SIGKILL"
    return _of(worker, Kind.KILLED, text, "warning", "graceful_timeout")


def held(worker: Worker, patience: float) -> Report:
    """It was sent SIGKILL, and is not gone."""
    text = (
        f"worker in slot {worker.slot} is not gone {patience:g} s after SIGKILL: a debugger, or the kernel,"
        " holds it; we go on without"
    )
    return _of(worker, Kind.EXITED, text, "error")


def gives_up() -> Report:
    """The first start failed."""
    return Report("error", Kind.COULD_NOT_START, "no worker became ready: giving up")


def reload_begun(generation: int, slots: int, at_once: int) -> Report:
    """A reload."""
    few = "one" if at_once == 1 else at_once
    text = f"reload: generation {generation}, {slots} slots, {few} at a time"
    return Report("info", Kind.RELOAD_BEGUN, text, generation=generation)


def reload_follows(generation: int) -> Report:
    """Asked for during another."""
    text = "a reload is running; one more follows it"
    return Report("info", Kind.RELOAD_BEGUN, text, generation=generation, cause="follows")


def reload_done(generation: int) -> Report:
    """It is complete."""
    text = f"reload: generation {generation} serves in every slot"
    return Report("info", Kind.RELOAD_DONE, text, generation=generation)


def reload_aborted(generation: int, why: str, serving: int, reloaded: int, slots: int) -> Report:
    """A successor did not become ready."""
    mixed = f"; {reloaded} of {slots} slots already run the new one" if reloaded else ""
    text = f"reload to generation {generation} aborted: {why}: generation {serving} keeps serving{mixed}"
    return Report("error", Kind.RELOAD_ABORTED, text, generation=generation, cause=why)


def scaled(before: int, after: int) -> Report:
    """More slots, or fewer."""
    return Report("info", Kind.SCALED, f"scaling from {before} to {after} workers")


def drained(slot: int) -> Report:
    """Somebody asked for it."""
    text = f"slot {slot} is taken out of service until it is restarted"
    return Report("info", Kind.DRAINED, text, slot=slot)


def restarted(slot: int) -> Report:
    """Somebody asked for it."""
    return Report("info", Kind.RESTARTED, f"slot {slot} is put into service", slot=slot)


def refused(what: str, why: str) -> Report:
    """A request that cannot be carried out now."""
    return Report("warning", Kind.REFUSED, f"{what} refused: {why}", cause=why)


def stops(delay: float) -> Report:
    """The end is decided."""
    return Report("info", Kind.STOPPING, f"stopping in {delay:g} s" if delay else "stopping")


def quits() -> Report:
    """Nobody waits any more."""
    return Report("warning", Kind.STOPPING, "stopping at once")


def _in(worker: Worker) -> str:
    """What it executed when it was last asked."""
    return f", in {worker.where}" if worker.where else ""


def _of(worker: Worker, kind: Kind, text: str, level: Level = "info", cause: str | None = None) -> Report:
    return Report(level, kind, text, worker.slot, worker.generation, cause)
