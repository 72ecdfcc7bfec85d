"""The messages of Google's API and of its errors.

They have the vendor's names and numbers (`protos/`) in a descriptor pool of their own: in the default pool they would
conflict with the vendor's SDK in the same process. They are loaded at first use.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from antiphon.core.errors import CallerError

_DESCRIPTORS = Path(__file__).parent / "messages.binpb"
RPC = "google.rpc"
TYPES = "type.googleapis.com/"


@cache
def pool() -> Any:
    """Return the descriptors, services included. Needs the package `protobuf`."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    made = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
        made.Add(file)
    return made


@cache
def kind(name: str) -> Any:
    """Return the class of the messages of that full name."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def read(name: str, data: bytes) -> Any:
    """Return the message decoded from the wire format. Raises `CallerError`."""
    from google.protobuf.message import DecodeError

    try:
        return kind(name).FromString(data)
    except DecodeError:
        raise CallerError("The message cannot be parsed.") from None


def read_json(name: str, data: bytes) -> Any:
    """Return the message decoded from JSON; unknown fields are ignored. Raises `CallerError`."""
    from google.protobuf import json_format

    try:
        return json_format.Parse(data, kind(name)(), ignore_unknown_fields=True, descriptor_pool=pool())
    except (json_format.ParseError, ValueError, RecursionError):
        raise CallerError("Invalid JSON payload received.") from None


def write_json(message: Any, *, numbers: bool = False) -> bytes:
    """Return the message as JSON, with enums as numbers if requested."""
    from google.protobuf import json_format

    text = json_format.MessageToJson(message, use_integers_for_enums=numbers, descriptor_pool=pool(), indent=None)
    encoded: bytes = text.encode()
    return encoded


def converted(message: Any, name: str, fields: Iterable[str]) -> Any:
    """Return a message of that full name with these fields of another one, whose types are the same on the wire."""
    made = kind(name)()
    for field in fields:
        value, described = getattr(message, field), made.DESCRIPTOR.fields_by_name[field]
        if described.message_type is None and not described.is_repeated:
            setattr(made, field, value)
        elif described.message_type is None or described.message_type.GetOptions().map_entry:
            getattr(made, field).MergeFrom(value)
        elif described.is_repeated:
            for each in value:
                getattr(made, field).add().MergeFromString(each.SerializeToString())
        elif message.HasField(field):
            getattr(made, field).MergeFromString(value.SerializeToString())
            getattr(made, field).SetInParent()
    return made


def duration(ms: int) -> Any:
    seconds, rest = divmod(ms, 1000)
    return kind("google.protobuf.Duration")(seconds=seconds, nanos=rest * 1_000_000)


def milliseconds(duration: Any) -> int:
    seconds: int = duration.seconds
    nanos: int = duration.nanos
    return seconds * 1000 + nanos // 1_000_000


def packed(message: Any) -> Any:
    """Return the message in an `Any`."""
    return kind("google.protobuf.Any")(type_url=TYPES + message.DESCRIPTOR.full_name, value=message.SerializeToString())
