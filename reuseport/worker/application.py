"""Import the application and judge it: what is the operator's to mend, what the application's?"""

from __future__ import annotations

import inspect
import logging
import ssl
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from uvicorn.config import Config
from uvicorn.importer import ImportFromStringError, import_from_string

from reuseport.channel import Failed
from reuseport.settings import Settings

MOST_TEXT = 64 * 1024
"""Characters of a traceback that are reported: one message must hold it."""


class StartupError(Exception):
    """The worker cannot become ready; `failed` is what the launcher is told."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.text)
        self.failed = failed


def load(settings: Settings) -> Config:
    """A loaded uvicorn configuration: application imported, certificate read, protocols chosen.

    Raises StartupError.
    """
    sys.path.insert(0, settings.app_dir or "")
    with withheld_errors() as errors:
        try:
            # One: uvicorn would otherwise read $WEB_CONCURRENCY, which counts our workers, not its.
            config = Config(settings.app, log_config=None, workers=1, **settings.uvicorn_options())
            judge(import_from_string(settings.app), settings)
            config.load()
        except ImportFromStringError as error:
            raise StartupError(Failed("operator", f"APP {settings.app!r}: {error}")) from error
        except (ssl.SSLError, FileNotFoundError, PermissionError) as error:
            blame: Any = "operator" if not _in_application(error.__traceback__) else "application"
            raise StartupError(Failed(blame, describe(error))) from error
        except StartupError:
            raise
        except SystemExit as error:
            text = "\n".join(errors) or f"APP {settings.app!r} called sys.exit({error.code!r}) at import"
            raise StartupError(Failed("application", text)) from error
        except Exception as error:
            # Of any kind, and the application's: it goes into the message whole.
            raise StartupError(Failed("application", describe(error))) from error
    return config


def judge(application: object, settings: Settings) -> None:
    """Refuse what cannot be an ASGI application, before a client finds out. Raises StartupError.

    ASGI 3 is called with (scope, receive, send), ASGI 2 with (scope), WSGI with (environ, start_response), a
    factory with nothing. What does not show its signature is given the benefit of the doubt.
    """
    name = f"APP {settings.app!r}"
    if not callable(application):
        raise StartupError(
            Failed("operator", f"{name} is no ASGI application: {type(application).__name__} is not callable")
        )
    try:
        signature = inspect.signature(application)
    except (TypeError, ValueError):
        return
    takes = [count for count in (0, 1, 2, 3) if _accepts(signature, count)]
    if settings.interface == "wsgi" or settings.factory or 3 in takes or 1 in takes or 0 in takes:
        return
    hint = "a WSGI application? Then add --interface wsgi" if 2 in takes else "ASGI is (scope, receive, send)"
    raise StartupError(Failed("operator", f"{name} is no ASGI application: it takes {signature}; {hint}"))


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


@contextmanager
def withheld_errors() -> Iterator[list[str]]:
    """Collect what uvicorn logs as errors instead of printing it: N workers fail alike, once is enough."""
    errors: list[str] = []

    def withhold(record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        text = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + describe(record.exc_info[1])
        errors.append(text)
        return False

    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(withhold)
    try:
        yield errors
    finally:
        logger.removeFilter(withhold)


def describe(error: BaseException) -> str:
    """The traceback as text, from the application's first frame on: ours and the importer's tell nothing."""
    lines = traceback.format_exception(type(error), error, _first_of_application(error.__traceback__))
    return "".join(lines).strip()[-MOST_TEXT:]


def _first_of_application(step: TracebackType | None) -> TracebackType | None:
    while step is not None and _is_machinery(step):
        step = step.tb_next
    return step


def _in_application(step: TracebackType | None) -> bool:
    return _first_of_application(step) is not None


def _is_machinery(step: TracebackType) -> bool:
    module = step.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in ("uvicorn", "importlib", "ssl") or (
        module.startswith("reuseport.") and module != "reuseport.demo"
    )
