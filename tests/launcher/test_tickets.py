"""The keys of TLS session tickets change with time, and the one before is told as well."""

from __future__ import annotations

import asyncio

from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.tickets import SIZE, TicketKeys


def test_each_period_has_a_key_and_the_last_one_s() -> None:
    bare = asyncio.new_event_loop()
    failures: list[Exception] = []
    told: list[tuple[str, ...]] = []

    def tell(keys: tuple[str, ...]) -> None:
        told.append(keys)
        if len(told) == 2:
            raise ValueError("a worker that cannot be told")
        if len(told) == 4:
            bare.stop()

    keys = TicketKeys(GuardedLoop(bare, failures.append), 0.001, tell)
    first = keys.keys
    bare.run_forever()
    bare.close()
    assert [len(each) for each in (first, *told)] == [1, 2, 2, 2, 2]
    for before, after in zip((first, *told), told, strict=False):
        assert after[1] == before[0]
    assert len({each[0] for each in (first, *told)}) == 5
    assert {len(bytes.fromhex(key)) for key in keys.keys} == {SIZE}
    assert len(failures) == 1
