"""A request that asks for another protocol, and gets an answer in this one, as it may (RFC 9110, 7.8).

httptools takes such a request's head for its end, and what comes next for another protocol, or for the next
request: the body of a POST that would like to speak HTTP/2, as Java's client says with every first one, would
be lost, or worse, be read as a request that a proxy before us has never seen. So another parser goes on,
which is told how the body ends and nothing of an upgrade.
"""

from __future__ import annotations

from typing import Any

import httptools

FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Behind:
    """Where that parser tells what it reads: all but the head that we have made, which the connection has."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._begun = False
        self.on_url = self._passing("on_url")
        self.on_header = self._passing("on_header")
        self.on_headers_complete = self._passing("on_headers_complete")
        self.on_message_begin = self._passing("on_message_begin")
        self.on_body = connection.on_body

    def _passing(self, name: str) -> Any:
        told = getattr(self._connection, name)

        def passing(*arguments: bytes) -> None:
            if self._begun:
                told(*arguments)

        return passing

    def on_message_complete(self) -> None:
        """Of the first one, too."""
        self._begun = True
        self._connection.on_message_complete()


def decline(connection: Any, data: bytes, upgrade: httptools.HttpParserUpgrade) -> bool:
    """Read on where a request has asked for another protocol within `data`, and where others do behind it.

    Whether this is still a connection of ours: WebSockets have their own, and what is no request has none.
    """
    at: int | None = upgrade.args[0]
    while at is not None:
        if connection._should_upgrade():
            connection.handle_websocket_upgrade()
            return False
        connection._unsupported_upgrade_warning()
        data, at = data[at:], None
        try:
            _read_on(connection, data)
        except httptools.HttpParserUpgrade as another:
            at = another.args[0]
        except httptools.HttpParserError:
            connection.refuse_what_is_none()
            return False
    return True


def _read_on(connection: Any, rest: bytes) -> None:
    """What has come behind the head of a request whose upgrade is not to be. Raises as httptools' parsers."""
    framing = [field for field in connection.headers if field[0] in FRAMING]
    if not framing:
        connection.parser.feed_data(rest)
        return
    connection.cycle.more_body = True
    connection.parser = parser = httptools.HttpRequestParser(Behind(connection))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    head = b"".join(b"%s: %s\r\n" % field for field in framing)
    parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)
    parser.feed_data(rest)
