"""Who must act when an application cannot be served: what is asked of real modules, written for each test."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from uvicorn.config import Config

from reuseport.channel import Channel
from reuseport.messages import MOST_TEXT, Failed
from reuseport.settings.table import Settings
from reuseport.worker.application import Application, StartupError, describe, judge

Write = Callable[..., Settings]

ASGI = """
async def app(scope, receive, send):
    pass
"""


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """`write("source", app="served:app", **settings)`: a module `served`, and more by `others`."""
    path, modules = list(sys.path), set(sys.modules)

    def make(
        source: str, app: str = "served:app", others: dict[str, str] | None = None, **more: object
    ) -> Settings:
        for name, text in {"served": source, **(others or {})}.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        sys.path.insert(0, str(tmp_path))
        return Settings(app=app, **more)  # type: ignore[arg-type]

    yield make
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        module = sys.modules[name]
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


def loaded(settings: Settings) -> Config:
    """The configuration, loaded as a worker does it."""
    config = Application(settings)
    config.try_out()
    return config


def failure(settings: Settings) -> Failed:
    with pytest.raises(StartupError) as caught:
        loaded(settings)
    assert str(caught.value) == caught.value.failed.text or len(caught.value.failed.text) == MOST_TEXT
    return caught.value.failed


# ── what can be an application ────────────────────────────────────────────────────────────────────────


async def asgi3(scope: object, receive: object, send: object) -> None: ...


class Instance:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


class ASGI2:
    def __init__(self, scope: object) -> None: ...

    async def __call__(self, receive: object, send: object) -> None: ...


def factory() -> object:
    return asgi3


def wsgi(environ: object, start_response: object) -> list[bytes]:
    return []


def four(one: object, two: object, three: object, four: object) -> None: ...


def anything(*arguments: object) -> None: ...


def optional(scope: object, receive: object = None, send: object = None) -> None: ...


GOOD = [asgi3, Instance(), ASGI2, factory, anything, optional, type("Old", (Instance,), {})().__call__]


@pytest.mark.parametrize("application", GOOD, ids=range(len(GOOD)))
def test_what_can_be_called_as_asgi_is_accepted(application: object) -> None:
    judge(application, Settings(app="served:app"))


def test_what_hides_its_signature_is_given_the_benefit_of_the_doubt() -> None:
    judge(dict.update, Settings(app="served:app"))


@pytest.mark.parametrize(
    ("application", "says"),
    [
        (wsgi, "--interface wsgi"),
        (four, r"\(scope, receive, send\)"),
        (None, "NoneType is not callable"),
        ("text", "str is not callable"),
        (Instance, None),
    ],
    ids=["wsgi", "four", "None", "text", "class"],
)
def test_what_cannot_be_is_the_operators_to_mend(application: object, says: str | None) -> None:
    if says is None:  # a class that forgot its instance takes nothing: it could be a factory
        judge(application, Settings(app="served:app"))
        return
    with pytest.raises(StartupError, match=says) as caught:
        judge(application, Settings(app="served:app"))
    assert caught.value.failed.blame == "operator"
    assert "served:app" in caught.value.failed.text


def test_wsgi_is_accepted_when_it_is_said_to_be() -> None:
    judge(wsgi, Settings(app="served:app", interface="wsgi"))


# ── loading ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_application_is_loaded(write: Write) -> None:
    config = loaded(write(ASGI))
    assert config.loaded
    assert config.interface == "asgi3"


def test_a_factory_is_called(write: Write) -> None:
    config = loaded(write(f"def make():\n    return app\n{ASGI}", app="served:make", factory=True))
    assert config.loaded


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("absent_module:app", "absent_module"),
        ("absent_package.module:app", "absent_package"),
        ("served.absent:app", "served"),
        ("served:absent", "'absent'"),
        ("served:ap", "did you mean 'app'"),
    ],
)
def test_a_name_that_leads_nowhere_is_the_operators(write: Write, app: str, says: str) -> None:
    failed = failure(write(ASGI, app=app))
    assert failed.blame == "operator"
    assert says in failed.text
    assert "Traceback" not in failed.text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import absent_of_ours\n", "No module named 'absent_of_ours'"),
        ("import helper\n", "No module named 'absent_of_helper'"),
        ("def app(:\n", "SyntaxError"),
        ("import broken\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("open('/nonexistent/file')\n", "FileNotFoundError"),
        ("raise PermissionError('no')\n", "PermissionError"),
        ("import ssl\nraise ssl.SSLError('no')\n", "SSLError"),
        ("raise SystemExit(0)\n", r"called sys.exit(0) at import"),
        ("import sys\nsys.exit('bad day')\n", "called sys.exit('bad day') at import"),
    ],
)
def test_an_application_that_fails_at_import_is_the_applications(
    write: Write, source: str, says: str
) -> None:
    others = {"helper": "import absent_of_helper\n", "broken": "x = = 1\n"}
    failed = failure(write(source, others=others))
    assert failed.blame == "application"
    assert says in failed.text


EARLY = """
import asyncio

loop = asyncio.get_event_loop()
begun = []

async def begin():
    begun.append(asyncio.get_running_loop())

task = asyncio.create_task(begin())
"""


def test_the_application_finds_the_loop_that_will_serve_it(write: Write) -> None:
    settings = write(EARLY + ASGI)

    async def go() -> None:
        Application(settings).load()
        early: Any = sys.modules["served"]
        await early.task
        assert early.begun == [early.loop] == [asyncio.get_running_loop()]

    asyncio.run(go())


OWN_LOOP = """
import asyncio

async def job():
    pass

pending = job()
try:
    {call}
finally:
    pending.close()
"""


@pytest.mark.parametrize(
    "call", ["asyncio.run(pending)", "asyncio.get_event_loop().run_until_complete(pending)"]
)
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_of_its_own_at_import_is_refused_with_the_way_out(
    write: Write, call: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    settings = write(OWN_LOOP.format(call=call) + ASGI)

    async def go() -> None:
        Application(settings).load()

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(StartupError) as caught:
        runner.run(go())
    assert caught.value.failed.blame == "application"
    assert f"    {call}\n" in caught.value.failed.text
    assert "await this in lifespan startup" in caught.value.failed.text


def test_another_runtime_error_is_not_explained(write: Write) -> None:
    failed = failure(write("raise RuntimeError('the pump is running')\n"))
    assert failed.text.endswith("RuntimeError: the pump is running")


def test_a_failing_factory_is_the_applications(write: Write) -> None:
    failed = failure(
        write("def make():\n    raise LookupError('no table')\n", app="served:make", factory=True)
    )
    assert failed.blame == "application"
    assert "no table" in failed.text
    assert "served.py" in failed.text


def test_a_missing_certificate_is_the_operators(write: Write, tmp_path: Path) -> None:
    failed = failure(write(ASGI, ssl_certfile=str(tmp_path / "absent.pem")))
    assert failed.blame == "operator"
    assert "FileNotFoundError" in failed.text


def test_a_certificate_that_is_none_is_the_operators(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    failed = failure(write(ASGI, ssl_certfile=str(tmp_path / "empty.pem")))
    assert failed.blame == "operator"
    assert "SSLError" in failed.text


# ── the traceback ─────────────────────────────────────────────────────────────────────────────────────


def test_a_traceback_starts_in_the_application(write: Write) -> None:
    failed = failure(write("def fail():\n    1 / 0\n\nfail()\n"))
    first, frame, *_ = failed.text.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "served.py" in frame
    assert "uvicorn" not in failed.text
    assert "importlib" not in failed.text
    assert failed.text.endswith("ZeroDivisionError: division by zero")


def test_an_error_without_a_frame_of_the_application_is_its_message() -> None:
    assert describe(ValueError("so")) == "ValueError: so"


@pytest.mark.parametrize("character", ["x", "é", "\N{SNAKE}", "\0"])
def test_however_long_the_error_it_fits_into_a_message(write: Write, character: str) -> None:
    failed = failure(write(f"raise ValueError({character!r} * 300_000 + 'the end')\n"))
    assert failed.text.endswith("the end")
    channel, theirs = Channel.pair()
    with theirs:
        channel.send(failed)
        assert json.loads(theirs.recv(2**20))["text"] == failed.text
    channel.close()
