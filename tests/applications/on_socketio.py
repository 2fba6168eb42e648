# requires: python-socketio[client] aiohttp
"""python-socketio: events and acknowledgements over WebSocket; rooms are of one process."""

from __future__ import annotations

import threading
from typing import Any

import socketio

server = socketio.AsyncServer(async_mode="asgi")
app = socketio.ASGIApp(server)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    await server.save_session(sid, {"name": auth["name"]})


@server.event
async def shout(sid: str, text: str) -> str:
    name = (await server.get_session(sid))["name"]
    await server.enter_room(sid, "shouting")
    await server.emit("shouted", f"{name}: {text.upper()}", to=sid)
    return "heard"


def use(url: str) -> object:
    with socketio.SimpleClient() as client:
        client.connect(url, auth={"name": "ann"}, transports=["websocket"], wait_timeout=20)
        heard = client.call("shout", "hello", timeout=20)
        return heard, client.receive(timeout=20), client.transport


def follow(url: str, begun: threading.Event) -> object:
    over = threading.Event()
    client = socketio.Client(reconnection=False)
    client.on("disconnect", lambda *_: over.set())
    client.connect(url, auth={"name": "ann"}, transports=["websocket"], wait_timeout=20)
    begun.set()
    return over.wait(20)
