"""Requests that come too late to us: what has waited in the kernel for longer than --max-wait.

In the accept queue, or because the event loop did not turn: its client has perhaps given up, and who comes
behind it waits as long. It is refused before the application sees it, so a worker that cannot keep up answers
some in time, instead of all too late.
"""

from __future__ import annotations

from typing import Any

from reuseport.kernel.waiting import since_data
from reuseport.worker.protocol.count import Message, Receive, Send
from reuseport.worker.protocol.limits import Limits

LATER = b"1"
"""Seconds after which its client may try again: another worker has time by then, or nobody."""
TEXT = b"Service Unavailable"


async def too_late(_scope: Message, _receive: Receive, send: Send) -> None:
    """In the application's place. Closes, so that the next try is another worker's to accept."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(TEXT)),
        (b"retry-after", LATER),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": TEXT})


def late(transport: Any, limits: Limits) -> bool:
    """Whether what has come has waited for too long."""
    found = transport.get_extra_info("socket")
    return found is not None and since_data(found) > limits.wait > 0
