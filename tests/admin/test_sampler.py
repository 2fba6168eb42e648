"""The samples that charts begin with."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from reuseport.admin.sampler import Sampler
from reuseport.instance import Instance


class Told:
    """As much of an instance as a sampler asks: its clock says what the test likes."""

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def sample(self) -> dict[str, Any]:
        return {"time": self.times.pop(0)}


def test_a_chart_goes_one_way_whatever_is_done_to_the_clock() -> None:
    loop = asyncio.new_event_loop()
    sampler = Sampler(loop, cast(Instance, Told([100.0, 101.0, 102.0, 50.0, 51.0])))
    while cast(Any, sampler)._instance.times:
        sampler.end()
        sampler.begin()
    assert [sample["time"] for sample in sampler.samples] == [50.0, 51.0]
    sampler.end()
    loop.close()
