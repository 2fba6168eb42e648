"""Facts of real surroundings, and of none."""

from __future__ import annotations

import gc
from pathlib import Path

from reuseport.doctor.facts import Systemd, Unknown
from reuseport.doctor.gathering import gather
from reuseport.doctor.service import span, systemd, units
from reuseport.doctor.telling import JUDGES, judged
from reuseport.settings.table import Settings
from reuseport.worker.pools import pools
from tests.papers import read, rows

SHOWN = """\
Type=notify-reload
ExecStart={ path=/srv/venv/bin/reuseport ; argv[]=/srv/venv/bin/reuseport shop:app ; ignore_errors=no }
TimeoutStopUSec=1min 30s
LimitNOFILE=65536
Id=shop.service

Type=dbus
ExecStart={ path=/usr/bin/dbus-daemon ; argv[]=/usr/bin/dbus-daemon ; ignore_errors=no }
TimeoutStopUSec=infinity
LimitNOFILE=1024
Id=dbus.service
"""


def test_where_nothing_can_be_read_every_line_is_there_and_says_so(tmp_path: Path) -> None:
    facts = gather(Settings(port=0), application=False, root=tmp_path)
    assert all(
        isinstance(each, Unknown) for each in (facts.nested, facts.seccomp, facts.somaxconn, facts.clock)
    )
    assert len(judged(facts)) == len(JUDGES)


def test_units_that_start_reuseport_are_found_in_what_systemctl_prints() -> None:
    (unit,) = units(SHOWN)
    assert (unit.name, unit.type, unit.stop_timeout, unit.open_files) == (
        *("shop.service", "notify-reload", 90.0, 65536),
    )


def test_spans_of_time_are_read_as_systemctl_writes_them() -> None:
    assert [span(text) for text in ("1min 30s", "500ms", "2h", "infinity", "3 parsecs")] == [
        *(90.0, 0.5, 7200.0, None, None)
    ]


def test_without_systemd_there_is_nobody_to_ask(tmp_path: Path) -> None:
    assert systemd(tmp_path) == Systemd(0)


def test_pools_are_found_wherever_an_application_has_made_them(tmp_path: Path) -> None:
    import redis
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    kept = [
        create_engine(f"sqlite:///{tmp_path}/a.db", pool_size=3, max_overflow=4),
        create_engine(f"sqlite:///{tmp_path}/b.db", pool_size=5, max_overflow=-1),
        create_engine(f"sqlite:///{tmp_path}/c.db", poolclass=NullPool),
        redis.ConnectionPool(max_connections=6),
        redis.ConnectionPool(max_connections=100),
    ]
    found = sorted(pools(gc.get_objects()))
    assert found == [("redis ConnectionPool", 6), ("redis ConnectionPool", 100), ("sqlalchemy QueuePool", 7)]
    assert len(kept) == 5


def test_the_manual_has_every_line(tmp_path: Path) -> None:
    facts = gather(Settings(port=0), application=False, root=tmp_path)
    assert [line for line, _ in rows(read("doctor"), "line")] == [line.topic for line in judged(facts)]
