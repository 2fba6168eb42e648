# requires: sentry-sdk structlog starlette
"""Sentry and structlog: errors are captured, lines are rendered."""

from __future__ import annotations

import logging

import httpx
import sentry_sdk
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

captured: list[str] = []


def capture(event: dict[str, object], _hint: object) -> None:
    values = event.get("exception", {}).get("values", [])
    captured.extend(value["type"] for value in values)


sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", before_send=capture, traces_sample_rate=0)
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.JSONRenderer(),
    ],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    logger_factory=structlog.PrintLoggerFactory(),
)
log = structlog.get_logger()


async def work(request: Request) -> PlainTextResponse:
    with structlog.contextvars.bound_contextvars(path=request.url.path):
        log.info("worked", number=1)
    return PlainTextResponse("worked")


async def caught(_: Request) -> JSONResponse:
    captured.clear()
    try:
        int("as asked")
    except ValueError as error:
        sentry_sdk.capture_exception(error)
    return JSONResponse(captured)


app = Starlette(routes=[Route("/work", work), Route("/caught", caught)])


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [client.get("/work"), client.get("/caught"), client.get("/missing")]
    return [[answer.status_code, answer.text] for answer in answers]
