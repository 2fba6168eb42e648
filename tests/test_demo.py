"""The built-in application behind a real server, on a real socket."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.types import Message

from reuseport.demo import app


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[httpx.Client, int]]:
    """A client of the demo under plain uvicorn, and the server's pid.

    The socket listens before the server exists, so the first request simply waits in its queue.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REUSEPORT_")}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "reuseport.demo:app", "--fd", str(fd)]
        server = subprocess.Popen(
            [*command, "--log-level", "warning"], pass_fds=[fd], env=inherited | environment
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client, server.pid
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[httpx.Client, int]]:
    with serving({"REUSEPORT_SLOT": "3", "REUSEPORT_GENERATION": "2"}) as client_and_pid:
        yield client_and_pid


@pytest.fixture
def client(demo: tuple[httpx.Client, int]) -> httpx.Client:
    return demo[0]


def test_hello(client: httpx.Client) -> None:
    response = client.get("/")
    assert (response.status_code, response.text) == (200, "Hello World!")
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("n", "total"),
    [
        ("0", "0"),
        ("1", "1"),
        ("10", "55"),
        ("50000", "1250025000"),
        ("007", "28"),
        ("0" * 5000 + "4", "10"),
    ],
)
def test_final_count(client: httpx.Client, n: str, total: str) -> None:
    response = client.get(f"/api/{n}")
    assert (response.status_code, response.text) == (200, f"Final count is {total}")


@pytest.mark.parametrize(
    "n", ["abc", "-1", "+1", "1.5", "1e3", "1_000", "%20", "٣", "²", "5000000001", "9" * 5000]
)
def test_refuses_what_is_no_n(client: httpx.Client, n: str) -> None:
    response = client.get(f"/api/{n}")
    assert response.status_code == 422
    assert response.text == "n must be a non-negative integer up to 5,000,000,000\n"


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/", "/api/5/", "/api/5/6"])
def test_other_addresses_are_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/3"])
def test_only_get_and_head(client: httpx.Client, path: str) -> None:
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == client.get(path).headers["content-length"]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(method, path).status_code == 405


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/api/3", 200), ("/api/x", 422), ("/nowhere", 404)]
)
def test_every_response_says_who_gave_it(demo: tuple[httpx.Client, int], path: str, status: int) -> None:
    client, pid = demo
    response = client.get(path)
    assert response.status_code == status
    who = {name: value for name, value in response.headers.items() if name.startswith("x-reuseport-")}
    assert who == {
        "x-reuseport-slot": "3",
        "x-reuseport-generation": "2",
        "x-reuseport-pid": str(pid),
    }


def test_outside_of_reuseport_there_is_no_slot() -> None:
    with serving({}) as (client, pid):
        headers = client.get("/").headers
    assert headers["x-reuseport-slot"] == headers["x-reuseport-generation"] == "-"
    assert headers["x-reuseport-pid"] == str(pid)


def test_counting_blocks_the_event_loop() -> None:
    """A short request that arrives just behind a long one gets its answer second: the demonstration."""
    answered: list[str] = []

    async def get(path: str) -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.append(path)

        await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)

    async def both() -> None:
        await asyncio.gather(get("/api/300000"), get("/"))

    asyncio.run(both())
    assert answered == ["/api/300000", "/"]
