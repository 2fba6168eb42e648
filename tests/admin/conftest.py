"""A server for all tests of a file that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.admin.visits import Served, serve
from tests.conftest import launching


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two workers, a control socket, an admin address with a token."""
    directory = tmp_path_factory.mktemp("served")
    with launching(directory) as launch:
        yield serve(launch, directory)
