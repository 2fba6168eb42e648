"""The directory of prometheus_client's multiprocess mode: what is deleted in it, and what never is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import multiprocess as theirs

from reuseport.errors import ConfigurationError
from reuseport.launcher.telling.multiprocess import LIVE, VARIABLE, mark_dead, prepare

MODES = ("all", "min", "max", "sum", "mostrecent", *LIVE)
KINDS = ("counter", "summary", "histogram", *(f"gauge_{mode}" for mode in MODES))


def named(directory: Path) -> dict[str, str]:
    return {VARIABLE: str(directory)}


def content(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_the_library_wrote_is_wiped(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / f"{kind}_17.db").touch()
    (tmp_path / "counter_worker_1.db").touch()  # with a name of the application's for the process
    (tmp_path / "README").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "counter_17.db").touch()
    prepare(named(tmp_path), None)
    assert content(tmp_path) == {"README", "below"}
    assert content(tmp_path / "below") == {"counter_17.db"}


@pytest.mark.parametrize(
    "name", ["users.db", "counter.db", "gauge_17.db", "gauge_some_17.db", "counters_1.db"]
)
def test_what_somebody_else_wrote_is_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "counter_17.db").touch()
    (tmp_path / name).touch()
    with pytest.raises(
        ConfigurationError, match=f"holds {name}, .*: name a directory that nothing else uses"
    ):
        prepare(named(tmp_path), None)
    assert content(tmp_path) == {"counter_17.db", name}


def test_a_missing_directory_is_made_but_none_above_it(tmp_path: Path) -> None:
    prepare(named(tmp_path / "figures"), None)
    assert (tmp_path / "figures").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigurationError, match=r"cannot be used: .*No such file or directory; name a dir"):
        prepare(named(tmp_path / "above" / "figures"), None)
    assert not (tmp_path / "above").exists()


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "counter_17.db").mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot be used: .*counter_17\.db: "):
        prepare(named(tmp_path), None)


def test_a_link_leads_to_the_directory(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "counter_1.db").touch()
    (tmp_path / "link").symlink_to(real)
    prepare(named(tmp_path / "link"), None)
    assert content(real) == set()


def test_the_dead_leave_what_they_counted(tmp_path: Path) -> None:
    for kind in KINDS:
        for pid in (17, 117, 1):
            (tmp_path / f"{kind}_{pid}.db").touch()
    before = content(tmp_path)
    mark_dead(named(tmp_path), 17, None)
    assert before - content(tmp_path) == {f"gauge_{kind}_17.db" for kind in LIVE}
    mark_dead(named(tmp_path), 17, None)
    # As the library itself does it.
    theirs.mark_process_dead(117, str(tmp_path))  # type: ignore[no-untyped-call]
    ours = {name.replace("117", "17") for name in before - content(tmp_path) if "117" in name}
    assert ours == {f"gauge_{kind}_17.db" for kind in LIVE}


def test_a_directory_that_has_gone_is_no_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mark_dead(named(tmp_path / "gone"), 17, None)
    assert caplog.text == ""
    (tmp_path / "file").touch()
    mark_dead(named(tmp_path / "file"), 17, None)
    assert "a gauge of pid 17 goes on without it" in caplog.text


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_nobody_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counter_1.db").touch()
    (tmp_path / "gauge_liveall_1.db").touch()
    prepare(environment, None)
    mark_dead(environment, 1, None)
    assert content(tmp_path) == {"counter_1.db", "gauge_liveall_1.db"}


def test_our_own_metrics_leave_no_file_there(tmp_path: Path) -> None:
    """The launcher has the variable, too."""
    code = (
        "from reuseport.admin.metrics import exposition\n"
        "from tests.admin.statuses import status\n"
        "exposition(status())"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], env=named(tmp_path), check=True, cwd=root)
    assert content(tmp_path) == set()


def test_the_library_is_not_imported_for_it(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from reuseport.launcher import launcher\nfrom reuseport.launcher.telling import multiprocess\n"
        "multiprocess.prepare(os.environ, None)\n"
        "multiprocess.mark_dead(os.environ, 1, None)\n"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=named(tmp_path), check=True)
