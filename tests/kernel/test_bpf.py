"""bpf(2): maps, refusals and their reasons, one owner for each descriptor."""

import contextlib
import errno
import mmap
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from reuseport.errors import HostError
from reuseport.kernel import bpf
from reuseport.kernel.assembler import Assembler, Op, Register
from reuseport.kernel.steering import cookie
from tests.kernel.conftest import Run
from tests.kernel.steered import skip_without_maps

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def allowed() -> None:
    skip_without_maps()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


@pytest.mark.usefixtures("allowed")
def test_an_array_is_mapped_as_one_piece_of_zeros() -> None:
    with contextlib.closing(bpf.Map.array("state", 3, 8)) as state:
        with mmap.mmap(state.fd, 24) as view:
            assert view[:] == bytes(24)
            view[16:24] = struct.pack("=Q", 7)
            assert [state.get(key) for key in range(3)] == [0, 0, 7]
            state.put(1, 1 << 63)
            assert view[8:16] == struct.pack("=Q", 1 << 63)
        assert not os.get_inheritable(state.fd)


@pytest.mark.usefixtures("allowed")
def test_closing_twice_closes_nobody_elses_descriptor() -> None:
    state = bpf.Map.array("state", 1, 8)
    number = state.fd
    state.close()
    other = os.open("/dev/null", os.O_RDONLY)
    assert other == number
    state.close()
    os.close(other)


@pytest.mark.usefixtures("allowed")
def test_a_sockarray_knows_its_sockets_by_cookie(listener: socket.socket) -> None:
    with contextlib.closing(bpf.Map.sockarray("listeners", 2)) as sockets:
        assert sockets.get(1) is None
        sockets.put(1, listener.fileno())
        assert sockets.get(1) == cookie(listener)
        with pytest.raises(OSError, match="busy") as refusal:
            sockets.put(0, listener.fileno())
        assert refusal.value.errno == errno.EBUSY
        sockets.delete(1)
        sockets.delete(1)
        assert sockets.get(1) is None


@pytest.mark.usefixtures("allowed")
def test_a_refused_program_shows_the_verifiers_one_useful_line() -> None:
    asm = Assembler()
    asm.exit()
    with pytest.raises(HostError, match=r"program: R0 !read_ok; .*--balance hash"):
        bpf.Program.load("refused", asm.assemble())


@pytest.mark.usefixtures("allowed")
def test_an_accepted_program_counts_its_runs(listener: socket.socket) -> None:
    asm = Assembler()
    asm.compute(Op.MOVE, Register.R0, 1)
    asm.exit()
    with contextlib.closing(bpf.Program.load("passes", asm.assemble())) as program:
        program.attach(listener)
        try:
            with bpf.statistics_on():
                before = program.statistics()
                socket.create_connection(listener.getsockname()).close()
                after = program.statistics()
        except PermissionError:
            pytest.skip("not supported: statistics need CAP_SYS_ADMIN")
        assert before == bpf.Statistics(0, 0)
        assert after.runs >= 1
        assert after.nanoseconds > 0


ACCOUNTING = """\
processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
verification time 40 usec
stack depth 16
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        (ACCOUNTING, ""),
        (f"0: R1=ctx() R10=fp0\n0: (95) exit\nR0 !read_ok\n{ACCOUNTING}", "R0 !read_ok"),
        (
            f"infinite loop detected at insn 9\ncur state: R0=1\nold state: R0=1\n{ACCOUNTING}",
            "infinite loop detected at insn 9",
        ),
        ("math between map_value pointer and register\n\n", "math between map_value pointer and register"),
    ],
)
def test_the_reason_is_the_last_line_that_is_one(log: str, line: str) -> None:
    assert bpf.reason(log) == line


CREATE = """
from reuseport.kernel import bpf
{before}
try:
    bpf.Map.sockarray("listeners", 1)
except ReuseportError as error:
    print(type(error).__name__, error)
else:
    print("no refusal")
"""


@pytest.mark.usefixtures("as_root")
def test_without_the_capability_the_message_names_it(run: Run) -> None:
    _, said = run(CREATE.format(before="become(65534)"))
    assert said.startswith("HostError steering needs the capability CAP_BPF")
    assert "AmbientCapabilities=CAP_BPF" in said


def test_root_of_a_user_namespace_is_told_so(own_user_namespace: Callable[[str], str]) -> None:
    said = own_user_namespace(CREATE.format(before=""))
    assert said.startswith("HostError steering needs the capability CAP_BPF outside of user namespaces")


@pytest.fixture
def own_user_namespace(run: Run) -> Callable[[str], str]:
    command = ("unshare", "--user", "--map-root-user")
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("user namespaces are not supported here")
    return lambda source: run(source, command=command)[1]


# personality(2) with PER_LINUX32 makes uname(2) say i686 on x86_64.
def test_an_unknown_machine_is_refused_by_name(run: Run) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("not supported: only x86_64 can pass for another machine everywhere")
    _, said = run(CREATE.format(before=""), command=("setarch", "i686"))
    assert said.startswith("HostError steering is not supported on i686; use a 64-bit Python on x86_64")
