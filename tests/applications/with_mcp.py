# requires: mcp>=2
"""The MCP SDK over streamable HTTP with sessions, which are of one process: its users each count to three.

The handshake of before 2026-07-28: protocols since then have no sessions.
"""

from __future__ import annotations

from mcp import Client
from mcp.server.mcpserver import Context, MCPServer

FLAGS = ("--sticky", "header:mcp-session-id")

server = MCPServer("sessions")
counts: dict[str | None, int] = {}
"""By session."""


@server.tool()
async def count(context: Context) -> int:
    await context.report_progress(1, 2)
    key = context.headers["mcp-session-id"]
    counts[key] = counts.get(key, 0) + 1
    return counts[key]


app = server.streamable_http_app()


async def use(url: str) -> None:
    """One session, from its beginning to its end; whatever is wrong is raised."""
    async with Client(f"{url}/mcp", mode="legacy") as client:
        found = await client.list_tools()
        assert [tool.name for tool in found.tools] == ["count"]
        for number in (1, 2, 3):
            called = await client.call_tool("count", {})
            assert [part.text for part in called.content] == [str(number)]
