# requires: datasette
"""Datasette: a database in a file, its threads, pages and JSON."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import httpx
from datasette.app import Datasette

place = Path(tempfile.gettempdir()) / "reuseport-shelf.db"
with sqlite3.connect(place) as database:
    database.execute("create table if not exists books (id integer primary key, title text)")
    database.executemany("insert or ignore into books values (?, ?)", [(1, "one"), (2, "two")])
database.close()

app = Datasette([str(place)]).app()


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.get("/reuseport-shelf/books.json?_shape=array"),
            client.get("/reuseport-shelf.json?sql=select+count(*)+as+n+from+books&_shape=array"),
            client.get("/reuseport-shelf/missing.json"),
        ]
        page = client.get("/reuseport-shelf/books")
    return [[answer.status_code, answer.text] for answer in answers], page.status_code, "two" in page.text
