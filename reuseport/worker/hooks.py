"""--on-ready and --on-exit: functions of the operator's that a worker calls, in its event loop.

Nothing depends on them: one that fails is told, and the worker goes on.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

log = logging.getLogger("uvicorn.error")


async def call(flag: str, hook: Callable[[], object] | None) -> None:
    """Call it, and await what it returns if that can be awaited."""
    if hook is None:
        return
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except Exception:
        log.exception("%s failed, and the worker goes on", flag)
