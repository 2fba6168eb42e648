# requires: mcp>=2
"""The MCP SDK over streamable HTTP, without sessions: those would be of one process."""

from __future__ import annotations

import asyncio

from mcp import Client
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("shelf")


@server.tool()
async def add(one: int, other: int, context: Context) -> int:
    await context.report_progress(1, 2)
    return one + other


@server.resource("shelf://{name}")
def read(name: str) -> str:
    return name.upper()


app = server.streamable_http_app(stateless_http=True)


async def talk(url: str) -> object:
    async with Client(f"{url}/mcp") as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        called = await client.call_tool("add", {"one": 1, "other": 2})
        found = await client.read_resource("shelf://here")
        return tools, [part.text for part in called.content], [each.text for each in found.contents]


def use(url: str) -> object:
    return asyncio.run(talk(url))
