"""Visitors by hand: each request is the bytes that are given, over TCP or a unix socket."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conftest import PATIENCE, Launch, Launched

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

Place = str | tuple[str, int]
"""A unix socket's path, or host and port."""


@dataclass(frozen=True)
class Answer:
    """One response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert list(self.json) == ["error"]
        return str(self.json["error"])


def request(
    path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """Its bytes. Whoever gives no Host is localhost."""
    lines = {"Host": "localhost", **(headers or {})}
    if body is not None:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


class Visit:
    """One connection."""

    def __init__(self, place: Place, patience: float = PATIENCE) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(place, str) else family(place[0]))
        self.socket.settimeout(patience)
        try:
            self.socket.connect(place)
        except OSError:
            self.socket.close()
            raise
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers. Raises EOFError where there are none."""
        first = self._file.readline()
        if not first:
            raise EOFError("the launcher closed the connection")
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(first.split()[1]), headers

    def answer(self, *, bodiless: bool = False) -> Answer:
        """The next response."""
        status, headers = self.head()
        if bodiless or status == 304:
            return Answer(status, headers, b"")
        if "content-length" in headers:
            return Answer(status, headers, self._file.read(int(headers["content-length"])))
        return Answer(status, headers, self._file.read())  # what uvicorn closes the connection after

    def chunk(self) -> bytes:
        """The next piece of a chunked body; nothing is its end."""
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        self._file.readline()
        return data

    def events(self) -> Iterator[tuple[str, int | None, Any]]:
        """Name, id and data of each server-sent event, to the end of the stream; a comment is a ":"."""
        while piece := self.chunk():
            fields = dict(line.split(": ", 1) for line in piece.decode().splitlines() if ": " in line)
            if "event" not in fields:
                yield ":", None, None
                continue
            number = fields.get("id")
            yield fields["event"], None if number is None else int(number), json.loads(fields["data"])

    def ended(self) -> bool:
        """Wait for the launcher's end of the connection, whatever comes before it."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@dataclass(frozen=True)
class Served:
    """A launcher with both doors open."""

    server: Launched
    control: str
    admin: tuple[str, int]

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        place: Place | None = None,
    ) -> Answer:
        """One request on a connection of its own, at the control socket unless another place is given."""
        with Visit(self.control if place is None else place) as visit:
            visit.send(request(path, method, headers, body))
            return visit.answer(bodiless=method == "HEAD")

    def post(self, path: str, content: object = None) -> Answer:
        """An action, at the control socket."""
        return self.ask(
            f"/api/v1{path}", "POST", body=None if content is None else json.dumps(content).encode()
        )

    def status(self) -> Any:
        return self.ask("/api/v1/status").json


def serve(
    launch: Launch,
    directory: Path,
    *arguments: str,
    app: str = "plain:app",
    workers: int = 2,
    ready: bool = True,
    env: dict[str, str] | None = None,
) -> Served:
    """Control socket in the directory, admin at a free port with the token."""
    control, token = directory / "control.sock", directory / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    server = launch(
        app,
        *("--workers", str(workers), "--control", str(control)),
        *("--admin", "127.0.0.1:0", "--admin-token-file", str(token), *arguments),
        env=env,
    )
    if ready:
        server.ready(workers)
    return Served(server, str(control), admin_of(server))


def admin_of(server: Launched) -> tuple[str, int]:
    """Where the admin address came to be."""
    found = re.search(
        r"admin at http://\[?([^\]\s]+?)\]?:(\d+)$", announced(server, "admin at http"), re.MULTILINE
    )
    assert found is not None
    return found[1], int(found[2])


def announced(server: Launched, words: str) -> str:
    """The line that has them, also when it has passed already."""
    if not server.count(words):
        server.wait_for(words)
    return next(line for line in server.lines if words in line)
