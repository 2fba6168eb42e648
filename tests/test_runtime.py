"""Where control sockets lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import UNIX_PATH_BYTES
from reuseport.runtime import control_socket, directories, directory


def test_the_named_one_is_made_and_is_ours_alone(tmp_path: Path) -> None:
    named = tmp_path / "named"
    assert directory({"REUSEPORT_RUNTIME_DIR": str(named)}) == named
    assert named.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("variable", ["REUSEPORT_RUNTIME_DIR", "RUNTIME_DIRECTORY"])
def test_one_that_is_named_and_cannot_be_used_is_not_passed_over(tmp_path: Path, variable: str) -> None:
    environment = {variable: str(tmp_path / "missing" / "named")}
    with pytest.raises(ConfigurationError, match=r"named: No such file or directory.* give --control PATH"):
        directory(environment)


def test_one_that_leaves_no_room_for_a_sockets_name_cannot_be_used(tmp_path: Path) -> None:
    room = UNIX_PATH_BYTES - len(os.fsencode(tmp_path)) - len("/")
    longest = tmp_path / ("x" * (room - len("/4194304.sock")))
    assert directory({"REUSEPORT_RUNTIME_DIR": str(longest)}) == longest
    assert len(os.fsencode(control_socket(longest, 4194304))) == UNIX_PATH_BYTES
    with pytest.raises(ConfigurationError, match="too long"):
        directory({"REUSEPORT_RUNTIME_DIR": f"{longest}x"})


def test_others_are_tried_one_after_the_other(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path / "missing")}
    assert directory(environment) in directories(environment)


def test_one_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(ConfigurationError, match="others may write there"):
        directory({"REUSEPORT_RUNTIME_DIR": str(open_to_all)})
