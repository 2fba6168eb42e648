"""What `send` returns when there is nothing to wait for: awaitable at no cost, and everything a coroutine is.

Applications await it, most of them; some make a task of it (asyncio.create_task wants a coroutine), or wait
for it with a timeout.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NoReturn

_exhausted: Any = iter(())


class Ready(Coroutine[Any, Any, None]):
    """A coroutine that has nothing left to do, however often it is awaited."""

    __slots__ = ()

    # Returns the same iterator each time, without a frame: what is exhausted stays so.
    __await__ = _exhausted.__iter__

    def send(self, _value: object, /) -> NoReturn:
        """It has ended."""
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, _traceback: Any = None, /) -> NoReturn:
        """What is thrown into it comes out again."""
        error = kind if isinstance(kind, BaseException) else value if value is not None else kind()
        raise error

    def close(self) -> None:
        """Nothing is open."""


READY = Ready()
