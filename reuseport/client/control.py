"""One running launcher, through its control socket: HTTP by the standard library, no wait without an end.

Who listens there need not be a launcher, nor mean well: another user may have put a socket where one was
looked for. So every answer has a time and a size, and where a process is meant the kernel tells who it is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import pwd
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from reuseport.client import sse
from reuseport.client.text import cleaned
from reuseport.errors import AbsentError, ConfigurationError, UndoneError
from reuseport.instance import Status

PATIENCE = 10.0
"""Seconds that the launcher may be silent: its stream has something to say every second."""
WHOLE = 6 * PATIENCE
"""Seconds that it may take for one answer, however it drips."""
MOST = 64 << 20
"""Bytes of one answer; a thousand records and their texts are fewer."""

_USAGE = frozenset({400, 404, 413})
"""Answers to a request that was wrong in itself: no such slot, no such number."""


class GoneError(AbsentError):
    """Nobody listens there: the socket was left behind, or never was."""


class DeniedError(AbsentError):
    """The socket is another user's."""


class SilentError(AbsentError):
    """Who listens there does not answer, or not as a launcher does."""


class _Timed(socket.socket):
    """Its other end has `patience` seconds for each part, and for all of them until `ends`."""

    patience: float
    ends: float

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise http.client.HTTPException  # it is no end
        self.settimeout(min(self.patience, left))
        return super().recv_into(*arguments, **named)


class _Connection(http.client.HTTPConnection):
    """To a socket in the file system."""

    sock: _Timed

    def __init__(self, control: Control, ends: float) -> None:
        super().__init__("localhost")
        self._control = control
        self._ends = ends

    def connect(self) -> None:
        self.sock = sock = _Timed(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.patience, sock.ends = self._control.patience, self._ends
        sock.settimeout(sock.patience)
        sock.connect(str(self._control.path))
        if self._control.of not in (None, _listener(sock)):
            raise ConnectionRefusedError  # to who is meant: somebody else listens there


def _listener(sock: socket.socket) -> int:
    """The process that listens at the other end, in our pid namespace; 0: it is not in there."""
    answer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))  # unix(7)
    return int(struct.unpack("3i", answer)[0])


class Control:
    """Every method opens a connection of its own, and raises AbsentError when there is no answer."""

    def __init__(self, path: Path, patience: float = PATIENCE, of: int | None = None) -> None:
        """`of` is the pid of who is meant, if that is known: whoever else listens there is nobody."""
        self.path = path
        self.patience = patience
        self.of = of

    def within(self, patience: float) -> Control:
        """The same, with so many seconds at most."""
        return Control(self.path, min(self.patience, patience), self.of)

    def status(self) -> Status:
        """Everything now."""
        return cast("Status", self._ask("GET", "/api/v1/status"))

    def events(self, after: int = 0, limit: int = 1024) -> dict[str, Any]:
        """The records that are newer than `after`, oldest first, and the number of the last one."""
        return self._ask("GET", f"/api/v1/events?after={after}&limit={limit}")

    def newest(self, number: int) -> dict[str, Any]:
        """The last so many records."""
        return self.events(max(0, self.last() - number))

    def last(self) -> int:
        """The number of the newest record; 0 before the first."""
        return int(self.events(limit=1)["last"])

    def may_act(self) -> bool:
        """Whether requests through this socket are carried out: the admin address may be a socket, too."""
        return bool(self._ask("GET", "/api/v1/session").get("actions"))

    def act(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask for a change. Raises UndoneError with the launcher's reason."""
        return self._ask("POST", f"/api/v1/{path}", body)

    @contextlib.contextmanager
    def stream(self, after: int | None, ends: float = math.inf) -> Iterator[Iterator[sse.Event]]:
        """What happens from now on, and what has since the record with number `after`.

        From `ends` on (monotonic) nothing is waited for.
        """
        query = "" if after is None else f"?after={after}"
        connection = _Connection(self, ends)
        try:
            with self._explained():
                connection.request("GET", f"/api/v1/stream{query}", headers={"Accept": "text/event-stream"})
                response = connection.getresponse()
            # It has the socket, too, until it is read to its end.
            with response:
                if response.status != 200:
                    with self._explained():
                        text = self._all_of(response)
                    self._refuse(response.status, text)
                # What goes wrong between the events is the caller's: only the reading is explained.
                yield self._events(response)
        finally:
            connection.close()

    def _events(self, response: http.client.HTTPResponse) -> Iterator[sse.Event]:
        with self._explained():
            yield from sse.events(iter(lambda: response.read1(65536), b""))

    def pid(self) -> int:
        """Of whoever listens there, in our pid namespace; 0: it is not in there."""
        with self._talking() as connection:
            connection.connect()
            return _listener(connection.sock)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Connection": "close"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        with self._talking() as connection:
            # The answer may be there, and the connection closed, before all of the request is sent.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, data, headers)
            with connection.getresponse() as response:
                text = self._all_of(response)
        if not 200 <= response.status < 300:
            self._refuse(response.status, text)
        return self._object(text)

    def _all_of(self, response: http.client.HTTPResponse) -> bytes:
        text = response.read(MOST)
        if response.read(1):
            raise SilentError(f"who listens at {self.path} does not come to an end")
        return text

    def _object(self, text: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise SilentError(f"who listens at {self.path} does not answer as reuseport does")
        return answer

    def _refuse(self, status: int, text: bytes) -> None:
        why = cleaned(self._object(text).get("error") or f"refused with status {status}")
        raise ConfigurationError(why) if status in _USAGE else UndoneError(why)

    @contextlib.contextmanager
    def _talking(self) -> Iterator[_Connection]:
        connection = _Connection(self, time.monotonic() + WHOLE)
        try:
            with self._explained():
                yield connection
        finally:
            connection.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What can go wrong with the connection, in words."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise GoneError(f"nobody listens at {self.path}: is reuseport running?") from error
        except PermissionError as error:
            raise DeniedError(f"{self.path} is for {_owner(self.path)} only: act as that user") from error
        except TimeoutError as error:
            raise SilentError(f"who listens at {self.path} says nothing for {self.patience:g} s") from error
        except (http.client.HTTPException, ValueError) as error:
            raise SilentError(f"who listens at {self.path} does not speak HTTP, or not to its end") from error
        except OSError as error:
            raise SilentError(f"{self.path}: {error.strerror or error}") from error


def _owner(path: Path) -> str:
    """Who may open it, as far as that can be seen."""
    for place in (path, *path.parents):
        try:
            uid = place.stat().st_uid
        except PermissionError:
            continue  # the directory above says who keeps us out
        except OSError:
            break
        if uid != os.geteuid():
            return user_name(uid)
    return "another user"


def user_name(uid: int) -> str:
    """As in passwd(5); a number that has no name there."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"
