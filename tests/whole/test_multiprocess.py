"""An application that counts with prometheus_client in several processes, over deaths, reload and restart."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.conftest import Launch, Launched
from tests.whole.clients import client
from tests.whole.lines import wait_until
from tests.whole.reachable import reachable

QUIET = ("counting:app", "--workers", "2", "--no-access-log")


def figures(asking: httpx.Client, server: Launched) -> dict[str, float]:
    """Of all workers together."""
    text = asking.get(f"{server.url}/metrics").text
    return {sample.name: sample.value for family in parse(text) for sample in family.samples}


def files(directory: Path, kind: str) -> set[int]:
    """The pids of a kind of metric."""
    return {int(path.stem.removeprefix(f"{kind}_")) for path in directory.glob(f"{kind}_*.db")}


def test_a_dead_worker_is_no_longer_alive_and_what_it_counted_stays(launch: Launch, tmp_path: Path) -> None:
    directory = tmp_path / "figures"
    server = launch(*QUIET, env={"PROMETHEUS_MULTIPROC_DIR": str(directory)}).ready(2)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    before = server.workers()
    with client() as asking:
        for _ in range(40):
            asking.get(server.url)
        assert figures(asking, server) == {"asked_total": 40, "alive": 2, "ever": 2}
        assert files(directory, "gauge_livesum") == set(before.values())
        os.kill(before[1], signal.SIGKILL)
        server.wait_for("slot 1 is ready")
        now = server.workers()
        assert figures(asking, server) == {"asked_total": 40, "alive": 2, "ever": 3}
        assert files(directory, "gauge_livesum") == set(now.values())
        assert before[1] in files(directory, "counter")
        server.signal(signal.SIGHUP)
        server.wait_for("reload: generation 2 serves in every slot")
        wait_until(lambda: files(directory, "gauge_livesum") == set(server.workers().values()))
        assert figures(asking, server) == {"asked_total": 40, "alive": 2, "ever": 5}
    assert server.stop() == 0
    assert files(directory, "gauge_livesum") == set()
    # The next one begins at nothing.
    server = launch(*QUIET, env={"PROMETHEUS_MULTIPROC_DIR": str(directory)}).ready(2)
    with client() as asking:
        asking.get(server.url)
        assert figures(asking, server) == {"asked_total": 1, "alive": 2, "ever": 2}
    assert server.stop() == 0


def test_a_start_that_is_refused_leaves_the_figures_alone(launch: Launch, tmp_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "figures")}
    server = launch(*QUIET, env=environment).ready(2)
    with client() as asking:
        asking.get(server.url)
        assert launch(*QUIET, "--port", str(server.port), env=environment).wait() == 2
        assert figures(asking, server) == {"asked_total": 1, "alive": 2, "ever": 2}
    assert server.stop() == 0


def test_without_the_variable_nothing_is_touched(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "counter_1.db"
    file.touch()
    server = launch("plain:app", env={"PROMETHEUS_MULTIPROC_DIR": ""}).ready(1)
    assert server.stop() == 0
    assert file.exists()


def test_a_directory_that_cannot_be_had(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    server = launch(*QUIET, env={"PROMETHEUS_MULTIPROC_DIR": str(file)})
    assert server.wait() == 2
    server.wait_for(f"PROMETHEUS_MULTIPROC_DIR {file} cannot be used: .*; name a directory that workers")
    assert not server.count("Traceback")


# ── another user ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory that others can enter: pytest's own are ours alone."""
    path = Path(tempfile.mkdtemp(prefix="reuseport-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_the_directory_becomes_the_workers_own(launch: Launch, shared_path: Path) -> None:
    directory = shared_path / "figures"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    server = launch(*QUIET, "--user", "nobody", env=environment, wrapper=reachable()).ready(2)
    made = directory.stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (65534, 65534, 0o700)
    with client() as asking:
        asking.get(server.url)
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for("slot 0 is ready")
        assert figures(asking, server) == {"asked_total": 1, "alive": 2, "ever": 3}
    assert server.stop() == 0


def test_a_directory_that_is_closed_to_the_user(launch: Launch, shared_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(shared_path)}
    server = launch(*QUIET, "--user", "nobody", env=environment, wrapper=reachable())
    assert server.wait() == 2
    server.wait_for(rf"nobody .* may not write PROMETHEUS_MULTIPROC_DIR {shared_path}: let that user")


def test_a_directory_that_leads_elsewhere_has_nothing_of_others_removed(
    launch: Launch, shared_path: Path
) -> None:
    """Its owner has put a link in its place: to files that only we could remove."""
    others = shared_path / "others"
    others.mkdir()
    (others / "counter_1.db").touch()
    (others / "gauge_livesum_1.db").touch()
    (shared_path / "figures").symlink_to(others)
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(shared_path / "figures")}
    server = launch(*QUIET, "--user", "nobody", env=environment, wrapper=reachable())
    assert server.wait() == 2
    server.wait_for("nobody .* may not write PROMETHEUS_MULTIPROC_DIR .*: let that user")
    assert len(list(others.iterdir())) == 2


def test_a_directory_that_comes_to_lead_elsewhere(launch: Launch, shared_path: Path) -> None:
    directory, others = shared_path / "figures", shared_path / "others"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    server = launch(*QUIET, "--user", "nobody", env=environment, wrapper=reachable()).ready(2)
    doomed = server.workers()[0]
    directory.rename(shared_path / "away")
    others.mkdir()
    others.chmod(0o1777)  # all may make files there, and remove their own
    gauge = others / f"gauge_livesum_{doomed}.db"
    gauge.touch()
    directory.symlink_to(others)
    os.kill(doomed, signal.SIGKILL)
    server.wait_for(f"a gauge of pid {doomed} goes on without it: .*Operation not permitted")
    assert gauge.exists()
    assert server.stop() == 0
