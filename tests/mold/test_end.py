"""What a mold leaves when the launcher has no more need of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from reuseport.agreement import AGREEMENT
from tests.conftest import PATIENCE

MOLD = "import sys; from reuseport.mold.__main__ import main; sys.exit(main())"


def test_it_closes_what_it_was_given() -> None:
    """Or development mode would tell the operator of it with each reload."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends = ["--agreement", AGREEMENT, "--channel", str(theirs.fileno()), "--launcher", str(os.getpid())]
    with theirs:
        mold = subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", MOLD, *ends],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
    ours.close()
    _, said = mold.communicate(timeout=PATIENCE)
    assert (mold.returncode, said) == (0, "")
