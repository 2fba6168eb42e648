"""openapi.json describes the application, all of it and nothing else, and live answers are as it says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import jsonschema
import pytest
from starlette.routing import BaseRoute, Mount, Route, Router

from reuseport.admin.api import OPENAPI
from reuseport.admin.sampler import Sampler
from reuseport.admin.service import Service
from reuseport.history import History, Kind
from reuseport.instance import Instance
from reuseport.settings.table import Settings
from tests.admin.visits import BEARER, Place, Served, Visit, request

DOCUMENT: dict[str, Any] = json.loads(OPENAPI)


class Nothing:
    """As much of an instance as a service needs before anybody visits it."""

    history = History()

    def sample(self) -> dict[str, Any]:
        return {}


@contextmanager
def service() -> Iterator[Service]:
    loop = asyncio.new_event_loop()
    instance = cast(Instance, Nothing())
    sampler = Sampler(loop, instance)
    yield Service(loop, instance, sampler, Settings())
    sampler.end()
    loop.close()


def paths(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of each route, as OpenAPI writes them."""
    for route in routes:
        if isinstance(route, Mount):
            assert isinstance(route.app, Router)
            yield from paths(route.app.routes, prefix + route.path)
        else:
            assert isinstance(route, Route)
            path = prefix + re.sub(r":\w+}", "}", route.path)
            yield from ((method, path) for method in (route.methods or {"ANY"}) - {"HEAD"})


def test_every_route_is_described_and_nothing_else() -> None:
    described = {
        (method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations
    }
    with service() as served:
        there = set(paths(served.app.routes))
    assert there == described


def test_the_document_is_served_as_it_is(served: Served) -> None:
    answer = served.ask("/api/v1/openapi.json")
    assert answer.json == DOCUMENT
    assert answer.headers["content-type"] == "application/json"


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    for reference in re.findall(r'"\$ref": "([^"]+)"', OPENAPI.decode()):
        assert resolve({"$ref": reference})
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_kinds_of_records_are_those_there_are() -> None:
    assert DOCUMENT["components"]["schemas"]["Record"]["properties"]["kind"]["enum"] == list(Kind)


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference means."""
    for name in node["$ref"].removeprefix("#/").split("/") if "$ref" in node else ():
        node = node[name] if name in node else DOCUMENT[name]
    return node


def conforms(content: object, schema: dict[str, Any]) -> None:
    """Raises ValidationError for what is not as described."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(content)


LIVE = [
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/startupz", None),
    ("GET", "/metrics", None),
    ("GET", "/api/v1/openapi.json", None),
    ("GET", "/api/v1/session", None),
    ("GET", "/api/v1/status", None),
    ("GET", "/api/v1/events", None),
    ("GET", "/api/v1/events?after=x", None),
    ("GET", "/api/v1/history", None),
    ("GET", "/page/nothing", None),
    ("POST", "/api/v1/scale", b'{"workers": 2}'),
    ("POST", "/api/v1/scale", b"{}"),
    ("POST", "/api/v1/scale", b" " * 5000),
    ("POST", "/api/v1/scale", b'{"workers": 1000}'),
    ("POST", "/api/v1/slots/7/drain", b""),
    ("POST", "/api/v1/slots/1/restart", b""),
    ("POST", "/api/v1/slots/0/stacks", b""),
    ("POST", "/api/v1/slots/7/stacks", b""),
    ("POST", "/api/v1/reload", b""),
]


def visitors(served: Served) -> Iterator[tuple[Place, dict[str, str]]]:
    """With more and with fewer rights."""
    yield served.control, {}
    yield served.admin, BEARER
    yield served.admin, {}
    yield served.admin, {"Host": "evil"}


@pytest.mark.parametrize(("method", "path", "body"), LIVE)
def test_live_answers_are_as_described(served: Served, method: str, path: str, body: bytes | None) -> None:
    for place, headers in visitors(served):
        answer = served.ask(path, method, headers, body, place=place)
        template = re.sub(r"/slots/\d+/", "/slots/{slot}/", path.partition("?")[0]).replace(
            "/page/nothing", "/page/{name}"
        )
        responses = DOCUMENT["paths"][template][method.lower()]["responses"]
        response = resolve(responses[str(answer.status)])
        kind = answer.headers["content-type"].partition(";")[0]
        if kind == "application/json":
            conforms(answer.json, response["content"][kind]["schema"])
        else:
            assert kind in response["content"]


def test_the_stream_is_as_described(served: Served) -> None:
    with Visit(served.admin) as visit:
        visit.send(request("/api/v1/stream?after=0"))
        _, headers = visit.head()
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        events = visit.events()
        seen = [next(events) for _ in range(5)]
    schemas = {"status": "Status", "record": "Record"}
    for name, _, data in seen:
        conforms(data, {"$ref": f"#/components/schemas/{schemas[name]}"})
    assert {name for name, _, _ in seen} == {"status", "record"}
