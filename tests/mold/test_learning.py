"""What a mold finds out for its workers, none of them has to."""

from __future__ import annotations

from typing import Any

from reuseport import packets
from reuseport.messages import TO_WORKER
from reuseport.mold import title
from reuseport.mold.learning import learn


def test_what_all_workers_would_find_out_is_known_in_the_mold() -> None:
    packets._readers.cache_clear()
    title.where.cache_clear()
    learn()
    orders: list[Any] = list(TO_WORKER.kinds.values())
    for order in orders:
        packets._readers(order)
    title.where()
    assert packets._readers.cache_info().hits == len(orders)
    assert title.where.cache_info().hits == 1
