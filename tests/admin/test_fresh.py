"""Views are never older than the question, and do not take the loop from others."""

from __future__ import annotations

import asyncio
import time

import pytest

from reuseport.admin.fresh import REST, Fresh

COST = 0.02


def test_a_view_is_made_after_it_was_asked_for() -> None:
    async def ask() -> None:
        changed = 0

        def make() -> int:
            time.sleep(COST)  # the view's own work, which takes the loop
            return changed

        fresh = Fresh(make)
        for changed in range(1, 5):
            assert await fresh.get() == changed

    asyncio.run(ask())


def test_all_who_wait_share_one_and_the_loop_rests_between_two() -> None:
    async def ask() -> tuple[list[float], float]:
        made: list[float] = []

        def make() -> int:
            made.append(time.monotonic())
            time.sleep(COST)
            return len(made)

        fresh = Fresh(make)
        begun = time.monotonic()
        first = await asyncio.gather(*(fresh.get() for _ in range(100)))
        second = await asyncio.gather(*(fresh.get() for _ in range(100)))
        assert (set(first), set(second)) == ({1}, {2})
        return made, begun

    made, _ = asyncio.run(ask())
    assert made[1] - made[0] >= REST * COST


def test_one_who_leaves_does_not_take_it_from_the_others() -> None:
    async def ask() -> None:
        fresh = Fresh(lambda: "view")
        leaving, staying = asyncio.create_task(fresh.get()), asyncio.create_task(fresh.get())
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == "view"

    asyncio.run(ask())


def test_an_error_is_everybodys_and_not_the_last_word() -> None:
    async def ask() -> None:
        answers = iter([1, 0])
        fresh = Fresh(lambda: 1 // (1 - next(answers)))
        for error in await asyncio.gather(fresh.get(), fresh.get(), return_exceptions=True):
            assert isinstance(error, ZeroDivisionError)
        assert await fresh.get() == 1

    asyncio.run(ask())


@pytest.mark.parametrize("asked", [1, 50])
def test_it_is_made_once_for_each_round_of_questions(asked: int) -> None:
    async def ask() -> int:
        count = 0

        def make() -> None:
            nonlocal count
            count += 1

        fresh = Fresh(make)
        await asyncio.gather(*(fresh.get() for _ in range(asked)))
        return count

    assert asyncio.run(ask()) == 1
