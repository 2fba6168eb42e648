# requires: flask a2wsgi
"""Flask, by WSGI: forms, files, sessions, streams, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from flask import Flask, Response, request, session

FLAGS = ["--interface", "wsgi"]

app = Flask(__name__)
app.secret_key = "not secret"


@app.post("/form")
def form() -> dict[str, Any]:
    return {"form": dict(request.form), "size": len(request.files["content"].read())}


@app.get("/environ")
def environ() -> dict[str, Any]:
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "HTTP_X_ODD")
    return {name: request.environ.get(name) for name in names}


@app.get("/visits")
def visits() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/stream")
def stream() -> Response:
    def parts() -> Iterator[str]:
        for number in range(5):
            yield f"{number}\n"

    return Response(parts(), mimetype="text/plain")


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.post("/form", data={"a": "b"}, files={"content": b"x" * 100_000}),
            client.get("/environ?a=%20b", headers={"X-Odd": b"\xe9"}),
            client.get("/visits"),
            client.get("/visits"),
            client.get("/stream"),
            client.get("/missing"),
        ]
    return [[answer.status_code, answer.text] for answer in answers]
