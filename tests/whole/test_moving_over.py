"""From uvicorn to us and back, at once: connections that the one has closed do not keep the other out."""

from __future__ import annotations

from tests.conftest import Launch, Launched
from tests.whole.clients import listening
from tests.whole.lines import Line, wait_until


def test_over_and_back(launch: Launch) -> None:
    port = 0
    for module in ("reuseport", "uvicorn", "reuseport", "reuseport", "uvicorn"):
        server = launch("odd:app", "--port", str(port), "--workers", "2", module=module)
        port = server.port
        wait_until(lambda: listening(server.port))  # noqa: B023 - of this turn
        leave_time_wait(server)
        server.stop()


def leave_time_wait(server: Launched) -> None:
    """Whoever closes first keeps the connection for a minute (tcp(7)); a server does that with many."""
    for _ in range(5):
        with Line(server.port) as line:
            assert line.ask("/close").body == b"bye"
            assert line.ends()
