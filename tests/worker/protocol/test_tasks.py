"""Tasks of requests are made as the event loop makes them, whoever has changed how."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop

from reuseport.worker.protocol.tasks import Make, Maker

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def seen() -> tuple[asyncio.Task[Any] | None, str]:
    """The task that this runs in, and what it finds in its context."""
    return asyncio.current_task(), VARIABLE.get()


async def asked(make: Make) -> str:
    """A task's own word of its context, having checked that it is a task of this loop."""
    made: Any = make(seen())
    assert made in asyncio.all_tasks()
    current, found = cast("tuple[Any, str]", await made)
    assert current is made
    assert made.get_loop() is asyncio.get_running_loop()
    return found


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_task_is_the_loops_and_has_the_context_that_is_wanted(loop: str, fresh: bool) -> None:
    async def main() -> str:
        VARIABLE.set("set")
        return await asked(Maker(asyncio.get_running_loop(), in_fresh_contexts=fresh).now())

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(main()) == ("unset" if fresh else "set")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_factory_is_asked_from_when_there_is_one(loop: str) -> None:
    made: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, run: Any, **more: Any) -> Any:
        made.append(run)
        return asyncio.Task(run, loop=loop, **more)

    async def main() -> None:
        running = asyncio.get_running_loop()
        maker = Maker(running, in_fresh_contexts=False)
        await asked(maker.now())
        running.set_task_factory(factory)
        await asked(maker.now())
        assert len(made) == 1
        running.set_task_factory(None)
        await asked(maker.now())
        assert len(made) == 1

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])
def test_a_loop_of_another_kind_is_asked(kind: type[asyncio.AbstractEventLoop]) -> None:
    made: list[Any] = []

    class Own(kind):  # type: ignore[misc, valid-type]
        def create_task(self, run: Any, **more: Any) -> Any:
            made.append(run)
            return super().create_task(run, **more)

    async def main() -> None:
        maker = Maker(asyncio.get_running_loop(), in_fresh_contexts=False)
        before = len(made)
        await asked(maker.now())
        assert len(made) == before + 1

    with asyncio.Runner(loop_factory=Own) as runner:
        runner.run(main())
