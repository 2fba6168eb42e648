"""The admin application and its servers, in the launcher's event loop: what `front` loads.

uvicorn's protocol classes without uvicorn's Server, which would take the process's signals. What takes time
to make is shared by all who ask for it (`fresh`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config

from reuseport.admin.api import API, HANDLERS
from reuseport.admin.doors import BACKLOG, Door
from reuseport.admin.feed import Feed
from reuseport.admin.fresh import Fresh
from reuseport.admin.gate import Gate
from reuseport.admin.metrics import OPENMETRICS, exposition, wants_openmetrics
from reuseport.admin.pages import Pages
from reuseport.admin.probes import Probes
from reuseport.admin.sampler import Sampler
from reuseport.admin.visitor import MOST_HEAD, Visitor, Visitors
from reuseport.instance import Instance
from reuseport.kernel.accepting import Listener
from reuseport.settings.table import Settings

PATIENCE = 20.0
"""Seconds for any answer but a stream to be made and taken."""

log = logging.getLogger("reuseport.admin")


class Service:
    """Serves at each door that is opened. Borrows their listeners: a server closes a duplicate."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, instance: Instance, sampler: Sampler, settings: Settings
    ) -> None:
        self._loop = loop
        self._instance = instance
        self._feed = Feed(loop, instance, self._status)
        self._plain = Fresh(lambda: exposition(instance.status()))
        self._openmetrics = Fresh(lambda: exposition(instance.status(), OPENMETRICS))
        self._visitors: list[Visitors] = []
        self._servers: list[asyncio.Server] = []
        api = API(instance, Fresh(self._status), self._feed, sampler)
        # Whoever opens the page for the first time gets no past, but from then on there is one.
        sampler.begin()
        self.app = Starlette(
            routes=[
                *Probes(instance, settings.min_ready).routes(),
                Route("/metrics", self.metrics),
                Mount("/api/v1", Router(api.routes(), redirect_slashes=False)),
                *Pages().routes(),
            ],
            exception_handlers=HANDLERS,
        )
        # Whoever writes a slash too many is told so, and not sent to where Host says.
        self.app.router.redirect_slashes = False

    async def open(self, door: Door) -> None:
        """Serve whoever waits there, and whoever comes."""
        config = Config(
            _Bounded(Gate(self.app, door)),
            http=Visitor,
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            reset_contextvars=True,
            h11_max_incomplete_event_size=MOST_HEAD,
        )
        config.load()
        visitors = Visitors(self._loop)
        visitors.default_headers = config.encoded_headers
        self._visitors.append(visitors)

        def visitor() -> Visitor:
            return Visitor(config, visitors, self._loop)

        listener = Listener(fileno=os.dup(door.listener.fileno()))
        self._servers.append(await self._loop.create_server(visitor, sock=listener, backlog=BACKLOG))

    def _status(self) -> bytes:
        return json.dumps(self._instance.status(), separators=(",", ":")).encode()

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        await self._instance.look()
        only = wants_openmetrics(request.headers.get("accept", ""))
        body, kind = await (self._openmetrics if only else self._plain).get()
        return Response(body, headers={"content-type": kind, "cache-control": "no-store"})

    async def close(self) -> None:
        """End all streams and cut everybody off."""
        for server in self._servers:
            server.close()
        self._feed.close()
        # What is complete gets a moment to be sent: the answer to a stop, the end of a stream.
        tasks: set[asyncio.Task[Any]] = set().union(*(door.tasks for door in self._visitors))
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=0.5)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await asyncio.sleep(0)
        for visitors in self._visitors:
            visitors.close()
        await asyncio.sleep(0)


class _Bounded:
    """No answer is waited for without end, and no error of ours is a visitor's to read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/api/v1/stream":
            await self._app(scope, receive, send)  # bounds each piece by itself
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._app(scope, receive, send)
        except TimeoutError:
            log.info("a visitor did not take its answer within %g s", PATIENCE)
