"""The built-in application: a page that costs nothing and one that blocks its worker.

`GET /` answers `Hello World!`; `GET /api/{n}` answers `Final count is N`, N = 0 + 1 + … + n, and 422 for an n
that is not a non-negative integer up to 5,000,000,000. Every response says who gave it, in the headers
`x-reuseport-slot`, `x-reuseport-generation` (`-` outside of reuseport) and `x-reuseport-pid`.
"""

import os
import re
from functools import lru_cache

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_N = 5_000_000_000

# Ten digits hold LARGEST_N. A longer number is refused unread: int() raises beyond 4,300 digits.
_INTEGER = re.compile(r"0*([0-9]{1,10})")


async def hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello World!")


async def final_count(request: Request) -> PlainTextResponse:
    """Adds the numbers up to n one by one, on the event loop.

    The closed formula, or a thread, would spoil the demonstration: while a worker computes, nobody else is
    answered by it.
    """
    number = _INTEGER.fullmatch(request.path_params["n"])
    if number is None or (n := int(number[1])) > LARGEST_N:
        return PlainTextResponse(f"n must be a non-negative integer up to {LARGEST_N:,}\n", status_code=422)
    count = 0
    for i in range(n + 1):
        count += i
    return PlainTextResponse(f"Final count is {count}")


# Keyed by the pid, so that a process forked after the import does not answer in its parent's name.
@lru_cache(maxsize=1)
def _identity(pid: int) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-reuseport-slot", os.environ.get("REUSEPORT_SLOT", "-").encode()),
        (b"x-reuseport-generation", os.environ.get("REUSEPORT_GENERATION", "-").encode()),
        (b"x-reuseport-pid", str(pid).encode()),
    ]


def signed(app: ASGIApp) -> ASGIApp:
    """Every response of `app` names its worker. Plain ASGI: BaseHTTPMiddleware costs more than the page."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_identity(os.getpid())]
            await send(message)

        await app(scope, receive, send_signed)

    return answer


app = Starlette(
    routes=[Route("/", hello), Route("/api/{n}", final_count)],
    middleware=[Middleware(signed)],
)
# `/api/5/` is another address and gets its 404, not a redirect that would hide the mistake.
app.router.redirect_slashes = False
