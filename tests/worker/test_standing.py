"""Where a loop's thread stands, seen by another thread: in a task's step, or not provably so."""

from __future__ import annotations

import asyncio
import dis
import gc
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import uvloop

from reuseport.worker import rescue
from reuseport.worker.standing import Step, can_tell, step, watched_over

PATIENCE = 30.0

both_loops = pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
Factory = Callable[[], asyncio.AbstractEventLoop]


class Watcher:
    """Asks once, in a thread of its own, while whoever calls `meanwhile` stands there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.found: list[Step | None] = []

    def meanwhile(self) -> None:
        """The caller lets go of the interpreter lock until somebody has looked."""
        asking = threading.Thread(target=lambda: self.found.append(step(self.loop, self.thread)))
        asking.start()
        asking.join(PATIENCE)


def run(factory: Factory, main: Callable[[Watcher], Any]) -> list[Step | None]:
    """As a worker runs its loop; what the watcher found."""

    async def watched() -> Watcher:
        watcher = Watcher(asyncio.get_running_loop())
        await main(watcher)
        return watcher

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(watched()).found


@both_loops
def test_a_task_that_blocks_is_in_a_step_and_afterwards_is_not(factory: Factory) -> None:
    async def main(watcher: Watcher) -> None:
        async def deeper() -> None:
            watcher.meanwhile()
            assert watcher.found[0] is not None
            assert watcher.found[0].cr_running

        await asyncio.create_task(deeper())
        assert watcher.found[0] is not None
        assert not watcher.found[0].cr_running

    assert len(run(factory, main)) == 1


@both_loops
def test_a_loop_that_polls_is_in_no_step(factory: Factory) -> None:
    async def main(watcher: Watcher) -> None:
        def look() -> None:
            # The step that began this thread may not be over yet.
            deadline = time.monotonic() + PATIENCE
            while step(watcher.loop, watcher.thread) is not None:
                assert time.monotonic() < deadline
                time.sleep(0)
            watcher.found += [step(watcher.loop, watcher.thread) for _ in range(100)]

        await asyncio.to_thread(look)

    assert run(factory, main) == [None] * 100


@both_loops
def test_a_plain_callback_is_no_step(factory: Factory) -> None:
    async def main(watcher: Watcher) -> None:
        watcher.loop.call_soon(watcher.meanwhile)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert run(factory, main) == [None]


@both_loops
def test_a_protocol_that_is_handed_bytes_is_in_no_step(factory: Factory) -> None:
    async def main(watcher: Watcher) -> None:
        class Blocking(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                watcher.meanwhile()

        server = await watcher.loop.create_server(Blocking, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET")
        async with asyncio.timeout(PATIENCE):
            while not watcher.found:  # noqa: ASYNC110 - it stands still meanwhile
                await asyncio.sleep(0.001)
        writer.close()
        server.close()

    assert run(factory, main) == [None]


@both_loops
def test_a_finalizer_is_a_step_only_within_one(factory: Factory) -> None:
    class Trash:
        def __init__(self, watcher: Watcher) -> None:
            self.watcher, self.itself = watcher, self

        def __del__(self) -> None:
            self.watcher.meanwhile()

    async def main(watcher: Watcher) -> None:
        Trash(watcher)
        gc.collect()
        assert watcher.found.pop() is not None
        Trash(watcher)
        watcher.loop.call_soon(gc.collect)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    gc.collect()
    assert run(factory, main) == [None]


@both_loops
def test_a_coroutine_that_is_closed_within_a_callback_is_no_step(factory: Factory) -> None:
    async def main(watcher: Watcher) -> None:
        async def interrupted() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                watcher.meanwhile()

        coroutine = interrupted()
        coroutine.send(None)
        watcher.loop.call_soon(coroutine.close)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert run(factory, main) == [None]


@both_loops
def test_a_task_that_blocks_in_a_greenlet_is_not_seen(factory: Factory) -> None:
    """As SQLAlchemy's engine for asyncio runs what is not asynchronous: on a stack of its own."""

    # A dependency of playwright, without types.
    greenlet = import_module("greenlet").greenlet

    async def main(watcher: Watcher) -> None:
        greenlet(watcher.meanwhile).switch()
        watcher.meanwhile()
        within, after = watcher.found
        assert within is None
        assert after is not None

    assert len(run(factory, main)) == 2


@both_loops
@pytest.mark.parametrize("name", ["uvicorn.some", "reuseport.worker.some", "asyncio.some", "reuseport.demo"])
def test_code_of_the_server_is_waited_for(factory: Factory, name: str) -> None:
    # Python that works, in a module of that name: the frame on top is its own.
    source = "def stand(found):\n    while not found:\n        pass\n"
    module = ModuleType(name)
    exec(source, module.__dict__)  # noqa: S102 - three lines of ours

    async def main(watcher: Watcher) -> None:
        standing = threading.Event()

        def look() -> None:
            frames = sys._current_frames
            while frames()[watcher.thread].f_globals["__name__"] != name:
                standing.wait(0.001)
            watcher.found.append(step(watcher.loop, watcher.thread))

        asking = threading.Thread(target=look)
        asking.start()
        module.stand(watcher.found)
        asking.join(PATIENCE)

    [found] = run(factory, main)
    assert (found is None) == (name != "reuseport.demo")


def test_a_loop_patched_to_turn_within_callbacks_is_not_trusted() -> None:
    class Nested(asyncio.SelectorEventLoop):
        def _run_once(self) -> None:
            super()._run_once()  # type: ignore[misc] # what nest_asyncio and its like replace

    async def main(watcher: Watcher) -> None:
        watcher.meanwhile()

    assert run(Nested, main) == [None]


def test_a_loop_that_is_turned_by_hand_within_a_step_is_noticed() -> None:
    """What a callback does that is called from there, a read for one, is not over when the step goes on."""

    async def main(watcher: Watcher) -> None:
        watcher.loop.call_soon(watcher.meanwhile)
        watcher.loop._run_once()  # type: ignore[attr-defined] # as some who wait for a future in a callback do
        watcher.meanwhile()
        within, after = watcher.found
        assert within is None
        assert after is not None

    assert len(run(asyncio.new_event_loop, main)) == 2


def test_loops_that_are_known() -> None:
    class Ours(uvloop.Loop):
        pass

    for factory in (uvloop.new_event_loop, asyncio.new_event_loop, Ours):
        loop = factory()
        assert can_tell(loop)
        loop.close()
    assert not can_tell(object())  # type: ignore[arg-type] # of some other make


def test_a_trace_function_of_this_thread_is_noticed() -> None:
    assert not watched_over() or sys.gettrace() is not None, "coverage traces the tests"
    before = sys.getprofile()
    sys.setprofile(lambda *_: None)
    try:
        assert watched_over()
    finally:
        sys.setprofile(before)


def test_between_the_look_and_the_pause_the_interpreter_does_not_let_go() -> None:
    """It gives the lock up after calls, where functions begin and at jumps backwards: none is there."""
    instructions = list(dis.get_instructions(rescue.Rescue._rescue))
    names = [one.opname for one in instructions]
    look = next(at for at, one in enumerate(instructions) if one.argval == "cr_running")
    call = next(at for at in range(look + 1, len(names)) if names[at].startswith("CALL"))
    assert any(one.argval == "pause" for one in instructions[look:call])
    between = set(names[look + 1 : call])
    harmless = ("LOAD_FAST", "PUSH_NULL", "PRECALL", "POP_JUMP", "TO_BOOL", "NOT_TAKEN", "CACHE", "NOP")
    assert not {name for name in between if not name.startswith(harmless)}
