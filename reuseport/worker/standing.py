"""Where the event loop's thread stands, asked by another one: whether it is in the middle of a task's step.

A step is the one state in which another thread may do what only the loop's own may. While a task's coroutine
executes, the loop neither polls nor reads a connection: both happen between its callbacks. And the one who
asks has the interpreter lock, so nothing else of the loop runs either: whatever is done now that the step
itself could do is done as if by the step (asyncio's and uvloop's transports are made for that thread alone,
but they look at no thread).

A step, and not any callback. Python code right above the loop may also be a finalizer or a signal handler
that begins while uvloop holds bytes it has just read and not handed on, a protocol's `data_received`, or an
asyncio transport's read. Only a task is provably none of them: it is the loop's current one, and the frame
right above the loop's is that of its coroutine. What that leaves out: blocking in a plain callback
(`call_soon`), in an eager task's first step, inside a greenlet.

`cr_running` of that coroutine stays true until the step is over. It is an attribute and no call, so a look at
it right before a call of a C function leaves no room between the two in which the lock could change hands:
the interpreter gives it up after calls, where functions begin and at jumps backwards (Python/ceval.c).
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.events
import sys
from types import CodeType, CoroutineType, FrameType
from typing import Any, TypeAlias

from reuseport.worker.polling import on_uvloop

Step: TypeAlias = "CoroutineType[Any, Any, Any]"  # no generic at run time before 3.13
"""`cr_running` while it lasts."""

_RUNNER = asyncio.Runner.run.__code__
_TURN = asyncio.base_events.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]
_CALLBACK = asyncio.events.Handle._run.__code__

_SERVERS = ("uvicorn.", "reuseport.worker.", "asyncio.")
"""Modules whose functions change what a connection is; a moment later they are done."""


def step(loop: asyncio.AbstractEventLoop, thread: int) -> Step | None:
    """The step in which the loop's thread stands, unless the code that runs is the server's own, or None.

    Asked by another thread; `thread` is the loop's (threading.get_ident).
    """
    task = asyncio.current_task(loop)
    if task is None:
        return None
    coroutine = task.get_coro()
    if not isinstance(coroutine, CoroutineType):
        return None
    frame = top = sys._current_frames().get(thread)
    base = coroutine.cr_frame
    while frame is not None and frame is not base:
        if frame.f_code is _TURN:
            return None  # turned by hand within the step
        frame = frame.f_back
    if top is None or frame is None or not coroutine.cr_running or not _calls(loop, frame.f_back):
        return None
    return None if top.f_globals.get("__name__", "").startswith(_SERVERS) else coroutine


def _calls(loop: asyncio.AbstractEventLoop, frame: FrameType | None) -> bool:
    """Whether this is the frame from which the loop calls what it has to call, and it polls in no other."""
    if frame is None:
        return False
    if on_uvloop(loop):
        return frame.f_code is _RUNNER  # what is between is no Python, and turns in no callback
    # Patched to turn inside of callbacks (nest_asyncio), a step may poll.
    turn: CodeType | None = getattr(getattr(type(loop), "_run_once", None), "__code__", None)
    return (
        turn is _TURN
        and frame.f_code is _CALLBACK
        and frame.f_back is not None
        and frame.f_back.f_code is _TURN
    )


def can_tell(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `step` means something here: one of the two loops it knows, and an interpreter lock."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    return on_uvloop(loop) or isinstance(loop, asyncio.SelectorEventLoop)


def watched_over() -> bool:
    """Whether somebody traces this thread: runs code of theirs between any two instructions of ours."""
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)  # from 3.12 on, for all threads at once
    if monitoring is None:
        return False
    return any(monitoring.get_tool(tool) and monitoring.get_events(tool) for tool in range(6))
