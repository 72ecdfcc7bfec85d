"""Our messages are the vendor's: each has all fields of the SDK's of that name, with the same numbers and types. And
each field that a configuration may have is in a table.
"""

from pathlib import Path
from typing import Any

import pytest
from google.cloud.speech_v1.types import cloud_speech as sdk_v1
from google.cloud.speech_v1.types import cloud_speech_adaptation as sdk_adaptation
from google.cloud.speech_v2.types import cloud_speech as sdk_v2
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2, status_pb2

from antiphon.surfaces.google import messages, v1, v2

KEPT = ("Recognizers", "PhraseSets", "CustomClasses")
SDK: list[Any] = [
    *(
        getattr(sdk, name).pb().DESCRIPTOR
        for sdk in (sdk_v1, sdk_v2)
        for name in ("StreamingRecognizeRequest", "StreamingRecognizeResponse", "RecognizeRequest", "RecognizeResponse")
    ),
    *(
        getattr(sdk_v2, name).pb().DESCRIPTOR
        for name in (
            *("BatchRecognizeResponse", "OperationMetadata"),
            *(f"List{what}{part}" for what in KEPT for part in ("Request", "Response")),
        )
    ),
    *(getattr(sdk_adaptation, name).pb().DESCRIPTOR for name in sdk_adaptation.__all__),
    *(getattr(sdk_v1, f"LongRunningRecognize{name}").pb().DESCRIPTOR for name in ("Request", "Response", "Metadata")),
    *(
        message
        for message in operations_pb2.DESCRIPTOR.message_types_by_name.values()
        if message.name != "OperationInfo"
    ),
    status_pb2.Status.DESCRIPTOR,
    *(getattr(error_details_pb2, name).DESCRIPTOR for name in ("ErrorInfo", "RetryInfo", "BadRequest")),
]


def shape(field: Any) -> tuple[Any, ...]:
    kind = field.message_type or field.enum_type
    group = field.containing_oneof
    return (
        *(field.name, field.number, field.type, field.is_repeated, field.has_presence),
        kind.full_name if kind else None,
        group.name if group else None,
        {value.name: value.number for value in field.enum_type.values} if field.enum_type else None,
    )


def reached(roots: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type]
    return found


def test_all_that_can_be_sent_is_known() -> None:
    theirs = reached(SDK)
    assert len(theirs) > 50
    for name, message in theirs.items():
        ours = messages.pool().FindMessageTypeByName(name)
        assert [shape(field) for field in _by_number(ours)] == [shape(field) for field in _by_number(message)], name


def _by_number(message: Any) -> list[Any]:
    return sorted(message.fields, key=lambda field: field.number)


def paths(message: Any, table: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for field in message.fields:
        path = f"{prefix}{field.name}"
        nested = field.message_type is not None and path not in table and any(row.startswith(path) for row in table)
        found += paths(field.message_type, table, f"{path}.") if nested else [path]
    return found


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("google.cloud.speech.v2.RecognitionConfig", v2.TABLE),
        ("google.cloud.speech.v2.StreamingRecognitionFeatures", v2.STREAMING),
        ("google.cloud.speech.v1.RecognitionConfig", v1.TABLE),
        ("google.cloud.speech.v1.StreamingRecognitionConfig", v1.STREAMING),
    ],
)
def test_every_field_is_in_a_table(name: str, table: dict[str, Any]) -> None:
    found = paths(messages.pool().FindMessageTypeByName(name), table)
    assert set(found) - {"config"} == set(table)


def test_the_page_has_every_row() -> None:
    page = (Path(__file__).parents[3] / "docs" / "surfaces" / "google.md").read_text()
    for table in (v2.TABLE, v2.STREAMING, v1.TABLE, v1.STREAMING):
        for row in table.values():
            assert f"| `{row.path}` | {row.use.value} | {row.how} |" in page
