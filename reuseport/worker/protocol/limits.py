"""What a worker bears of one client: how long it waits for it, and how much it takes from it.

The defaults here bear everything; what holds in a worker stands in the table of settings.
"""

from __future__ import annotations

from typing import NamedTuple

from reuseport.settings.table import Settings


class Limits(NamedTuple):
    """Durations are seconds, sizes bytes; 0: no limit."""

    arrival: float = 0.0
    """Until the first byte of a new connection's first request."""
    head: float = 0.0
    """From the first byte of a request to the end of its headers."""
    body: float = 0.0
    """Between two parts of its body, while we read."""
    write: float = 0.0
    """In which a client that has something to read acknowledges nothing."""
    head_size: int = 0
    fields: int = 0
    """Header fields of a request."""
    body_size: int = 0
    wait: float = 0.0
    """In which a request may have waited for us, in the kernel."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those that the operator wants."""
        return cls(
            arrival=settings.arrival_timeout,
            head=settings.head_timeout,
            body=settings.body_timeout,
            write=settings.write_timeout,
            head_size=settings.limit_request_head,
            fields=settings.limit_request_fields,
            body_size=settings.limit_request_body,
            wait=settings.max_wait,
        )


BEAR_ALL = Limits()
