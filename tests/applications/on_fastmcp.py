# requires: fastmcp
"""FastMCP's own server and client, without sessions."""

from __future__ import annotations

import asyncio

from fastmcp import Client, FastMCP

server = FastMCP("shelf")


@server.tool
def add(one: int, other: int) -> int:
    return one + other


@server.resource("shelf://name")
def name() -> str:
    return "shelf"


app = server.http_app(stateless_http=True)


async def talk(url: str) -> object:
    async with Client(f"{url}/mcp") as client:
        tools = [tool.name for tool in await client.list_tools()]
        called = await client.call_tool("add", {"one": 1, "other": 2})
        found = await client.read_resource("shelf://name")
        return tools, called.data, [each.text for each in found]


def use(url: str) -> object:
    return asyncio.run(talk(url))
