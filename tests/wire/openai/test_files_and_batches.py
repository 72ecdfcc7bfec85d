"""Batches and their lines, against the SDK's own types."""

import json

import msgspec
import pytest
from openai.types.batch import Batch
from openai.types.file_object import FileObject

from antiphon.core import jobs
from antiphon.core.errors import CallerError, InternalError, NotFound
from antiphon.core.identity import Scope
from antiphon.core.jobs import Blob, Job, JobState, LineSubject
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import Body, Opening, Url
from antiphon.surfaces.openai import batch_lines, files
from antiphon.surfaces.openai.batch_lines import KIND, BatchKind
from antiphon.surfaces.openai.batches import CancelBatch, CreateBatch, ListBatches, RetrieveBatch, batch
from antiphon.surfaces.openai.transcriptions import Transcriptions
from sdk_shapes import check

CHAT = "/v1/chat/completions"
REQUEST = json.dumps({"endpoint": CHAT, "metadata": {"a": "b"}}).encode()
UUID = "0f0f0f0f-0000-4000-8000-000000000001"
OPENING = Opening("POST", "/v1/batches", request_id=UUID)


def job(state, **values):
    return Job(
        **{
            "project": "acme",
            "id": "batch_1",
            "kind": KIND,
            "key_id": "k",
            "scopes": frozenset({Scope.GENERATE}),
            "request": REQUEST,
            "input": "file-1",
            "output": "file-o",
            "errors": "",
            "created_unix_ms": 1000,
            "deadline_unix_ms": 9000,
            "ends_unix_ms": 99_000,
            "state": state,
        }
        | values
    )


@pytest.mark.parametrize(
    ("shown", "status", "at"),
    [
        (job(JobState.QUEUED), "validating", {}),
        (job(JobState.RUNNING), "validating", {}),
        (job(JobState.RUNNING, begun_unix_ms=2000), "in_progress", {"in_progress_at": 2}),
        (job(JobState.RUNNING, begun_unix_ms=2000, cancel_unix_ms=3000), "cancelling", {"cancelling_at": 3}),
        (job(JobState.DONE, over_unix_ms=4000), "completed", {"completed_at": 4, "finalizing_at": 4}),
        (job(JobState.FAILED, over_unix_ms=4000), "failed", {"failed_at": 4}),
        (job(JobState.EXPIRED, over_unix_ms=4000), "expired", {"expired_at": 4}),
        (job(JobState.CANCELLED, cancel_unix_ms=3000, over_unix_ms=4000), "cancelled", {"cancelled_at": 4}),
    ],
)
def test_every_state_is_shown_as_openai_has_it(shown, status, at):
    told = json.loads(msgspec.json.encode(batch(shown)))
    check(told, Batch)
    assert (told["status"], told["expires_at"], told["metadata"]) == (status, 9, {"a": "b"})
    assert {name: told[name] for name in at} == at
    assert told["output_file_id"] == ("file-o" if shown.over else None)
    assert told["error_file_id"] is None


def checked(*lines):
    checker = BatchKind().checker(REQUEST)
    for number, line in enumerate(lines):
        checker.read(number, line if isinstance(line, bytes) else json.dumps(line).encode())
    found = checker.finish()
    return found, [(e["line"], e["code"], e["param"]) for e in json.loads(found.result)["errors"]]


LINE = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "m"}}


def test_an_input_is_checked_line_by_line():
    found, errors = checked(LINE, {**LINE, "custom_id": "b", "body": {"model": "m", "stream": True}})
    assert (found.total, found.sound, errors) == (2, True, [])
    assert json.loads(found.result)["model"] == "m"
    assert json.loads(checked(LINE, {**LINE, "custom_id": "b", "body": {}})[0].result)["model"] == ""
    _, errors = checked(
        LINE,
        LINE,
        {**LINE, "custom_id": ""},
        {**LINE, "custom_id": "c", "method": "GET"},
        {**LINE, "custom_id": "d", "url": "/v1/embeddings"},
        {**LINE, "custom_id": "e", "body": [1]},
        {"custom_id": "f"},
        b"[]",
        b"{",
        b"\xff",
    )
    assert errors == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_request", "custom_id"),
        (4, "invalid_request", "method"),
        (5, "mismatched_endpoint", "url"),
        (6, "invalid_request", "body"),
        (7, "invalid_request", "method"),
        (8, "invalid_json_line", None),
        (9, "invalid_json_line", None),
        (10, "invalid_json_line", None),
    ]


def test_a_body_that_is_no_text_concerns_its_line_alone():
    """It is a line's own fault, which the endpoint reports."""
    begin = json.dumps(LINE | {"body": 0}).encode().removesuffix(b"0}")
    line = begin + b'{"model":"\xff"}}'
    found, errors = checked(line)
    assert (found.sound, errors) == (True, [])
    call = BatchKind().item(line)
    assert (call.path, call.body, call.model) == (CHAT, b'{"model":"\xff"}', "")


def test_what_is_told_of_an_input_is_bounded(monkeypatch):
    monkeypatch.setattr(batch_lines, "MAX_ERRORS", 3)
    assert len(checked(*[b"{"] * 9)[1]) == 3
    monkeypatch.setattr(batch_lines, "MAX_LINES", 2)
    found, errors = checked(*({**LINE, "custom_id": f"r{n}"} for n in range(3)))
    assert (found.sound, errors) == (False, [(None, "too_many_requests", None)])
    assert checked()[1] == [(None, "empty_file", None)]


def test_a_line_is_one_call_and_one_answer():
    kind, line = BatchKind(), json.dumps({**LINE, "body": {"model": "m", "n": 1}}).encode()
    call = kind.item(line)
    assert (call.path, json.loads(call.body), call.model, call.refusal) == (CHAT, {"model": "m", "n": 1}, "m", None)
    for name in ("stream", "background"):
        for value in (True, "True"):
            refusal = kind.item(json.dumps({**LINE, "body": {name: value}}).encode()).refusal
            assert refusal is not None
            assert refusal.param == name
        assert kind.item(json.dumps({**LINE, "body": {name: "false"}}).encode()).refusal is None
    assert kind.item(json.dumps({**LINE, "body": {"model": 7}}).encode()).model == ""
    assert json.loads(kind.answered(line, UUID, 200, b'{"x":1}')) == {
        "id": "batch_req_0f0f0f0f000040008000000000000001",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": UUID, "body": {"x": 1}},
        "error": None,
    }
    for why, code in ((JobState.CANCELLED, "batch_cancelled"), (JobState.EXPIRED, "batch_expired")):
        told = json.loads(kind.unanswered(line, UUID, why))
        assert (told["response"], told["error"]["code"]) == (None, code)
    told = json.loads(kind.failure(InternalError("why")))["errors"]
    assert [(each["code"], each["message"]) for each in told] == [("internal_error", "why")]


def test_a_line_of_a_recording_names_an_uploaded_file_or_an_address():
    kind = BatchKind()
    body = {"model": "whisper-1", "language": "en", "timestamp_granularities": ["word"], "response_format": "srt"}

    def item(**more):
        line = {**LINE, "url": "/v1/audio/transcriptions", "body": body | more}
        return kind.item(json.dumps(line).encode())

    def asked(call, data=b"RIFF"):
        sent = Body(data, ((jobs.REQUEST, call.body.decode()),)) if call.file else call.body
        return Transcriptions().negotiate(OPENING, sent)

    uploaded, remote = item(file="file-1"), item(url="https://example.com/a.wav")
    assert (uploaded.file, remote.file, uploaded.model) == ("file-1", "", "whisper-1")
    assert asked(uploaded).media == b"RIFF"
    assert asked(remote).media == Url("https://example.com/a.wav")
    assert asked(uploaded).spec == asked(remote).spec == TranscribeSpec(model="whisper-1", language="en")
    assert item(stream=True, file="file-1").refusal is not None
    assert item(stream="false", file="file-1").file == "file-1"
    spec = asked(item(file="file-1", chunking_strategy={"type": "server_vad", "silence_duration_ms": 400})).spec
    assert spec.endpointing_ms == 400
    nulls = {"url": None, "prompt": None, "chunking_strategy": {"type": "server_vad", "threshold": None}}
    assert asked(item(file="file-1", **nulls)).spec == asked(uploaded).spec
    for call, data, param in (
        (item(), b"", "file"),
        (item(file=7), b"", "file"),
        (item(url=7), b"", "url"),
        (item(file="file-1", url="https://example.com/a.wav"), b"RIFF", "url"),
        (item(file="file-1"), b"", "file"),
        (item(file="file-1", temperature="hot"), b"RIFF", "temperature"),
        (item(file="file-1", colour="red"), b"RIFF", "colour"),
        (item(file="file-1", keywords=[None]), b"RIFF", "keywords"),
        (item(file="file-1", keywords=[{"a": 1}]), b"RIFF", "keywords"),
        (item(file="file-1", languages=["de"]), b"RIFF", "languages[]"),
    ):
        with pytest.raises(CallerError) as refused:
            asked(call, data)
        assert refused.value.param == param
    line = json.dumps({**LINE, "url": "/v1/audio/transcriptions"}).encode()
    assert json.loads(kind.answered(line, UUID, 200, b"1\n00:00"))["response"]["body"] == "1\n00:00"
    for text in ("{inaudible} Hello.\n", "{", "7"):
        assert json.loads(kind.answered(line, UUID, 200, text.encode()))["response"]["body"] == text


def test_a_batch_is_asked_for_and_refused_in_openais_words():
    body = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}
    asked = CreateBatch().ask(OPENING, json.dumps(body).encode())
    assert (asked.input, asked.input_purpose, asked.window_s, asked.output_s) == ("file-1", "batch", 86_400, 0)
    assert len({asked.id, asked.output, asked.errors}) == 3
    refused = CreateBatch().refuse(OPENING, CallerError("No such File object.", param="input"))
    assert json.loads(refused.body)["error"]["param"] == "input_file_id"
    path = Opening("POST", "/openai/v1/batches/batch_1/cancel", (("api-version", "v1"),), request_id=UUID)
    assert CancelBatch().ask(path, b"").id == "batch_1"
    assert RetrieveBatch().refuse(path, NotFound("x")).status == 404
    with pytest.raises(CallerError, match="completed"):
        CancelBatch().ask(path, b"").tell(job(JobState.DONE))
    for query in ((("limit", "0"),), (("limit", "101"),), (("limit", "x"),), (("order", "asc"),)):
        with pytest.raises(CallerError):
            ListBatches().ask(Opening("GET", "/v1/batches", query), b"")


def test_a_file_is_what_the_sdk_types_and_a_form_what_it_sends():
    blob = Blob(id="file-1", name="a", purpose="batch", created_unix_ms=1000, ends_unix_ms=2000, size_bytes=3)
    check(json.loads(msgspec.json.encode(files.file_object(blob))), FileObject)
    form = (("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600"))
    asked = files.CreateFile().ask(OPENING, Body(b"x", form, "in.jsonl", has_file=True))
    assert (asked.name, asked.data, asked.keep_s) == ("in.jsonl", b"x", 3600)
    for fields, data, param in (
        ((), b"x", "purpose"),
        ((("purpose", "vision"),), b"x", "purpose"),
        ((("purpose", "batch"),), b"", "file"),
        ((("purpose", "batch"), ("more", "1")), b"x", "more"),
        (form[:2], b"x", "expires_after.seconds"),
        ((form[0], form[2]), b"x", "expires_after.anchor"),
    ):
        with pytest.raises(CallerError) as refused:
            files.CreateFile().ask(OPENING, Body(data, fields, "a", has_file=True))
        assert refused.value.param == param


@pytest.mark.parametrize(
    ("body", "subject"),
    [
        ('{"metadata": {"subject": "a"}, "safety_identifier": "b", "user": "c"}', "a"),
        ('{"metadata": {"other": "a"}, "safety_identifier": "b", "user": "c"}', "b"),
        ('{"metadata": [], "safety_identifier": "", "user": "c"}', "c"),
        ('{"metadata": {"subject": 1}, "user": {}}', ""),
        ("{}", ""),
    ],
)
def test_a_line_says_whom_it_is_about_as_a_live_request_does(body, subject):
    kind = BatchKind()
    assert kind.about(f'{{"custom_id": "r1", "body": {body}}}'.encode()) == LineSubject(subject, "r1")
    assert kind.about(b'{"custom_id": 1, "body": []}') is None


def test_an_erased_line_is_no_error_of_its_batch_and_has_no_custom_id():
    kind, erased = BatchKind(), b"{}      "
    assert kind.about(erased) == LineSubject(erased=True)
    for line, sound in ((erased, True), (b"{}", False)):
        checker = kind.checker(b'{"endpoint": "/v1/responses"}')
        checker.read(0, line)
        assert (checked := checker.finish()).sound is sound
        assert checked.total == 1
    for why, code in ((JobState.CANCELLED, "batch_cancelled"), (JobState.FAILED, "request_erased")):
        told = json.loads(kind.unanswered(erased, "s", why))
        assert (told["custom_id"], told["response"], told["error"]["code"]) == ("", None, code)
