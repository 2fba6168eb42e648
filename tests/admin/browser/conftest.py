"""A real Chromium, and pages in it that must not complain."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

import reuseport
from tests.conftest import PATIENCE

ADMIN = Path(reuseport.__file__).parent / "admin"

ARGUMENTS = [
    "--no-sandbox",  # which root in a container cannot have
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Not for the session: while playwright runs, an event loop counts as running in this thread, and the tests of
# other modules run loops of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        reason = "no chromium, which shows the page: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Watch(Protocol):
    """Opens an address; `expected` are complaints of the browser that belong to the test."""

    def __call__(self, url: str, *, expected: str = "(?!)", **context: Any) -> Page: ...


@pytest.fixture
def watch(chromium: Browser) -> Iterator[Watch]:
    """Pages that are looked at: an error in the console or a breach of the security policy fails the test."""
    contexts = []
    complaints: list[str] = []

    def opened(url: str, *, expected: str = "(?!)", **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)

        def complain(text: str) -> None:
            if not re.search(expected, text):
                complaints.append(text)

        def listen(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                complain(f"console: {message.text}")

        page.on("console", listen)
        page.on("pageerror", lambda error: complain(f"script: {error}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Standard error is the tests'."""


@pytest.fixture(scope="module")
def modules(chromium: Browser) -> Iterator[Page]:
    """A page from which the modules can be imported: `modules.evaluate("import('/page/words.js')…")`."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(ADMIN))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/page/words.js")
    yield page
    context.close()
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()
