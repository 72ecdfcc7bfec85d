"""Whatever comes in, a call ends with a status or goes on; nothing else is raised."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Closed, Opened
from antiphon.core.jobs import NewJob
from antiphon.core.resources import Resource
from antiphon.core.routing import LookupRow
from antiphon.core.wire import HALF_CLOSED, Opening
from antiphon.routes import GRPC_ROUTES, JOB_KINDS, ROUTES
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.batch import BatchRecognize, LongRunningRecognize
from antiphon.surfaces.google.dialect import V1, V2, Dialect
from antiphon.surfaces.google.families import RECOGNIZERS
from antiphon.surfaces.google.live import StreamingRecognize
from antiphon.surfaces.google.recognise import V1_REST, V2_REST, Recognize
from antiphon.surfaces.google.recognizer import RECOGNIZER
from antiphon.surfaces.google.status import Code
from antiphon.surfaces.google.stored import Update

NAME = "projects/p/locations/global/recognizers/_"
CONFIGS: dict[str, dict[str, Any]] = {
    "v2": {"recognizer": NAME, "streaming_config": {"config": {"auto_decoding_config": {}}}},
    "v1": {"streaming_config": {"config": {"language_code": "en-US"}}},
}
OPENING = Opening("POST", f"/v2/{NAME}:recognize", request_id="8c8ebea9-dbec-45fa-a035-e4632cb05b5f")
BOTH = pytest.mark.parametrize("dialect", [V1, V2], ids=["v1", "v2"])
DAMAGE = st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=4)), max_size=4)


def damaged(data: bytes, damage: list[tuple[int, bytes]]) -> bytes:
    for at, put in damage:
        data = data[:at] + put + data[at + 1 :]
    return data


def first(dialect: Dialect) -> bytes:
    fields = CONFIGS["v1" if dialect.first else "v2"]
    data: bytes = messages.kind(dialect.name("StreamingRecognizeRequest"))(**fields).SerializeToString()
    return data


def asked(endpoint: Any, body: bytes) -> Accepted[Any] | None:
    """What was accepted; a refusal can be told."""
    refused: AntiphonError
    try:
        accepted: Accepted[Any] = endpoint.negotiate(OPENING, body)
    except AntiphonError as error:
        refused = error
    else:
        return accepted
    assert endpoint.refuse(OPENING, refused).close is not None
    return None


@BOTH
@given(DAMAGE, st.binary(max_size=64))
def test_first_messages(dialect: Dialect, damage: list[tuple[int, bytes]], raw: bytes) -> None:
    endpoint = StreamingRecognize(dialect)
    for body in (raw, damaged(first(dialect), damage)):
        accepted = asked(endpoint, body)
        if isinstance(accepted, Accepted):  # else it names a recognizer
            assert accepted.surface.emit(Opened("m"), 0) is not None


@BOTH
@given(st.lists(st.one_of(st.binary(max_size=64), st.builds(lambda a: b"\x2a\x04abcd" + a, st.binary(max_size=3)))))
def test_messages_of_a_stream(dialect: Dialect, sent: list[bytes]) -> None:
    accepted = StreamingRecognize(dialect).negotiate(OPENING, first(dialect))
    assert isinstance(accepted, Accepted)
    surface: Any = accepted.surface
    surface.receive(first(dialect), 0)
    surface.emit(Opened("m"), 0)
    for now_ns, message in enumerate((*sent, HALF_CLOSED)):
        step = surface.receive(message, now_ns)
        if step.close is not None:
            assert step.close.code == Code.INVALID_ARGUMENT
            return
    end = surface.emit(Closed(1, 1, ""), 1).close
    assert end is not None
    assert end.code == Code.OK


@BOTH
@given(DAMAGE, st.binary(max_size=64))
def test_recordings(dialect: Dialect, damage: list[tuple[int, bytes]], raw: bytes) -> None:
    config = b'{"languageCode": "en-US", "autoDecodingConfig": {}}'
    shown = b'{"config": ' + config + b', "content": "YWJj", "audio": {"content": "YWJj"}}'
    for rest, body in ((V1_REST[1] if dialect.first else V2_REST[1], shown), (None, first(dialect))):
        asked(Recognize(dialect, rest=rest), damaged(body, damage))
        asked(Recognize(dialect, rest=rest), raw)


def test_what_is_nested_deeply_is_refused() -> None:
    assert asked(Recognize(V2, rest=V2_REST[1]), b'{"config":' * 100_000) is None
    assert asked(Recognize(V2, rest=V2_REST[1]), b"[" * 100_000) is None


PATHS = st.text("abcdefglmnorstu_.*", max_size=24) | st.sampled_from(
    ["features", "features.enable_word_confidence.x", "language_codes.x", "adaptation.phrase_sets.phrase_set", "."]
)


@given(st.lists(PATHS, max_size=4), st.booleans())
def test_masks(paths: list[str], over_rest: bool) -> None:
    """Whatever a mask names, a call is answered or refused."""
    mask = {"paths": paths}
    config = {"auto_decoding_config": {}, "language_codes": ["en-US"], "adaptation": {"phrase_sets": [{}]}}
    request = messages.kind(V2.name("RecognizeRequest"))
    body = request(recognizer=NAME, config=config, config_mask=mask, content=b"abc").SerializeToString()
    asked(Recognize(V2), body)
    stored = Resource("x", messages.kind(RECOGNIZER)(default_recognition_config=config).SerializeToString())
    update = messages.kind(f"{V2.package}.UpdateRecognizerRequest")
    message = update(recognizer={"name": NAME.replace("_", "mine"), "default_recognition_config": config})
    message.update_mask.paths.extend(paths)
    with suppress(AntiphonError):
        Update(RECOGNIZERS).ask(OPENING, message.SerializeToString()).change(stored, 1)


LOOKUPS = [row for row in (*ROUTES, *GRPC_ROUTES) if isinstance(row, LookupRow) and row.surface == "google"]


@given(st.sampled_from(LOOKUPS), st.binary(max_size=64), st.lists(st.tuples(st.text(max_size=12), st.text(max_size=8))))
def test_questions(row: Any, body: bytes, query: list[tuple[str, str]]) -> None:
    known = [(name, value) for name in ("pageSize", "updateMask", "filter", "validateOnly") for _, value in query]
    path = re.sub(r"{[^}]*}", "x-1", row.path)
    opening = Opening("POST", path, (*query, *known), request_id=OPENING.request_id)
    refused: AntiphonError | None = None
    try:
        row.endpoint.ask(opening, body)
    except AntiphonError as error:
        refused = error
    assert refused is None or row.endpoint.refuse(opening, refused).close is not None


@given(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=4)), max_size=4))
def test_batches(damage: list[tuple[int, bytes]]) -> None:
    for name, fields, endpoint in (
        (V2.name("BatchRecognizeRequest"), {"recognizer": NAME, "files": [{"uri": "https://x"}]}, BatchRecognize()),
        (V1.name("LongRunningRecognizeRequest"), {"audio": {"uri": "https://x"}}, LongRunningRecognize()),
    ):
        config = {"language_code": "en"} if endpoint.first else {"auto_decoding_config": {}}
        body = damaged(messages.kind(name)(config=config, **fields).SerializeToString(), damage)
        try:
            question = endpoint.ask(OPENING, body)
        except AntiphonError:
            continue
        if isinstance(question, NewJob):
            kind = JOB_KINDS[question.kind]
            for line in question.data.splitlines():
                assert kind.item(line).body
                assert kind.answered(line, "s", 200, b"").endswith(b"\n")
