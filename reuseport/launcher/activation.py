"""Socket activation: which of the service manager's listeners is for which address, slot or everybody. Pure.

Several with one address are a reuseport group, one a slot. A single one, and every unix socket, is shared by
all workers, as `fd://` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import Address, DescriptorAddress, Endpoint, TCPAddress, UnixAddress, resolve
from reuseport.kernel.inherited import Inherited
from reuseport.records import record


@record(frozen=True)
class Group:
    """Listeners of one address: the first is slot 0's, and so on."""

    endpoint: Endpoint
    members: tuple[Inherited, ...]


@record(frozen=True)
class Activation:
    """`left` are addresses that we bind ourselves; `groups` all have as many members."""

    left: tuple[Address, ...]
    groups: tuple[Group, ...] = ()
    shared: tuple[Inherited, ...] = ()

    @property
    def slots(self) -> int:
        """How many slots have listeners of the manager's; 0: none of their own."""
        return len(self.groups[0].members) if self.groups else 0

    def sentences(self) -> Iterator[str]:
        """What the log says of it."""
        for group in self.groups:
            many = f"{len(group.members)} listeners of {group.endpoint}"
            yield f"the service manager passes {many}: one for each slot"
        for each in self.shared:
            more = "; ReusePort=yes and ListenStream= once for each worker give each its own"
            yield f"the service manager passes {each}: all workers share it{more if each.endpoint else ''}"


def divided(inherited: Sequence[Inherited], addresses: Sequence[Address], *, named: bool) -> Activation:
    """Who gets what. `named`: the operator has said where to listen, and must have meant each of them.

    Raises ConfigurationError when the numbers or the addresses do not fit.
    """
    if not inherited:
        return Activation(tuple(addresses))
    left, alone = _left(inherited, addresses) if named else ((), ())
    groups: list[Group] = []
    shared: list[Inherited] = []
    for endpoint, members in _by_endpoint(inherited):
        if endpoint is None or len(members) == 1 or set(members) & set(alone):
            shared += members
        elif all(member.shares for member in members):
            groups.append(Group(endpoint, tuple(members)))
        else:
            raise ConfigurationError(f"several listeners of {endpoint} without ReusePort=yes: pass one")
    if len({len(group.members) for group in groups}) > 1:
        numbers = " and ".join(f"{len(group.members)} of {group.endpoint}" for group in groups)
        raise ConfigurationError(
            f"the service manager passes {numbers}: pass as many of each, for each slot has one of each"
        )
    return Activation(left, tuple(groups), tuple(shared))


def workers_for(slots: int, asked: int | Literal["auto"]) -> int | Literal["auto"]:
    """How many workers there are to be with listeners for so many slots. Raises ConfigurationError.

    1 is what everybody has who says nothing, so it is not taken for a wish.
    """
    if not slots or asked in ("auto", 1, slots):
        return slots or asked
    raise ConfigurationError(
        f"--workers {asked}, and the service manager passes {slots} listeners of one address: one without a"
        f" worker would have clients wait for ever; pass {asked}, or leave --workers out"
    )


def _by_endpoint(inherited: Iterable[Inherited]) -> Iterator[tuple[Endpoint | None, list[Inherited]]]:
    found: dict[Endpoint, list[Inherited]] = {}
    for each in inherited:
        if each.endpoint is None:
            yield None, [each]
        else:
            found.setdefault(each.endpoint, []).append(each)
    yield from found.items()


def _left(
    inherited: Sequence[Inherited], addresses: Sequence[Address]
) -> tuple[tuple[Address, ...], tuple[Inherited, ...]]:
    """Addresses that nobody has opened for us; and listeners that were asked for by their number."""
    meant: list[Inherited] = []
    alone: list[Inherited] = []
    left: list[Address] = []
    for address in addresses:
        mine = [each for each in inherited if _means(address, each)]
        if isinstance(address, DescriptorAddress):
            alone += mine
        meant += mine
        if not mine:
            left.append(address)
        elif isinstance(address, TCPAddress):
            _refuse_half(address, mine)
    for each in inherited:
        if each not in meant:
            raise ConfigurationError(
                f"the service manager passes {each}, and --bind does not name it: add it there, or take it"
                " out of the socket unit"
            )
    return tuple(left), tuple(alone)


def _means(address: Address, each: Inherited) -> bool:
    match address:
        case DescriptorAddress(fd):
            return fd == each.fd
        case UnixAddress(path):
            return path == each.path
        case TCPAddress():
            return each.endpoint is not None and each.endpoint in resolve(address)


def _refuse_half(address: TCPAddress, mine: Sequence[Inherited]) -> None:
    passed = {each.endpoint for each in mine}
    for endpoint in resolve(address):
        if endpoint not in passed:
            raise ConfigurationError(
                f"the service manager does not pass {endpoint}, which is {address}, too: name each address by"
                " its number"
            )
