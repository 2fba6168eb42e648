# requires: strawberry-graphql
"""Strawberry: queries, mutations, and subscriptions over WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx
import strawberry
from strawberry.asgi import GraphQL
from websockets.sync.client import connect


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str) -> str:
        return f"hello {name}"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, most: int) -> AsyncGenerator[int, None]:
        for number in range(most):
            yield number
            await asyncio.sleep(0.01)


app = GraphQL(strawberry.Schema(Query, subscription=Subscription))


def use(url: str) -> object:
    asked = httpx.post(url, json={"query": '{ hello(name: "ann") }'}, timeout=20).json()
    wrong = httpx.post(url, json={"query": "{ nothing }"}, timeout=20).json()
    told = []
    with connect(url.replace("http", "ws"), subprotocols=["graphql-transport-ws"]) as websocket:
        websocket.send(json.dumps({"type": "connection_init"}))
        told.append(json.loads(websocket.recv()))
        query = {"query": "subscription { count(most: 3) }"}
        websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": query}))
        while told[-1]["type"] != "complete":
            told.append(json.loads(websocket.recv()))
        return asked, wrong, told, websocket.subprotocol
