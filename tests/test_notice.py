"""The notice that a worker drains reaches whoever waits for it, wherever that is."""

from __future__ import annotations

import asyncio
import threading

from reuseport import Draining

PATIENCE = 30.0


def test_who_waits_is_woken_and_who_comes_later_does_not_wait() -> None:
    async def go() -> None:
        draining = Draining()
        assert not draining.is_set()
        waiting = [asyncio.create_task(draining.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        draining.set()
        assert draining.is_set()
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        await asyncio.wait_for(draining.wait(), PATIENCE)

        async def plainly() -> None:
            await draining

        await asyncio.wait_for(plainly(), PATIENCE)

    asyncio.run(go())


def test_who_gives_up_waiting_is_forgotten() -> None:
    async def go() -> None:
        draining = Draining()
        waiting = asyncio.create_task(draining.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        draining.set()
        await asyncio.sleep(0)

    asyncio.run(go())


def test_event_loops_of_other_threads_are_woken() -> None:
    draining, begun = Draining(), threading.Event()

    async def other() -> None:
        asyncio.get_running_loop().call_soon(begun.set)
        await asyncio.wait_for(draining.wait(), PATIENCE)

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()
    assert begun.wait(PATIENCE)
    draining.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_loop_that_was_closed_while_somebody_waited_there_is_passed_over() -> None:
    draining = Draining()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(draining.wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    draining.set()
    assert draining.is_set()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    del waiting
