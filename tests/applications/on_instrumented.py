# requires: opentelemetry-distro opentelemetry-instrumentation-starlette starlette
"""`opentelemetry-instrument python -m …`: each worker is instrumented, and the launcher hears its signals."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

WRAPPER = [
    str(Path(sys.executable).with_name("opentelemetry-instrument")),
    "--traces_exporter=console",
    "--metrics_exporter=none",
    "--logs_exporter=none",
]


async def work(_: Request) -> Response:
    span = trace.get_current_span()
    return JSONResponse({"recording": span.is_recording(), "name": getattr(span, "name", None)})


app = Starlette(routes=[Route("/work", work)])


def use(url: str) -> object:
    answer = httpx.get(f"{url}/work", timeout=20).json()
    assert answer["recording"], answer
    return answer
