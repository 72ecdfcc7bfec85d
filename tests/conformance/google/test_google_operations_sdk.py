"""Batches, operations and recognizers by Google's official SDK, unmodified, on the real server and models."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.api_core import exceptions
from google.cloud import speech_v1, speech_v2
from google.cloud.speech_v1.services.adaptation.transports import AdaptationGrpcTransport
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as TransportV1
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport, SpeechGrpcTransport
from google.longrunning import operations_pb2
from google.protobuf import field_mask_pb2
from google_requests import GOOGLE_MODELS, NAME, Key, config_v2, free_port, speech_v2_requests

from antiphon.core.identity import DEFAULT_PROJECT
from antiphon.core.usage import UsageQuery
from antiphon.models import Store
from antiphon.stores import open_stores
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control
from serving import API_KEY, start

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
PARENT = NAME.rpartition("/recognizers/")[0]
SAID, BECKETT_MS = "ever tried", 9963
INLINE = speech_v2.RecognitionOutputConfig(
    inline_response_config={}, output_format_config={"native": {}, "vtt": {}, "srt": {}}
)
DONE_S = 60


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, google: Any, channel: grpc.Channel) -> speech_v2.SpeechClient:
    return second(google, channel, request.param)


def second(google: Any, channel: grpc.Channel, how: str) -> speech_v2.SpeechClient:
    if how == "rest":
        return speech_v2.SpeechClient(transport="rest", client_options={"api_endpoint": google.url, "api_key": API_KEY})
    return speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=grpc.intercept_channel(channel, Key(API_KEY))))


def batch(*uris: str, **more: Any) -> speech_v2.BatchRecognizeRequest:
    files = [speech_v2.BatchRecognizeFileMetadata(uri=uri) for uri in uris]
    given = {"recognizer": NAME, "config": config_v2(auto=True), "recognition_output_config": INLINE}
    return speech_v2.BatchRecognizeRequest(files=files, **given | more)


def text_of(results: Any) -> str:
    return " ".join(result.alternatives[0].transcript.strip() for result in results).lower()


def test_what_a_projects_policy_hides_is_in_no_answer(google: Any, channel: grpc.Channel, recording: str, pcm: bytes):
    """Google has no parameter for it. A stream, a recording, and a batch with its captions."""
    bearer = {"authorization": f"Bearer {API_KEY}"}
    with httpx.Client(base_url=f"{google.url}/admin/v1", headers=bearer, timeout=60) as admin:
        project = {"id": "discreet", "redact": "phone", "redact_words": "ever tried"}
        assert admin.post("/projects", json=project).status_code == 201
        key = admin.post("/keys", json={"project": "discreet"}).json()["key"]
    transport = SpeechGrpcTransport(channel=grpc.intercept_channel(channel, Key(key)))
    client = speech_v2.SpeechClient(transport=transport)
    heard = list(client.streaming_recognize(requests=speech_v2_requests(pcm, pace_s=0.02)))
    whole = client.recognize(speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(), content=pcm))
    batched = client.batch_recognize(request=batch(recording)).result(timeout=DONE_S)
    assert any(not result.is_final for response in heard for result in response.results)
    for said in (heard, whole, batched):
        assert "tried" not in str(said).lower()
        assert "[CUSTOM]" in str(said)
        assert "failed" in str(said).lower()


def test_phrase_sets_and_classes(client: speech_v2.SpeechClient, pcm: bytes):
    people = speech_v2.CustomClass(items=[{"value": "Vladimir"}])
    people = client.create_custom_class(parent=PARENT, custom_class=people).result(timeout=DONE_S)
    names = speech_v2.PhraseSet(phrases=[{"value": f"dear ${{{people.name}}}", "boost": 3}], display_name="Names")
    names = client.create_phrase_set(parent=PARENT, phrase_set=names).result(timeout=DONE_S)
    assert names in list(client.list_phrase_sets(parent=PARENT))
    assert client.get_custom_class(name=people.name) == people
    config = config_v2()
    config.adaptation = {"phrase_sets": [{"phrase_set": names.name}]}
    heard = client.recognize(speech_v2.RecognizeRequest(recognizer=NAME, config=config, content=pcm))
    assert SAID in text_of(heard.results)
    names.display_name = "Others"
    mask = field_mask_pb2.FieldMask(paths=["display_name"])
    assert client.update_phrase_set(phrase_set=names, update_mask=mask).result(timeout=DONE_S).display_name == "Others"
    for delete, one in ((client.delete_phrase_set, names), (client.delete_custom_class, people)):
        assert delete(name=one.name).result(timeout=DONE_S).state == one.State.DELETED
    with pytest.raises(exceptions.NotFound):
        client.recognize(speech_v2.RecognizeRequest(recognizer=NAME, config=config, content=pcm))


@pytest.mark.parametrize("how", ["grpc", "rest"])
def test_phrase_sets_and_classes_of_v1(google: Any, channel: grpc.Channel, pcm: bytes, recording: str, how: str):
    """With those of v2 beside them, which are the same."""
    if how == "rest":
        options: Any = {"transport": "rest", "client_options": {"api_endpoint": google.url, "api_key": API_KEY}}
        client = speech_v1.AdaptationClient(**options)
        speech = speech_v1.SpeechClient(**options)
    else:
        keyed = grpc.intercept_channel(channel, Key(API_KEY))
        client = speech_v1.AdaptationClient(transport=AdaptationGrpcTransport(channel=keyed))
        speech = speech_v1.SpeechClient(transport=TransportV1(channel=keyed))
    people = client.create_custom_class(
        parent=PARENT, custom_class_id=f"people-{how}", custom_class={"items": [{"value": "Vladimir"}]}
    )
    assert people.custom_class_id == f"people-{how}"
    names = client.create_phrase_set(
        parent=PARENT,
        phrase_set_id=f"names-{how}",
        phrase_set={"phrases": [{"value": f"dear ${{{people.name}}}"}, {"value": f"my ${{people-{how}}}"}], "boost": 3},
    )
    assert client.get_phrase_set(name=names.name) == names
    assert names in list(client.list_phrase_set(request={"parent": PARENT, "page_size": 1}))
    assert people in list(client.list_custom_classes(parent=PARENT))
    with pytest.raises(exceptions.Conflict):
        client.create_phrase_set(parent=PARENT, phrase_set_id=f"names-{how}", phrase_set={})
    people.items.append({"value": "Estragon"})
    mask = field_mask_pb2.FieldMask(paths=["items"])
    assert len(client.update_custom_class(custom_class=people, update_mask=mask).items) == 2
    assert second(google, channel, how).get_phrase_set(name=names.name).phrases[0].value == names.phrases[0].value
    config = {"encoding": "LINEAR16", "sample_rate_hertz": 16_000, "language_code": "en-US"}
    config |= {"adaptation": {"phrase_set_references": [names.name]}}
    assert SAID in text_of(speech.recognize(config=config, audio={"content": pcm}).results)
    long = speech.long_running_recognize(config=config | {"encoding": 0}, audio={"uri": recording})
    assert SAID in text_of(long.result(timeout=DONE_S).results)
    client.delete_phrase_set(name=names.name)
    client.delete_custom_class(name=people.name)
    with pytest.raises(exceptions.NotFound):
        client.get_custom_class(name=people.name)
    with pytest.raises(exceptions.NotFound):
        speech.recognize(config=config, audio={"content": pcm})


def test_a_batch(client: speech_v2.SpeechClient, recording: str):
    missing = recording.replace("http://", "gs://")
    operation = client.batch_recognize(request=batch(recording, missing))
    response = operation.result(timeout=DONE_S)
    result = response.results[recording]
    assert SAID in text_of(result.inline_result.transcript.results)
    assert SAID in text_of(result.transcript.results)
    assert result.inline_result.vtt_captions.startswith("WEBVTT")
    assert result.inline_result.srt_captions.startswith("1\n")
    assert response.total_billed_duration.total_seconds() * 1000 == pytest.approx(BECKETT_MS)
    assert response.results[missing].error.code == 3
    assert operation.metadata.progress_percent == 100
    assert operation.metadata.batch_recognize_request.files[0].uri == recording
    assert operation.metadata.batch_recognize_metadata.transcription_metadata[recording].progress_percent == 100
    name = operation.operation.name
    listed = client.list_operations(operations_pb2.ListOperationsRequest(name=PARENT))
    assert name in [each.name for each in listed.operations]
    client.delete_operation(operations_pb2.DeleteOperationRequest(name=name))
    with pytest.raises(exceptions.NotFound):
        client.get_operation(operations_pb2.GetOperationRequest(name=name))
    with pytest.raises(exceptions.BadRequest, match="Cloud Storage"):
        client.batch_recognize(
            request=batch(recording, recognition_output_config={"gcs_output_config": {"uri": "gs://mine"}})
        )


def test_an_operation_is_cancelled(client: speech_v2.SpeechClient, recording: str):
    """Whether it was done before, is for the server to say."""
    operation = client.batch_recognize(request=batch(*(f"{recording}?{number}" for number in range(15))))
    operation.cancel()
    with pytest.raises(exceptions.GoogleAPICallError) as cancelled:
        operation.result(timeout=DONE_S)
    assert cancelled.value.code in (1, 499)
    assert operation.cancelled()


async def test_a_batch_with_asyncio(google: Any, recording: str):
    class AsyncKey(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, go: Any, details: Any, request: Any) -> Any:
            for pair in google.key:
                details.metadata.add(*pair)
            return await go(details, request)

    async with grpc.aio.insecure_channel(google.address, interceptors=[AsyncKey()]) as channel:
        client = speech_v2.SpeechAsyncClient(transport=SpeechGrpcAsyncIOTransport(channel=channel))
        operation = await client.batch_recognize(request=batch(recording))
        response = await operation.result(timeout=DONE_S)
    assert SAID in text_of(response.results[recording].transcript.results)


@pytest.mark.parametrize("how", ["grpc", "rest"])
def test_a_long_recording_of_v1(google: Any, channel: grpc.Channel, recording: str, beckett: Path, how: str):
    if how == "rest":
        client = speech_v1.SpeechClient(
            transport="rest", client_options={"api_endpoint": google.url, "api_key": API_KEY}
        )
    else:
        client = speech_v1.SpeechClient(transport=TransportV1(channel=grpc.intercept_channel(channel, Key(API_KEY))))
    config = speech_v1.RecognitionConfig(language_code="en-US")
    for audio in ({"uri": recording}, {"content": beckett.read_bytes()}):
        operation = client.long_running_recognize(config=config, audio=speech_v1.RecognitionAudio(**audio))
        response = operation.result(timeout=DONE_S)
        assert SAID in text_of(response.results)
        assert response.total_billed_time.total_seconds() * 1000 == pytest.approx(BECKETT_MS)
        assert operation.metadata.progress_percent == 100
    named = operation.operation.name
    assert named in [each.name for each in client.list_operations(operations_pb2.ListOperationsRequest()).operations]
    config = speech_v1.RecognitionConfig(language_code="fr-FR")
    operation = client.long_running_recognize(config=config, audio=speech_v1.RecognitionAudio(uri=recording))
    with pytest.raises(exceptions.InvalidArgument, match="fr-FR"):
        operation.result(timeout=DONE_S)


def test_recognizers(google: Any, channel: grpc.Channel, client: speech_v2.SpeechClient, pcm: bytes, beckett: Path):
    id = f"mine-{client.transport.kind}"
    name = f"{PARENT}/recognizers/{id}"
    given = speech_v2.Recognizer(display_name="Mine", default_recognition_config=config_v2())
    made = client.create_recognizer(parent=PARENT, recognizer=given, recognizer_id=id).result(timeout=DONE_S)
    assert (made.name, made.state) == (name, speech_v2.Recognizer.State.ACTIVE)
    with pytest.raises(exceptions.Conflict):
        client.create_recognizer(parent=PARENT, recognizer=given, recognizer_id=id)
    other = client.create_recognizer(parent=PARENT, recognizer=given, recognizer_id=f"{id}-too").result(timeout=DONE_S)
    pages = client.list_recognizers(request={"parent": PARENT, "page_size": 1})
    assert {made.name, other.name} <= {each.name for each in pages}
    changed = client.update_recognizer(
        recognizer=speech_v2.Recognizer(name=name, display_name="Yours", etag=made.etag),
        update_mask=field_mask_pb2.FieldMask(paths=["display_name"]),
    ).result(timeout=DONE_S)
    assert (changed.display_name, changed.default_recognition_config) == ("Yours", made.default_recognition_config)
    with pytest.raises(exceptions.Conflict):
        client.update_recognizer(recognizer=speech_v2.Recognizer(name=name, display_name="Theirs", etag=made.etag))
    # It is used: its encoding and its words, under a call's own fields.
    heard = client.recognize(request={"recognizer": name, "content": beckett.read_bytes()})
    assert SAID in text_of(heard.results)
    assert heard.results[0].alternatives[0].words[0].end_offset.total_seconds() > 0
    streaming = list(speech_v2_requests(pcm))
    streaming[0] = speech_v2.StreamingRecognizeRequest(recognizer=name, streaming_config={"config": {}})
    stream = second(google, channel, "grpc").streaming_recognize(requests=iter(streaming))
    assert SAID in text_of(result for response in stream for result in response.results)
    gone = client.delete_recognizer(name=name).result(timeout=DONE_S)
    assert gone.state == speech_v2.Recognizer.State.DELETED
    assert gone.expire_time > gone.delete_time
    with pytest.raises(exceptions.NotFound):
        client.recognize(request={"recognizer": name, "content": beckett.read_bytes()})
    assert name not in {each.name for each in client.list_recognizers(parent=PARENT)}
    assert name in {each.name for each in client.list_recognizers(request={"parent": PARENT, "show_deleted": True})}
    back = client.undelete_recognizer(name=name).result(timeout=DONE_S)
    assert (back.state, back.uid, back.display_name) == (changed.state, changed.uid, "Yours")
    assert client.get_recognizer(name=name) == back


def test_an_operation_outlives_its_server_and_is_charged_once(tmp_path: Path, models: Store, recording: str):
    """Where the project keeps answers. It was killed while it worked."""
    Control(SqliteDirectory(tmp_path)).change_project(DEFAULT_PROJECT, 0, keep_answers_s=86_400)
    port, files = free_port(), [f"{recording}?{number}" for number in range(15)]
    settings = f"[grpc]\nport = {port}\n{GOOGLE_MODELS}"
    process, _ = start(tmp_path, models, settings)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
            client = second(None, plain, "grpc")
            operation = client.batch_recognize(request=batch(*files))
            client.create_recognizer(parent=PARENT, recognizer={}, recognizer_id="kept")
            deadline = time.monotonic() + DONE_S
            while not progress(client, operation):
                assert time.monotonic() < deadline
    finally:
        process.kill()
        process.wait(30)
    process, _ = start(tmp_path, models, settings)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
            client = second(None, plain, "grpc")
            waited = operations_pb2.GetOperationRequest(name=operation.operation.name)
            found = client.get_operation(waited)
            while not found.done:
                found = client.get_operation(waited)
            response = speech_v2.BatchRecognizeResponse.deserialize(found.response.value)
            assert client.get_recognizer(name=f"{PARENT}/recognizers/kept").name
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert sorted(response.results) == sorted(files)
    assert all(SAID in text_of(result.transcript.results) for result in response.results.values())
    totals = asyncio.run(open_stores(tmp_path).usage.totals(UsageQuery(by=(), project=DEFAULT_PROJECT)))
    billed_ms = round(response.total_billed_duration.total_seconds() * 1000)
    assert [total.amount for total in totals] == [billed_ms] == [15 * BECKETT_MS]


def progress(client: speech_v2.SpeechClient, operation: Any) -> int:
    found = client.get_operation(operations_pb2.GetOperationRequest(name=operation.operation.name))
    return int(speech_v2.OperationMetadata.deserialize(found.metadata.value).progress_percent)


def test_the_example(google: Any, recording: str):
    environment = {**os.environ, "ANTIPHON_GRPC": google.address, "ANTIPHON_API_KEY": API_KEY}
    arguments = [sys.executable, str(ROOT / "examples" / "google_batch.py"), recording]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert SAID in done.stdout.lower()
