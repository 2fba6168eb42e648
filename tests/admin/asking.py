"""A client of the control socket and of the admin address, by hand: what tests ask a running server."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import PATIENCE, Launched


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


class Control:
    """The control socket of a launched server."""

    def __init__(self, server: Launched) -> None:
        self.path = Path(server.wait_for_first(r"launcher: control at unix:(\S+)")[1])

    @classmethod
    def at(cls, path: Path) -> Control:
        """The one at this path, whoever serves there."""
        control = cls.__new__(cls)
        control.path = path
        return control

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        connection = UnixConnection(self.path)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def get(self, path: str) -> bytes:
        """The body of an answer that must be 200."""
        status, body = self.ask("GET", path)
        assert status == 200, (status, body)
        return body

    def post(self, path: str, body: Any = None) -> Any:
        """What an action that must be accepted answers."""
        status, answer = self.ask("POST", path, body)
        assert status in (200, 202), (status, answer)
        return json.loads(answer)

    def status(self) -> dict[str, Any]:
        """The Status."""
        status: dict[str, Any] = json.loads(self.get("/api/v1/status"))
        return status

    def slot(self, number: int) -> dict[str, Any]:
        """One slot of it."""
        slot: dict[str, Any] = next(each for each in self.status()["slots"] if each["slot"] == number)
        return slot

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Records."""
        events: list[dict[str, Any]] = json.loads(self.get(f"/api/v1/events?after={after}"))["events"]
        return events


def admin_port(server: Launched) -> int:
    """The port of --admin HOST:0."""
    return int(re.search(r":(\d+)$", server.wait_for_first(r"launcher: admin at (http://\S+)")[1])[1])  # type: ignore[index]
