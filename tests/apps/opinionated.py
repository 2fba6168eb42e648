"""An application that sets logging up itself, in the way that TEST_LOGGING names: at import or in lifespan.

`/` logs an error of uvicorn's logger, and a warning of its own; with TEST_FAIL lifespan startup fails.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]


def replace_the_factory() -> None:
    logging.setLogRecordFactory(logging.LogRecord)


def describe_all() -> None:
    """As most descriptions begin, which switches off every logger that there is."""
    handlers = {"own": {"class": "logging.StreamHandler", "formatter": "own"}}
    logging.config.dictConfig(
        {
            "version": 1,
            "formatters": {"own": {"format": "APP %(message)s"}},
            "handlers": handlers,
            "root": {"handlers": ["own"], "level": "INFO"},
        }
    )


def take_over() -> None:
    """What recipes for structlog do: everything to the root logger's handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("APP %(message)s"))
    logging.getLogger().handlers = [handler]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def raise_the_level() -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def disable() -> None:
    logging.disable(logging.CRITICAL)


SETTING_UP = {
    "factory": replace_the_factory,
    "describe": describe_all,
    "take over": take_over,
    "level": raise_the_level,
    "disable": disable,
}

if "TEST_AT_IMPORT" in os.environ:
    SETTING_UP[os.environ["TEST_LOGGING"]]()


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        await receive()
        if "TEST_AT_IMPORT" not in os.environ:
            SETTING_UP[os.environ["TEST_LOGGING"]]()
        if "TEST_FAIL" in os.environ:
            raise RuntimeError("not today")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    logging.getLogger("uvicorn.error").error("of uvicorn")
    logging.getLogger("shop").warning("of the shop")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def factory(_scope: object) -> None:
    """No factory: it takes an argument, and uvicorn says so as an error."""
