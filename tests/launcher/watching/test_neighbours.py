"""Listeners beside ours are seen when they come and when they go, and ours are not taken for theirs."""

from __future__ import annotations

import os
import socket

import pytest

from reuseport.launcher.ports import held
from reuseport.launcher.watching.neighbours import EVERY, Neighbours


@pytest.mark.parametrize("steered", [True, False])
def test_who_joins_and_who_leaves(steered: bool) -> None:
    with held(["127.0.0.1:0"], join=False) as ports:
        for slot in range(2):
            ports.escrow(slot)[0].listen()
        neighbours = Neighbours(ports, steered=steered)
        assert list(neighbours.look(0.0)) == []
        address = ports.endpoints()[0].sockaddr
        with socket.create_server(address[:2], reuse_port=True):
            assert list(neighbours.look(EVERY / 2)) == [], "it does not look all the time"
            (sentence,) = neighbours.look(EVERY)
            assert f"pid {os.getpid()} (" in sentence
            assert f"listens on 127.0.0.1:{address[1]}, too" in sentence
            assert ("no connection" in sentence) is steered
            assert list(neighbours.look(2 * EVERY)) == [], "once is enough"
        assert list(neighbours.look(3 * EVERY)) == [f"the other listener on 127.0.0.1:{address[1]} is gone"]
        kept = [ports.escrow(slot)[0].dup() for slot in range(2)]
        ports.release()
        assert list(neighbours.look(4 * EVERY)) == [], "a worker's last listeners are no stranger's"
        for listener in kept:
            listener.close()
