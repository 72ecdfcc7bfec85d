"""Vendors' own types, taken strictly: what a server says is checked against the models of the vendor's SDK.

The SDKs themselves are lenient: a missing field is `None`, an unknown value of an enumeration passes as text, an
unknown field is kept. Here a required field must be there, a value be one of those that the vendor names, and a field
be one that it has, except where `beside` says that the vendor sends what its types do not name.
"""

import datetime
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

UNIONS = (typing.Union, types.UnionType)


def check(kind: Any, value: Any, beside: Collection[str] = ()) -> None:
    """Raises `AssertionError` that says what is wrong and where."""
    faults = list(_faults(kind, value, getattr(kind, "__name__", str(kind)), frozenset(beside)))
    assert not faults, "\n".join(faults)


def _faults(kind: Any, value: Any, path: str, beside: frozenset[str]) -> Iterator[str]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Annotated or hasattr(kind, "__metadata__"):
        yield from _faults(args[0], value, path, beside)
    elif origin in UNIONS:
        yield from _of_union(args, value, path, beside)
    elif origin is typing.Literal:
        if value not in args:
            yield f"{path}: {value!r} is none of {args}"
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from _of_model(kind, value, path, beside)
    elif origin in (list, tuple, Collection) or (isinstance(origin, type) and issubclass(origin, typing.Sequence)):
        if not isinstance(value, list | tuple):
            yield f"{path}: {value!r} is no list"
        else:
            for place, each in enumerate(value):
                yield from _faults(args[0] if args else Any, each, f"{path}[{place}]", beside)
    elif origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no object"
        else:
            for name, each in value.items():
                yield from _faults(args[1] if args else Any, each, f"{path}.{name}", beside)
    elif not _fits(kind, value):
        yield f"{path}: {value!r} is no {getattr(kind, '__name__', kind)}"


def _of_union(args: tuple[Any, ...], value: Any, path: str, beside: frozenset[str]) -> Iterator[str]:
    """One must fit. `Any` beside others is how generated SDKs let unknown values pass; here it does not count."""
    named = [arg for arg in args if arg is not Any]
    if all(arg is type(None) for arg in named):
        return
    found = [list(_faults(arg, value, path, beside)) for arg in named]
    if all(found):
        yield from min(found, key=len)


def _of_model(kind: type[BaseModel], value: Any, path: str, beside: frozenset[str]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    fields = {written_name(name, field): field for name, field in kind.model_fields.items()}
    for name, field in fields.items():
        if name not in value:
            if field.is_required():
                yield f"{path}.{name}: missing"
        elif value[name] is not None or field.is_required():
            yield from _faults(field.annotation, value[name], f"{path}.{name}", beside)
    for name in value:
        if name not in fields and name not in beside:
            yield f"{path}.{name}: the vendor has no such field"


def written_name(name: str, field: FieldInfo) -> str:
    """As the field is written in JSON."""
    aliases = [getattr(each, "alias", None) for each in field.metadata]
    return field.serialization_alias or field.alias or next((alias for alias in aliases if alias), name)


def _fits(kind: Any, value: Any) -> bool:
    if kind is Any or isinstance(kind, typing.TypeVar):
        return True
    if kind in (None, type(None)):
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is datetime.datetime:
        return isinstance(value, str | datetime.datetime)
    return isinstance(value, kind) if isinstance(kind, type) else True
