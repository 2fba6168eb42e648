"""Probes, for load balancers and orchestrators: answered by the launcher, from what the workers' loops say.

`/livez`: the launcher turns. `/startupz`: a worker has been ready. `/readyz`: enough are ready, and we do not
stop; so a stopping server is left by its load balancer while `--shutdown-delay` runs.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from reuseport.instance import Instance


class Probes:
    """Handlers for one instance."""

    def __init__(self, instance: Instance, min_ready: int) -> None:
        self._instance = instance
        self._min_ready = min_ready

    def routes(self) -> list[BaseRoute]:
        """At the root."""
        return [
            Route("/livez", self.live),
            Route("/readyz", self.ready),
            Route("/startupz", self.started),
        ]

    async def live(self, _: Request) -> Response:
        """That this is answered is the answer."""
        return _say(True, "the launcher is alive")

    async def ready(self, _: Request) -> Response:
        """Whether clients are to come."""
        now = self._instance.readiness()
        if now["state"] == "stopping":
            return _say(False, "stopping")
        words = f"{now['ready']} of {now['workers']} workers are ready"
        return _say(now["ready"] >= self._min_ready, f"{words}, {self._min_ready} must be")

    async def started(self, _: Request) -> Response:
        """Whether the start is over."""
        now = self._instance.readiness()
        started = now["ever_ready"]
        return _say(started, "a worker has been ready" if started else "no worker has been ready yet")


def _say(well: bool, words: str) -> Response:
    text = f"{'ok' if well else 'not ok'}: {words}\n"
    return PlainTextResponse(text, 200 if well else 503, {"cache-control": "no-store"})
