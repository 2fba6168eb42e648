# requires: fastapi python-multipart
"""FastAPI: lifespan, validation, forms and files, background tasks, streams, WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from websockets.sync.client import connect

done: list[str] = []


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "hello"}


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


async def twice(number: int) -> int:
    return 2 * number


@app.post("/items/{number}")
async def create(number: int, item: Item, doubled: Annotated[int, Depends(twice)]) -> dict[str, Any]:
    return {"number": number, "doubled": doubled, "name": item.name, "price": item.price}


@app.get("/greeting")
def greet(request: Request, tasks: BackgroundTasks) -> str:
    tasks.add_task(done.append, "greeted")
    return str(request.state.greeting)


@app.post("/files")
async def files(text: Annotated[str, Form()], content: Annotated[bytes, File()]) -> dict[str, Any]:
    return {"text": text, "size": len(content)}


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/missing")
def missing() -> None:
    raise HTTPException(404, "not here")


@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"echo": await websocket.receive_text()})
    await websocket.close(1000)


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.post("/items/3", json={"name": "a", "price": 1.5}),
            client.post("/items/x", json={}),
            client.get("/greeting"),
            client.post("/files", data={"text": "t"}, files={"content": b"x" * 100_000}),
            client.get("/stream"),
            client.get("/missing"),
            client.get("/openapi.json"),
        ]
    with connect(url.replace("http", "ws") + "/ws") as websocket:
        websocket.send("hello")
        echo = websocket.recv()
    return [[answer.status_code, answer.text] for answer in answers], echo
