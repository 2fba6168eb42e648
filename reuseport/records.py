"""Plain data as dataclasses have it, without compiling anything: some hundred classes, for which all wait.

dataclasses.dataclass writes the methods of each class as text and has it compiled: 0.3 ms and 11 KiB for one
that is frozen and has slots, of which launcher and mold import a hundred before there is a worker. Here
dataclasses finds the fields, so `fields`, `replace` and `asdict` know them; all classes share the same few
functions: 0.03 ms and 3 KiB. To make one takes two microseconds longer: that is for what is said and settled,
and not for what is made with every request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["record"]

if TYPE_CHECKING:
    # To who checks types it is just this.
    from dataclasses import dataclass as record
else:
    _Kind = TypeVar("_Kind", bound=type)

    def record(*, frozen: bool, slots: bool = False, kw_only: bool = False) -> Callable[[_Kind], _Kind]:
        """As `dataclass`; frozen, for there is no other kind."""
        if not frozen:
            raise TypeError("what changes is a dataclass")

        def made(kind: _Kind) -> _Kind:
            if kind.__doc__ is None:
                # It would be a signature, which takes longer than all the rest.
                kind.__doc__ = kind.__qualname__
            kind = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(kind)
            if not all(field.init for field in dataclasses.fields(kind)):
                raise TypeError("a field that is not given is a dataclass's")
            for name, method in _METHODS.items():
                if name not in vars(kind):
                    setattr(kind, name, method)
            return kind

        return made


_set = object.__setattr__


def _init(self: Any, /, *given: Any, **named: Any) -> None:
    kind = type(self)
    if len(given) > len(kind.__match_args__):
        raise TypeError(f"{kind.__qualname__} has fewer fields than {len(given)}")
    for name, value in zip(kind.__match_args__, given, strict=False):
        if name in named:
            raise TypeError(f"{kind.__qualname__}: {name} is given twice")
        named[name] = value
    for name, field in kind.__dataclass_fields__.items():
        if name in named:
            value = named.pop(name)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise TypeError(f"{kind.__qualname__}: {name} is missing")
        _set(self, name, value)
    if named:
        raise TypeError(f"{kind.__qualname__} has no {', '.join(named)}")
    if hasattr(kind, "__post_init__"):
        self.__post_init__()


def _values(one: Any) -> tuple[Any, ...]:
    return tuple([getattr(one, name) for name in one.__dataclass_fields__])


def _repr(self: Any) -> str:
    fields = self.__dataclass_fields__.values()
    shown = [f"{field.name}={getattr(self, field.name)!r}" for field in fields if field.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, *_: object) -> None:
    raise dataclasses.FrozenInstanceError(f"{type(self).__qualname__}: {name} stays as it is")


_METHODS = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}
