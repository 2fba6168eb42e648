# requires: mcp
"""The MCP SDK over streamable HTTP, without sessions: those would be of one process."""

from __future__ import annotations

import asyncio

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("shelf", stateless_http=True)


@server.tool()
async def add(one: int, other: int, context: Context) -> int:
    await context.report_progress(1, 2)
    return one + other


@server.resource("shelf://{name}")
def read(name: str) -> str:
    return name.upper()


app = server.streamable_http_app()


async def talk(url: str) -> object:
    async with (
        streamablehttp_client(f"{url}/mcp") as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        called = await session.call_tool("add", {"one": 1, "other": 2})
        found = await session.read_resource("shelf://here")
        return tools, [part.text for part in called.content], [each.text for each in found.contents]


def use(url: str) -> object:
    return asyncio.run(talk(url))
