"""Who serves at the doors could not be loaded: for lack of descriptors, that is not for ever."""

from __future__ import annotations

import resource
import socket

from tests.admin.asking import Control
from tests.conftest import Launch


def test_a_first_visitor_who_came_at_a_bad_moment_does_not_close_the_doors(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--admin", "127.0.0.1:0").ready(1)
    control = Control(server)
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(control.path))
        server.wait_for("control and admin cannot be served")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    assert control.status()["ready"] == 1
    assert server.stop() == 0
