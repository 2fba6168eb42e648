"""`plain:app` with requests that block the event loop, in either of two ways: `/sleep?ms=50` lets go of the
interpreter lock meanwhile, `/spin?ms=50` is Python that works; with `until=PATH` no longer than until that
file exists, and `PATH.begun` says that it has begun.
Both read the body first, and tell its length and checksum; `/digest` does that without blocking. With
TEST_EXECUTED each of them appends its parameter `id` to that file as soon as it is called.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from tests.apps import plain  # a worker finds it on --app-dir, mypy from the root
else:
    import plain

JSON = (b"content-type", b"application/json")
EXECUTED = (
    os.open(os.environ["TEST_EXECUTED"], os.O_WRONLY | os.O_APPEND) if "TEST_EXECUTED" in os.environ else None
)


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    """Everything else is answered as `plain` does."""
    if scope["type"] != "http" or scope["path"] not in ("/sleep", "/spin", "/digest"):
        await plain.app(scope, receive, send)
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    if EXECUTED is not None:
        os.write(EXECUTED, f"{query['id']}\n".encode())
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    end = time.monotonic() + float(query.get("ms", "0")) / 1000
    until = Path(query["until"]) if "until" in query else None
    if until is not None:
        until.with_suffix(".begun").touch()
    while time.monotonic() < end and not (until and until.exists()):
        if scope["path"] == "/sleep":
            time.sleep(max(0, min(end - time.monotonic(), 0.1 if until else 10)))  # noqa: ASYNC251
        else:
            spin(min(end - time.monotonic(), 0.1 if until else 10))
    told = json.dumps(
        {
            "slot": os.environ["REUSEPORT_SLOT"],
            "pid": os.getpid(),
            "size": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }
    ).encode()
    headers = [JSON, (b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


def spin(seconds: float) -> None:
    """Work for so long, in Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
