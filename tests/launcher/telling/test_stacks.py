"""What a worker's dump of its stacks says in a few words, whatever it has written there."""

from __future__ import annotations

import faulthandler
import threading
from pathlib import Path

import pytest

from reuseport.launcher.telling.stacks import innermost


def test_the_innermost_frame_of_the_main_thread(tmp_path: Path) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    with (tmp_path / "stacks").open("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        stacks = file.read()
    over.set()
    thread.join()
    assert stacks.count("most recent call first") >= 2, "this process may have more threads than ours"
    assert innermost(stacks).startswith("test_the_innermost_frame_of_the_main_thread (")
    assert "test_stacks.py:" in innermost(stacks)


@pytest.mark.parametrize(
    ("stacks", "words"),
    [
        ("", ""),
        ("Current thread 0x1 (most recent call first):\n  <no Python frame>\n", ""),
        ('(most recent call first):\n  File "a\x1b[2Jb.py", line 1 in f\u202e\n', "f? (a?[2Jb.py:1)"),
        (f'(most recent call first):\n  File "{"x" * 300}.py", line 2 in g\n', f"g ({'x' * 97}.py:2)"),
        (f'(most recent call first):\n  File "a.py", line {"9" * 5000} in g\n', ""),
        ("x" * 2**20, ""),
    ],
    ids=["nothing", "no frame", "control characters", "a long name", "a long number", "no dump"],
)
def test_whatever_is_written_there_it_is_one_short_line(stacks: str, words: str) -> None:
    assert innermost(stacks) == words
