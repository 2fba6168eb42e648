"""An application that does what applications should not, and shows what it was asked.

Nothing in its answers tells which server runs it, or when: they can be compared byte for byte.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SHOWN = ("type", "asgi", "http_version", "method", "path", "root_path", "scheme", "subprotocols")
"""Of the scope, as they are."""


async def app(scope: Message, receive: Receive, send: Send) -> object:
    """Does what the path says: `do_` and `ws_` below."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return None
    prefix = "ws_" if scope["type"] == "websocket" else "do_"
    name = prefix + str(scope["path"]).strip("/").partition("/")[0]
    return await globals().get(name, show)(scope, receive, send)


async def show(scope: Message, receive: Receive, send: Send) -> None:
    """The request, as it came."""
    if scope["type"] == "websocket":
        await ws_echo(scope, receive, send)
        return
    body = await whole(receive)
    shown = {name: scope.get(name) for name in SHOWN}
    shown["raw"] = [repr(scope["raw_path"]), repr(scope["query_string"]), repr(body[:200]), len(body)]
    shown["headers"] = [repr(header) for header in scope["headers"]]
    shown["peers"] = [bool(scope["client"]), bool(scope["server"])]
    await answer(send, json.dumps(shown).encode())


async def whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"<gone>"
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


async def answer(send: Send, body: bytes, status: int = 200, headers: Any = None) -> None:
    await start(send, status, [(b"content-length", b"%d" % len(body))] if headers is None else headers)
    await part(send, body, False)


async def start(send: Send, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def part(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


# ── answers that are in order ─────────────────────────────────────────────────────────────────────────


async def do_status(scope: Message, receive: Receive, send: Send) -> None:
    """/status/204: with a body all the same."""
    await answer(send, b"body", int(scope["path"].rpartition("/")[2]))


async def do_bare(scope: Message, receive: Receive, send: Send) -> None:
    """/bare/304: without headers, or a body."""
    await send({"type": "http.response.start", "status": int(scope["path"].rpartition("/")[2])})
    await send({"type": "http.response.body"})


async def do_parts(scope: Message, receive: Receive, send: Send) -> None:
    await start(send)
    for text in (b"one", b"", b"two"):
        await part(send, text)
    await part(send, b"", False)


async def do_big(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"0123456789" * 100_000)


async def do_early(scope: Message, receive: Receive, send: Send) -> None:
    """Without having read the body."""
    await answer(send, b"early")


async def do_close(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"bye", headers=[(b"connection", b"close"), (b"content-length", b"3")])


async def do_own(scope: Message, receive: Receive, send: Send) -> None:
    """Headers that the server would have added."""
    own = [(b"Server", b"mine"), (b"Date", b"never"), (b"X-Twice", b"1"), (b"X-Twice", b"2"), (b"Empty", b"")]
    await answer(send, b"own", headers=[*own, (b"Content-Length", b"3")])


async def do_chunked(scope: Message, receive: Receive, send: Send) -> None:
    """The header by the application itself, and a length that contradicts it."""
    await start(send, 200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"3")])
    await part(send, b"abc", False)


async def do_after(scope: Message, receive: Receive, send: Send) -> None:
    """Goes on when it is done: what is received then, and what can be sent."""
    await whole(receive)
    await answer(send, b"done")
    assert (await receive())["type"] == "http.disconnect"


# ── answers that are not ──────────────────────────────────────────────────────────────────────────────


async def do_short(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"short", headers=[(b"content-length", b"10")])


async def do_long(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"longer", headers=[(b"content-length", b"3")])


async def do_raise(scope: Message, receive: Receive, send: Send) -> None:
    """/raise/0 before the start, /raise/1 after it, /raise/2 within the body, /raise/3 at its end."""
    after = int(scope["path"].rpartition("/")[2])
    if after > 0:
        await start(send)
    if after > 1:
        await part(send, b"part", after < 3)
    raise RuntimeError("as asked")


async def do_nothing(scope: Message, receive: Receive, send: Send) -> None:
    """Returns without a word."""


async def do_half(scope: Message, receive: Receive, send: Send) -> None:
    """Returns in the middle."""
    await start(send)
    await part(send, b"half")


async def do_value(scope: Message, receive: Receive, send: Send) -> object:
    return b"a value"


async def do_body_first(scope: Message, receive: Receive, send: Send) -> None:
    await part(send, b"first", False)


async def do_twice(scope: Message, receive: Receive, send: Send) -> None:
    await start(send)
    await start(send)


async def do_more(scope: Message, receive: Receive, send: Send) -> None:
    """A message after the last."""
    await answer(send, b"last")
    await part(send, b"more", False)


async def do_unknown(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.nonsense"})


async def do_informational(scope: Message, receive: Receive, send: Send) -> None:
    """/informational/103: and the answer after it."""
    await start(send, int(scope["path"].rpartition("/")[2]), [(b"link", b"</style.css>")])
    await answer(send, b"final")


async def do_odd_status(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"odd", int(scope["path"].rpartition("/")[2]))


async def do_bad_header(scope: Message, receive: Receive, send: Send) -> None:
    """/bad_header/value or /bad_header/name: with the end of a line in it."""
    at = scope["path"].rpartition("/")[2]
    name, value = (b"x\r\nevil", b"1") if at == "name" else (b"x", b"1\r\nevil: yes")
    await answer(send, b"", headers=[(name, value)])


async def do_text_header(scope: Message, receive: Receive, send: Send) -> None:
    """Text where bytes belong."""
    await answer(send, b"text", headers=[("x", "y")])


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────


async def do_pool(scope: Message, receive: Receive, send: Send) -> None:
    """/pool/METHOD: a pool of processes, and a child that is killed.

    None is terminated: what a forked child does then depends on the handlers that it has from the server.
    """
    context: Any = multiprocessing.get_context(scope["path"].rpartition("/")[2])

    def work() -> list[int]:
        pool = context.Pool(2)
        squares = pool.map(square, range(5))
        pool.close()
        pool.join()
        child = context.Process(target=time.sleep, args=(60,))
        child.start()
        child.kill()
        child.join()
        return [*squares, child.exitcode or 0]

    await answer(send, json.dumps(await asyncio.to_thread(work)).encode())


async def do_executor(scope: Message, receive: Receive, send: Send) -> None:
    context = multiprocessing.get_context(scope["path"].rpartition("/")[2])
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        squares = await asyncio.gather(
            *(asyncio.get_running_loop().run_in_executor(executor, square, each) for each in range(5))
        )
    await answer(send, json.dumps(squares).encode())


async def do_command(scope: Message, receive: Receive, send: Send) -> None:
    """Another program, in which no signal is ignored or blocked but SIGPIPE, by Python."""
    program = "print([line for line in open('/proc/self/status') if line[:6] in ('SigBlk', 'SigIgn')])"
    made = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    told, _ = await made.communicate()
    await answer(send, told)


def square(number: int) -> int:
    return number * number


# ── WebSockets ────────────────────────────────────────────────────────────────────────────────────────


async def ws_echo(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    subprotocol = next(iter(scope["subprotocols"]), None)
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"x-own", b"yes")]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "raise":
            raise RuntimeError("as asked")
        if message.get("text") == "return":
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4000, "reason": "as asked"})
            return
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def ws_refuse(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1000, "reason": "no"})


async def ws_deny(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"content-length", b"6"), (b"x-why", b"because")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"denied"})


async def ws_raise(scope: Message, receive: Receive, send: Send) -> None:
    raise RuntimeError("as asked")


async def ws_nothing(scope: Message, receive: Receive, send: Send) -> None:
    """Returns without a word."""


async def ws_early(scope: Message, receive: Receive, send: Send) -> None:
    """Sends before it accepts."""
    await send({"type": "websocket.send", "text": "early"})
