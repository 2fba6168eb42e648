"""bpf(2) through ctypes: the maps and the one program type that steering needs.

Numbers and layouts are from include/uapi/linux/bpf.h. Nothing a user would have to install or compile: the
context of this program type is stable kernel interface, so neither libbpf nor BTF has anything to add.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

from reuseport.errors import HostError
from reuseport.records import record

# Where the kernel put bpf(2) on each machine (arch/*/kernel/syscalls, include/uapi/asm-generic/unistd.h).
_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351}

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _PROGRAM_LOAD = 0, 1, 2, 3, 5
_INFORMATION, _ENABLE_STATISTICS = 15, 32

_ARRAY, _SOCKARRAY = 2, 20
_MMAPABLE = 1 << 10
_SK_REUSEPORT = 21
# With this attach type the program is also asked where to migrate to, whatever net.ipv4.tcp_migrate_req says
# (net/core/sock_reuseport.c, reuseport_migrate_sock). Linux 5.14.
_SELECT_OR_MIGRATE = 40

# SO_ATTACH_REUSEPORT_EBPF of asm-generic/socket.h, which all machines of _SYSCALLS use.
_ATTACH = 52

# The members of union bpf_attr that each command reads; the kernel takes what is missing as zero.
_MAP = struct.Struct("=5I8x16s4x")  # type, key size, value size, entries, flags, name
_ELEMENT = struct.Struct("=I4xQQQ")  # map, key, value, flags
_PROGRAM = struct.Struct("=IIQQIIQ8x16s4xI")  # type, slots, code, license, log level, size, log, name, attach
_QUERY = struct.Struct("=IIQ")  # descriptor, length, information
_KIND = struct.Struct("=I")

# struct bpf_prog_info: run_time_ns and run_cnt at 192, since Linux 5.1.
_RUNS = struct.Struct("=192xQQ")

_LICENSE = b"MIT"  # No helper that steering calls is reserved for the GPL.

# No CAP_BPF, a user namespace (whose capabilities do not count here), a seccomp filter, or lockdown.
FORBIDDEN = frozenset({errno.EPERM})

# ENOTSUPP: the kernel's own number (include/linux/errno.h), which was never to leave it and does.
ENOTSUPP = 524

# The kernel has no bpf(2) (CONFIG_BPF_SYSCALL), or does not know the type, a flag or a field.
ABSENT = frozenset({errno.ENOSYS, errno.EINVAL, errno.E2BIG, ENOTSUPP})

# What the verifier and the compiler behind it answer for a program they do not accept.
REFUSED = frozenset({errno.EACCES, errno.EINVAL, errno.E2BIG, errno.EFAULT, errno.ERANGE, ENOTSUPP})

# The verifier looks for signals while it works, and asks to be called again.
INTERRUPTED = frozenset({errno.EINTR, errno.EAGAIN})
ATTEMPTS = 5

_LOG_BYTES = 4 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Descriptor:
    """A descriptor with one owner, who closes it. Not inheritable: the kernel gives O_CLOEXEC itself."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Let go. A second time does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Map(Descriptor):
    """A map whose keys are 4 bytes and whose values, seen through `put` and `get`, are 8."""

    @classmethod
    def array(cls, name: str, entries: int, value_bytes: int) -> Map:
        """Elements of zeros that programs look up and processes mmap(2), one after the other.

        Raises HostError where we may not or the kernel cannot, OSError at a limit.
        """
        return cls(_create_map(_ARRAY, value_bytes, entries, _MMAPABLE, name))

    @classmethod
    def sockarray(cls, name: str, entries: int) -> Map:
        """Listening sockets by number. Raises as `array` does."""
        # Values of 8 bytes, because then a look-up gives the socket's cookie; with 4 it is refused
        # (kernel/bpf/reuseport_array.c, bpf_fd_reuseport_array_lookup_elem).
        return cls(_create_map(_SOCKARRAY, 8, entries, 0, name))

    def put(self, key: int, value: int) -> None:
        """Set an element; in a sockarray the value is the socket's descriptor. Raises OSError (bpf(2))."""
        number = ctypes.c_uint64(value)
        self._element(_MAP_UPDATE, key, ctypes.addressof(number))

    def get(self, key: int) -> int | None:
        """An element, or None if there is none; in a sockarray the socket's cookie. Raises OSError."""
        number = ctypes.c_uint64()
        try:
            self._element(_MAP_LOOKUP, key, ctypes.addressof(number))
        except FileNotFoundError:
            return None
        return number.value

    def delete(self, key: int) -> None:
        """Empty an element, also an empty one. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._element(_MAP_DELETE, key, 0)

    def _element(self, command: int, key: int, value_address: int) -> None:
        number = ctypes.c_uint32(key)
        _bpf(command, _ELEMENT.pack(self.fd, ctypes.addressof(number), value_address, 0))


@record(frozen=True)
class Statistics:
    """How often a program ran and for how long in sum, nanoseconds, while statistics were on."""

    runs: int
    nanoseconds: int


class Program(Descriptor):
    """A loaded program. The kernel keeps it for as long as a group uses it, also when we are gone."""

    @classmethod
    def load(cls, name: str, code: bytes) -> Program:
        """Have the kernel check and compile it.

        Raises HostError where we may not, or with the verifier's reason; OSError at a limit.
        """
        try:
            return cls(_load(name, code))
        except OSError as error:
            if error.errno in FORBIDDEN | {errno.ENOSYS}:
                raise _unavailable(error) from error
            if error.errno not in REFUSED:
                raise
            raise HostError(
                "this kernel does not accept the steering program:"
                f" {_complaint(name, code) or error.strerror};"
                " it needs Linux 5.14 or later; use --balance hash, and report this if the kernel is newer"
            ) from error

    def attach(self, listener: socket.socket) -> None:
        """Let it choose for the listener's whole group. Raises OSError.

        Before listen(2) the kernel agrees and does nothing: the caller must have a listening socket.
        """
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH, self.fd)

    def statistics(self) -> Statistics:
        """What it cost so far; zeros unless statistics are or were on. Raises OSError."""
        information = ctypes.create_string_buffer(_RUNS.size)
        _bpf(_INFORMATION, _QUERY.pack(self.fd, _RUNS.size, ctypes.addressof(information)))
        nanoseconds, runs = _RUNS.unpack(information.raw)
        return Statistics(runs, nanoseconds)


@contextlib.contextmanager
def statistics_on() -> Iterator[None]:
    """Have the kernel time every program, about 20 ns a run. Ends with the block, or with this process.

    That is why it is not sysctl kernel.bpf_stats_enabled, which would stay on after a crash. Needs
    CAP_SYS_ADMIN; raises OSError without.
    """
    switch = Descriptor(_bpf(_ENABLE_STATISTICS, _KIND.pack(0)))
    try:
        yield
    finally:
        switch.close()


def _create_map(kind: int, value_bytes: int, entries: int, flags: int, name: str) -> int:
    try:
        return _bpf(_MAP_CREATE, _MAP.pack(kind, 4, value_bytes, entries, flags, name.encode("ascii")))
    except OSError as error:
        if error.errno in FORBIDDEN | ABSENT:
            raise _unavailable(error) from error
        raise


def _load(name: str, code: bytes, log: ctypes.Array[ctypes.c_char] | None = None) -> int:
    program = ctypes.create_string_buffer(code, len(code))
    license_name = ctypes.create_string_buffer(_LICENSE)
    level, size, address = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
    attributes = _PROGRAM.pack(
        *(_SK_REUSEPORT, len(code) // 8, ctypes.addressof(program), ctypes.addressof(license_name)),
        *(level, size, address, name.encode("ascii"), _SELECT_OR_MIGRATE),
    )
    return _bpf(_PROGRAM_LOAD, attributes)


def _complaint(name: str, code: bytes) -> str:
    """Load once more, for the verifier's reason; empty if it never came so far."""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    # ENOSPC for a longer log: since Linux 6.4 the buffer then holds the log's end, which is what we want.
    with contextlib.suppress(OSError):
        os.close(_load(name, code, log))
    return reason(log.value.decode(errors="replace"))


def reason(log: str) -> str:
    """The one useful line of a verifier's log: the last that is not about states and times."""
    accounting = ("processed ", "verification time", "stack depth", "mark_precise", "cur state", "old state")
    lines = [line.strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith(accounting)), "")


def _unavailable(error: OSError) -> HostError:
    if error.errno in FORBIDDEN:
        return HostError(
            "steering needs the capability CAP_BPF outside of user namespaces: AmbientCapabilities=CAP_BPF"
            " (systemd), --cap-add BPF (Docker), capabilities.add: [BPF] (Kubernetes)"
        )
    return HostError(
        f"steering is not supported by this kernel ({error.strerror}); it needs Linux 5.14 or later"
        " with CONFIG_BPF_SYSCALL"
    )


def _bpf(command: int, attributes: bytes) -> int:
    """The system call: the descriptor it gives, or 0. Raises OSError, HostError on an unknown machine."""
    number = _number()
    union = ctypes.create_string_buffer(attributes, len(attributes))
    for _ in range(ATTEMPTS):
        result: int = _libc.syscall(
            *(ctypes.c_long(number), ctypes.c_long(command)),
            *(ctypes.c_void_p(ctypes.addressof(union)), ctypes.c_long(len(attributes))),
        )
        if result >= 0:
            return result
        code = ctypes.get_errno()
        if code not in INTERRUPTED:
            break
    raise OSError(code, "Operation not supported by the kernel" if code == ENOTSUPP else os.strerror(code))


def _number() -> int:
    machine = os.uname().machine
    # A 32-bit Python on a 64-bit kernel has other numbers and other pointers.
    if machine not in _SYSCALLS or sys.maxsize < 1 << 32:
        raise HostError(
            f"steering is not supported on {machine}; use a 64-bit Python on {', '.join(_SYSCALLS)},"
            " or --balance hash"
        )
    return _SYSCALLS[machine]
