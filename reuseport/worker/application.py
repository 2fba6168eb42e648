"""Import the application and judge it: what is the operator's to mend, what the application's?"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
import re
import ssl
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES, WS_PROTOCOLS, Config
from uvicorn.importer import ImportFromStringError, import_from_string

from reuseport.messages import MOST_TEXT, Failed
from reuseport.settings.handed import uvicorn_options
from reuseport.settings.table import Settings
from reuseport.worker.certificates import first_expiry, serve_names, trusted_authorities
from reuseport.worker.protocol.connection import chosen
from reuseport.worker.protocol.fitting import misfit
from reuseport.worker.protocol.limits import Limits
from reuseport.worker.tickets import Keys, made_for, share

log = logging.getLogger("uvicorn.error")

LOOP_RUNS = (
    "\nThe application is imported while the event loop runs, as by `uvicorn --workers`: "
    "await this in lifespan startup, or run it in a thread of its own."
)
_OWN_LOOP = re.compile(r"(?i)running event loop|event loop is (already )?running|another loop is running")
NO_LOOP = (
    "\nWith --preload the application is imported before there is an event loop, which each worker has of its"
    " own: do this in lifespan startup, or leave --preload out (--preload=try does so by itself)."
)
_NO_LOOP = re.compile(r"(?i)no (running|current) event loop")


class StartupError(Exception):
    """The worker cannot become ready; `failed` is what the launcher is told."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.text)
        # Its end: that is where a traceback names the error.
        self.failed = Failed(failed.blame, failed.text[-MOST_TEXT:])


class Application(Config):
    """uvicorn's configuration of one application, which says who must act when it cannot be had.

    Raises StartupError when it is made, and by `load`.
    """

    around: Callable[[Any], Any] | None = None
    """What the application is wrapped in as soon as it is there: protocols and lifespan take it from here."""
    on_ready: Callable[[], object] | None = None
    on_exit: Callable[[], object] | None = None

    first_expiry = 0
    """When the first certificate ends, seconds since the epoch; 0: there is none."""

    _preloaded = False
    _trusted = b""
    """What certificates of clients are verified with."""

    def __init__(self, settings: Settings, tickets: Sequence[str] = ()) -> None:
        """Imports what chooses the event loop, and nothing else of the operator's.

        `tickets`: the keys of TLS session tickets, in hexadecimal digits, the newest first.
        """
        self._settings = settings
        self.tickets = tickets
        self._keys: Keys | None = None
        if (text := misfit(uvicorn.__version__)) is not None:
            raise StartupError(Failed("operator", text))
        with _blamed(settings):
            # One: uvicorn would otherwise read $WEB_CONCURRENCY, which counts our workers, not its.
            options = uvicorn_options(settings)
            options["http"] = chosen(settings.http, Limits.of(settings))
            if settings.sticky:
                from reuseport.worker.sticky.movable import MOVABLE

                options["http"] = MOVABLE[options["http"]]
            # Its own limit, where it has one: h11 takes so much of a head as one event.
            options["h11_max_incomplete_event_size"] = (
                settings.h11_max_incomplete_event_size or settings.limit_request_head or None
            )
            super().__init__(settings.app, log_config=None, workers=1, **options)
            _find("--loop", settings.loop, LOOP_FACTORIES)

    def load(self) -> None:
        """Import the application, read the certificate, choose the protocols.

        uvicorn's server calls it in the running event loop, which stands still meanwhile: applications create
        tasks and clients at import, and expect to find the loop that will serve them.
        """
        if self._preloaded:
            self.loaded = True
        else:
            self._load()
        if self.ssl is not None and self.tickets:
            self._keys = share(self.ssl, self._ticket_keys())
        if self.around is not None:
            self.loaded_app = self.around(self.loaded_app)

    def rotate(self, tickets: Sequence[str]) -> None:
        """Make TLS session tickets with the first of these from now on, and take those of all."""
        self.tickets = tickets
        if self._keys is not None:
            self._keys.use(self._ticket_keys())

    def _ticket_keys(self) -> list[bytes]:
        return made_for([bytes.fromhex(key) for key in self.tickets], self._trusted)

    def preload(self) -> None:
        """Load all of it before the process is forked, and before there is an event loop."""
        try:
            self._load()
        except StartupError as error:
            hint = NO_LOOP if _NO_LOOP.search(error.failed.text) else ""
            raise StartupError(Failed(error.failed.blame, error.failed.text + hint)) from error
        self._preloaded = True
        self.loaded = False  # to uvicorn's server, which loads what is not

    def _load(self) -> None:
        settings = self._settings
        with _blamed(settings):
            judge(import_named("APP", settings.app), settings)
            _find("--http", settings.http, HTTP_PROTOCOLS)
            _find("--ws", settings.ws, WS_PROTOCOLS)
            self._trusted = trusted_authorities(settings)
            super().load()
            self.on_ready = _hook("--on-ready", settings.on_ready)
            self.on_exit = _hook("--on-exit", settings.on_exit)
            if self.ssl is not None:
                serve_names(self.ssl, settings)
                self.first_expiry = first_expiry(settings)

    def try_out(self) -> None:
        """Load it where a worker would, and leave it."""

        async def load() -> None:
            self.load()

        with asyncio.Runner(loop_factory=self.get_loop_factory()) as runner:
            runner.run(load())


@contextmanager
def _blamed(settings: Settings) -> Iterator[None]:
    """Whatever goes wrong is a StartupError that says who must act."""
    with withheld_errors() as errors:
        try:
            yield
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
            hint = LOOP_RUNS if _wants_its_own_loop(error) else ""
            raise StartupError(Failed("application", describe(error) + hint)) from error


def _wants_its_own_loop(error: Exception) -> bool:
    """It called asyncio.run() or loop.run_until_complete(), in the words of asyncio or uvloop."""
    return isinstance(error, RuntimeError) and bool(_OWN_LOOP.search(str(error)))


def _find(flag: str, name: str, known: Mapping[str, str | None]) -> None:
    # None is uvicorn's word for nothing to import: --ws none.
    if (target := known.get(name, name)) is not None:
        import_named(flag, name, target)


def import_named(place: str, name: str, target: str | None = None) -> object:
    """Import what the operator named; `target` is its import string where `name` is one of uvicorn's words.

    Raises StartupError when the name leads nowhere; what fails inside the module itself is raised as it is.
    """
    try:
        return import_from_string(target or name)
    except (ImportFromStringError, ModuleNotFoundError) as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and _in_application(error.__traceback__):
            raise
        text = f"{place} {name!r}: {_dead_end(target or name, absent)}"
        raise StartupError(Failed("operator", text)) from error


def _hook(flag: str, name: str | None) -> Callable[[], object] | None:
    """What the operator wants to be called; raises as `import_named`."""
    if name is None:
        return None
    found = import_named(flag, name)
    if not callable(found):
        raise StartupError(Failed("operator", f"{flag} {name!r} is no function, but {type(found).__name__}"))
    called: Callable[[], object] = found
    return called


def _dead_end(target: str, absent: str | None) -> str:
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        return "it is no name that uvicorn knows; write module:attribute for one of your own"
    if absent is not None or module not in sys.modules:
        nowhere = f"there is no module {absent or module!r}{_where()}"
        return f"{nowhere}; check the name, install it, or add --app-dir"
    near = difflib.get_close_matches(attribute, vars(sys.modules[module]), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "name something that it defines"
    return f"module {module!r} has no {attribute!r}; {hint}"


def _where() -> str:
    """In which directory it was looked for, before what is installed: --app-dir, or the current one."""
    place = Path(sys.path[0] or ".").absolute() if sys.path else Path.cwd()
    return f", neither in {place} nor installed" if place.is_dir() else f": {place} is no directory"


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
    """Collect what uvicorn logs as errors instead of printing it: N workers fail alike, once is enough.

    By the logger's own methods and not by a filter: the application may set up logging meanwhile, which by
    default switches off all loggers that there are (logging.config.dictConfig), and the reason would be lost.
    """
    errors: list[str] = []

    def withhold(message: object, *arguments: object, exc_info: Any = None, **_: object) -> None:
        text = (str(message) % arguments if arguments else str(message)).strip()
        error = sys.exc_info()[1] if exc_info is True else exc_info
        if isinstance(error, BaseException):
            text += "\n" + describe(error)
        errors.append(text)

    logger = logging.getLogger("uvicorn.error")
    logger.error = logger.critical = withhold  # type: ignore[method-assign, assignment]
    try:
        yield errors
    finally:
        del logger.error, logger.critical


def describe(error: BaseException) -> str:
    """The traceback as text, from the application's first frame on: ours and the importer's tell nothing."""
    lines = traceback.format_exception(type(error), error, _first_of_application(error.__traceback__))
    return "".join(lines).strip()


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
