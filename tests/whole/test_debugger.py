"""A debugger in a worker, on the terminal that the launcher was started on."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path

import httpx

from tests.conftest import PATIENCE
from tests.whole.clients import environment
from tests.whole.lines import wait_until
from tests.whole.terminal import Terminal

SOURCE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    breakpoint()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"went on"})
"""


def test_breakpoint_asks_on_the_terminal_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SOURCE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "reuseport", "shop:app", "--reload", "--port", str(port)]
    terminal = Terminal([*command, "--app-dir", str(tmp_path)], environment())
    try:
        wait_until(lambda: "workers are ready" in terminal.written, lambda: terminal.written)
        got: list[str] = []
        asking = threading.Thread(
            target=lambda: got.append(httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).text)
        )
        asking.start()
        wait_until(lambda: "(Pdb)" in terminal.written, lambda: terminal.written)
        terminal.type("c\n")
        asking.join(PATIENCE)
        assert got == ["went on"], terminal.written
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait() == 0
    finally:
        terminal.close()
