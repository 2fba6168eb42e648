"""The API against its own description: requests as it allows them and as it does not, made by schemathesis.

Always the same ones, so that what fails here fails again. The stream, which has no end, and stop, which has
one, are left out; both have tests of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from reuseport.admin.api import OPENAPI
from tests.admin.visits import BEARER, Served, serve
from tests.conftest import launching

EXAMPLES = 12
"""For each operation."""

SCHEMA = schemathesis.openapi.from_dict(json.loads(OPENAPI)).exclude(path_regex="/(stream|stop)$")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Nobody else's."""
    directory = tmp_path_factory.mktemp("fuzzed")
    with launching(directory) as launch:
        served = serve(launch, directory)
        yield served
        assert served.ask("/api/v1/status").status == 200
        assert not [line for line in served.server.lines if "Traceback" in line]


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_of_every_shape(case: schemathesis.Case[Any], fuzzed: Served) -> None:
    host, port = fuzzed.admin
    case.call_and_validate(base_url=f"http://{host}:{port}", headers=BEARER, checks=CHECKS, timeout=30)
