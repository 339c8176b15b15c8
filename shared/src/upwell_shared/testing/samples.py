"""An event of a class with every field filled, made from its types: what a golden file is written from."""

from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

T = TypeVar("T")

_SAMPLES: dict[type, object] = {
    bool: True,
    int: 2,
    float: 2.5,
    str: "sample",
    UUID: UUID("0b5f2d6e-7f0a-4c53-9d0e-3a1f5c9b7e21"),
    datetime: datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
    date: date(2026, 3, 2),
    timedelta: timedelta(minutes=45),
}


def sample(kind: type[T]) -> T:
    """The same value for the same class each time: no field is None or empty where it need not be.

    Raises TypeError for a type it has no sample of; give `check_golden_files` an example of such a class.
    """
    value: T = _of(kind)
    return value


def _of(kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _of(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin in (Union, UnionType):
        return _of(next(each for each in arguments if each is not NoneType))
    if origin in (tuple, list, set, frozenset):
        return origin([_of(arguments[0])])
    if origin is dict:
        return {_of(arguments[0]): _of(arguments[1])}
    # A NewType stands for the type it was made of.
    kind = getattr(kind, "__supertype__", kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{field.name: _of(hints[field.name]) for field in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if kind in _SAMPLES:
        return _SAMPLES[kind]
    raise TypeError(f"no sample of {kind!r}: give an example")
