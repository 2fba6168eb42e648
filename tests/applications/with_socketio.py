# requires: python-socketio[client] aiohttp
"""python-socketio by long polling, each session in one process: its users are each greeted by their name.

Its sessions' ids come in the body of an answer, where nobody looks; its clients keep cookies.
"""

from __future__ import annotations

import itertools
from typing import Any

import socketio

FLAGS = ("--sticky", "insert")

# The client's last poll is answered by a ping: it waits for that before it goes.
server = socketio.AsyncServer(async_mode="asgi", ping_interval=1)
app = socketio.ASGIApp(server)
names = itertools.count(1)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    await server.save_session(sid, {"name": auth["name"], "times": 0})


@server.event
async def shout(sid: str, text: str) -> str:
    async with server.session(sid) as session:
        session["times"] += 1
        await server.emit("shouted", f"{session['name']}: {text.upper()}", to=sid)
        return f"{session['name']} {session['times']}"


async def use(url: str) -> None:
    """One session, from its beginning to its end; whatever is wrong is raised."""
    name = f"user{next(names)}"
    async with socketio.AsyncSimpleClient(reconnection=False) as client:
        await client.connect(url, auth={"name": name}, transports=["polling"], wait_timeout=30)
        for number in (1, 2, 3):
            heard = await client.call("shout", "hello", timeout=30)
            assert heard == f"{name} {number}"
            assert await client.receive(timeout=30) == ["shouted", f"{name}: HELLO"]
        assert client.transport == "polling"
