"""Recordings that nobody waits for, and the operations that they are, on fakes: only the event loop is real."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google_office import NAME, OPERATIONS, PARENT, RAW, V1, V2, GoogleOffice, Refused

from antiphon.core.jobs import JobState
from antiphon.jobs import items, run, worker
from antiphon.surfaces.google.messages import read
from antiphon.surfaces.google.status import Code
from session_house import audio, until

URI = "https://example.com/a.raw"
SPEECH, TEXTS = audio(700, 800, 700, 300), ["one two", "one two three"]
CONFIG_V1 = {"encoding": "LINEAR16", "sample_rate_hertz": 16_000, "language_code": "en-US", "model": "tiny"}
EMPTY = "google.protobuf.Empty"


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GoogleOffice]:
    monkeypatch.setattr(items, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(run, "BEAT_S", 0.02)
    monkeypatch.setattr(worker, "LOOK_S", 0.02)
    made = GoogleOffice()
    made.fetcher.media = SPEECH
    made.fetcher.gate.set()
    await made.runner.start()
    yield made
    await made.close()


async def begun(office: GoogleOffice, *uris: str, **fields: Any) -> Any:
    files = [{"uri": uri} for uri in uris or (URI,)]
    return await office.call(f"{V2}/BatchRecognize", **{"recognizer": NAME, "config": RAW, "files": files} | fields)


def of(packed: Any, name: str) -> Any:
    """What is packed, which is of that type."""
    assert packed.type_url == f"type.googleapis.com/{name}"
    return read(name, packed.value)


def texts(results: Any) -> list[str]:
    return [result.alternatives[0].transcript for result in results]


# -- v2 ----------------------------------------------------------------------------------------------------------------


async def test_a_batch_is_an_operation_and_charged_once(office: GoogleOffice) -> None:
    formats = {"inline_response_config": {}, "output_format_config": {"vtt": {}, "srt": {}}}
    wrong = "gs://bucket/a.raw"
    operation = await begun(office, URI, wrong, recognition_output_config=formats)
    assert operation.name.startswith(f"{PARENT}/operations/")
    assert not operation.done
    metadata = of(operation.metadata, f"{V2}.OperationMetadata")
    assert (metadata.progress_percent, metadata.resource) == (0, NAME)
    assert metadata.batch_recognize_request.files[0].uri == URI
    async with office.working():
        operation = await office.done(operation.name)
    response = of(operation.response, f"{V2}.BatchRecognizeResponse")
    result = response.results[URI]
    assert texts(result.inline_result.transcript.results) == texts(result.transcript.results) == TEXTS
    assert result.inline_result.vtt_captions.startswith("WEBVTT\n\n00:00:00.")
    assert result.inline_result.srt_captions.startswith("1\n00:00:00,")
    assert result.metadata.total_billed_duration.ToMilliseconds() == len(SPEECH) // 32
    assert response.total_billed_duration == result.metadata.total_billed_duration
    assert response.results[wrong].error.code == Code.INVALID_ARGUMENT
    assert "https://" in response.results[wrong].error.message
    metadata = of(operation.metadata, f"{V2}.OperationMetadata")
    assert metadata.progress_percent == 100
    files = metadata.batch_recognize_metadata.transcription_metadata
    assert (files[URI].progress_percent, files[wrong].error.code) == (100, Code.INVALID_ARGUMENT)
    assert office.charged() == {0: len(SPEECH) // 32}
    assert {entry.session for entry in office.ledger.entries} == {result.metadata.request_id}


async def test_each_file_may_have_a_configuration_of_its_own(office: GoogleOffice) -> None:
    own = {"config": {"features": {"enable_word_time_offsets": True}}, "uri": "https://example.com/b.raw"}
    bare = {"config": {**RAW, "model": "nothing"}, "config_mask": {"paths": ["model"]}, "uri": URI}
    operation = await begun(office, files=[own, bare])
    async with office.working():
        operation = await office.done(operation.name)
    results = of(operation.response, f"{V2}.BatchRecognizeResponse").results
    assert results[own["uri"]].transcript.results[0].alternatives[0].words
    assert results[URI].error.code == Code.INVALID_ARGUMENT
    assert "nothing" in results[URI].error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"recognition_output_config": {"gcs_output_config": {"uri": "gs://bucket"}}}, "inline_response_config"),
        ({"files": []}, "files"),
        ({"files": [{"uri": URI}, {"uri": URI}]}, "files"),
        ({"files": [{"uri": f"{URI}{number}"} for number in range(16)]}, "15"),
        ({"config": {"auto_decoding_config": {}, "translation_config": {"target_language": "fr"}}}, "translation"),
        ({"config": {}}, "decoding_config"),
        ({"recognizer": "x"}, "recognizer"),
    ],
)
async def test_what_makes_no_sense_is_refused_at_once(office: GoogleOffice, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused, match=param) as refused:
        await begun(office, **fields)
    assert refused.value.code is Code.INVALID_ARGUMENT


async def test_what_has_no_effect_is_named_at_once(office: GoogleOffice) -> None:
    features = {"enable_spoken_emojis": True}
    await begun(office, config={**RAW, "features": features}, processing_strategy="DYNAMIC_BATCHING")
    assert office.trailers == (("antiphon-no-effect", "processing_strategy, features.enable_spoken_emojis"),)
    audio = {"uri": URI}
    await office.call(f"{V1}/LongRunningRecognize", config={**CONFIG_V1, "use_enhanced": True}, audio=audio)
    assert office.trailers == (("antiphon-no-effect", "use_enhanced"),)


async def test_a_stored_recognizers_configuration_is_used(office: GoogleOffice) -> None:
    recognizer = {"default_recognition_config": RAW}
    await office.call(f"{V2}/CreateRecognizer", parent=PARENT, recognizer_id="mine", recognizer=recognizer)
    mine = f"{PARENT}/recognizers/mine"
    operation = await begun(office, recognizer=mine, config=None)
    async with office.working():
        operation = await office.done(operation.name)
    assert texts(of(operation.response, f"{V2}.BatchRecognizeResponse").results[URI].transcript.results)
    with pytest.raises(Refused) as refused:
        await begun(office, recognizer=f"{mine}-too")
    assert refused.value.code is Code.NOT_FOUND


# -- operations --------------------------------------------------------------------------------------------------------


async def test_it_is_its_projects_alone(office: GoogleOffice) -> None:
    name = (await begun(office)).name
    office.keys.project = "other"
    for method in ("Get", "Wait", "Cancel", "Delete"):
        with pytest.raises(Refused) as refused:
            await office.call(f"{OPERATIONS}/{method}Operation", EMPTY, name=name)
        assert refused.value.code is Code.NOT_FOUND
    listed = await office.call(f"{OPERATIONS}/ListOperations", f"{OPERATIONS}.ListOperationsResponse", name=PARENT)
    assert not listed.operations
    office.keys.project = "acme"
    assert not (await office.call(f"{OPERATIONS}/GetOperation", name=name)).done
    for other in (name.replace("global", "eu"), f"{name}0"):
        with pytest.raises(Refused) as refused:
            await office.call(f"{OPERATIONS}/GetOperation", name=other)
        assert refused.value.code is Code.NOT_FOUND
    with pytest.raises(Refused) as refused:
        await office.call(f"{OPERATIONS}/GetOperation", name="x")
    assert refused.value.code is Code.INVALID_ARGUMENT


async def test_one_that_is_cancelled_says_so_and_costs_nothing(office: GoogleOffice) -> None:
    queued = await begun(office)
    await office.call(f"{OPERATIONS}/CancelOperation", EMPTY, name=queued.name)
    assert (await office.done(queued.name)).error.code == Code.CANCELLED
    office.fetcher.gate.clear()
    running = await begun(office)
    async with office.working():
        await until(lambda: office.fetcher.urls)
        await office.call(f"{OPERATIONS}/CancelOperation", EMPTY, name=running.name)
        over = await office.done(running.name)
    assert (over.error.code, over.WhichOneof("result")) == (Code.CANCELLED, "error")
    assert not office.charged()


async def test_one_that_is_deleted_while_it_runs_is_gone_and_costs_nothing(office: GoogleOffice) -> None:
    office.fetcher.gate.clear()
    running = await begun(office)
    async with office.working():
        await until(lambda: office.fetcher.urls)
        await office.call(f"{OPERATIONS}/DeleteOperation", EMPTY, name=running.name)
        await until(lambda: not office.worker.running)
    assert not office.passing._data
    assert not office.charged()


async def test_one_that_takes_too_long_says_so(office: GoogleOffice) -> None:
    office.fetcher.gate.clear()
    operation = await begun(office)
    async with office.working():
        await until(lambda: office.fetcher.urls)
        office.clock.advance_ms(86_400_000 - 70_000)
        office.clock.advance_ms(10_000)
        over = await office.done(operation.name)
    assert over.error.code == Code.DEADLINE_EXCEEDED


async def test_what_is_deleted_is_gone_with_all_that_was_written(office: GoogleOffice) -> None:
    operation = await begun(office)
    async with office.working():
        await office.done(operation.name)
    assert len(office.passing._data) == 1  # the output; the input is gone already
    await office.call(f"{OPERATIONS}/DeleteOperation", EMPTY, name=operation.name)
    assert not office.passing._data
    with pytest.raises(Refused) as refused:
        await office.call(f"{OPERATIONS}/GetOperation", name=operation.name)
    assert refused.value.code is Code.NOT_FOUND


async def test_its_end_can_be_waited_for(office: GoogleOffice) -> None:
    operation = await begun(office)
    soon = await office.call(f"{OPERATIONS}/WaitOperation", name=operation.name, timeout={"nanos": 1_000_000})
    assert not soon.done
    waiting = asyncio.create_task(office.call(f"{OPERATIONS}/WaitOperation", name=operation.name))
    async with office.working():
        assert (await waiting).HasField("response")


async def test_they_are_listed_in_parts(office: GoogleOffice) -> None:
    made = []
    for number in range(5):
        office.clock.advance_ms(1)
        name = NAME.replace("global", "eu") if number == 2 else NAME
        made.append((await begun(office, recognizer=name)).name)
    async with office.working():
        await office.done(made[4])
    await office.call(f"{OPERATIONS}/CancelOperation", EMPTY, name=made[0])

    async def listed(**fields: Any) -> Any:
        answer = f"{OPERATIONS}.ListOperationsResponse"
        return await office.call(f"{OPERATIONS}/ListOperations", answer, **{"name": PARENT} | fields)

    found, token = [], ""
    for _ in range(3):
        page = await listed(page_size=2, page_token=token)
        found += [operation.name for operation in page.operations]
        token = page.next_page_token
    assert (found, token) == ([made[4], made[3], made[1], made[0]], "")
    done = (await listed(filter="done = true")).operations
    assert made[4] in [operation.name for operation in done]
    assert all(operation.WhichOneof("result") for operation in done)
    for wrong in ({"filter": "x"}, {"page_token": "x"}, {"page_size": -1}, {"name": "projects/p"}):
        with pytest.raises(Refused) as refused:
            await listed(**wrong)
        assert refused.value.code is Code.INVALID_ARGUMENT


async def test_one_whose_server_died_is_finished_and_charged_once(office: GoogleOffice) -> None:
    """Where it died after the charge and before the record."""
    office.keep_s["acme"], store = 3600, office.files
    operation, record, lost = await begun(office), store.record, asyncio.Event()

    async def dies(*given: Any) -> None:
        lost.set()
        await asyncio.Event().wait()

    store.record = dies  # type: ignore[method-assign, assignment]
    async with office.working():
        await asyncio.wait_for(lost.wait(), 10)
    store.record = record  # type: ignore[method-assign]
    charged = office.charged()
    office.hired()
    async with office.working():
        over = await office.done(operation.name)
    result = of(over.response, f"{V2}.BatchRecognizeResponse").results[URI]
    assert texts(result.transcript.results) == TEXTS
    assert office.charged() == charged == {0: len(SPEECH) // 32}
    assert (await store.job("acme", operation.name, 3600)).state is JobState.DONE


async def test_what_a_policy_keeps_ends_by_it(office: GoogleOffice) -> None:
    office.keep_s["acme"] = 3600
    operation = await begun(office)
    async with office.working():
        await office.done(operation.name)
    office.clock.advance_ms(3_600_000)
    with pytest.raises(Refused) as refused:
        await office.call(f"{OPERATIONS}/GetOperation", name=operation.name)
    assert refused.value.code is Code.NOT_FOUND
    await office.files.purge(lambda project: 3600)
    assert not (office.files._data)
    assert not (office.files._jobs)


# -- v1 ----------------------------------------------------------------------------------------------------------------


async def test_a_recording_of_v1(office: GoogleOffice) -> None:
    """It may be in the call: then it is deleted as soon as it was heard."""
    for sent in ({"uri": URI}, {"content": SPEECH}):
        operation = await office.call(f"{V1}/LongRunningRecognize", config=CONFIG_V1, audio=sent)
        assert operation.name.isdigit()
        async with office.working():
            operation = await office.done(operation.name)
        metadata = of(operation.metadata, f"{V1}.LongRunningRecognizeMetadata")
        assert (metadata.progress_percent, metadata.uri) == (100, sent.get("uri", ""))
        response = of(operation.response, f"{V1}.LongRunningRecognizeResponse")
        assert texts(response.results) == [TEXTS[0], f" {TEXTS[1]}"]
        assert response.total_billed_time.ToMilliseconds() == len(SPEECH) // 32
    assert not any(SPEECH[:1000] in data for data in office.passing._data.values())
    listed = await office.call(f"{OPERATIONS}/ListOperations", f"{OPERATIONS}.ListOperationsResponse")
    assert len(listed.operations) == 2


async def test_what_goes_wrong_in_v1_is_the_operations_error(office: GoogleOffice) -> None:
    config = CONFIG_V1 | {"language_code": "fr-FR"}
    operation = await office.call(f"{V1}/LongRunningRecognize", config=config, audio={"uri": URI})
    async with office.working():
        operation = await office.done(operation.name)
    assert operation.error.code == Code.INVALID_ARGUMENT
    assert "fr-FR" in operation.error.message
    assert {detail.type_url.rpartition(".")[2] for detail in operation.error.details} == {"ErrorInfo", "BadRequest"}
    for fields in ({"audio": {"uri": "gs://b/a"}}, {"output_config": {"gcs_uri": "gs://b"}}, {"config": {}}):
        given = {"config": CONFIG_V1, "audio": {"uri": URI}} | fields
        with pytest.raises(Refused) as refused:
            await office.call(f"{V1}/LongRunningRecognize", **given)
        assert refused.value.code is Code.INVALID_ARGUMENT


# -- REST --------------------------------------------------------------------------------------------------------------


async def test_the_same_over_rest(office: GoogleOffice) -> None:
    raw = {"explicitDecodingConfig": {"encoding": "LINEAR16", "sampleRateHertz": 16_000}, "model": "tiny"}
    operation = await office.rest("POST", f"/v2/{NAME}:batchRecognize", {"config": raw, "files": [{"uri": URI}]})
    path = f"/v2/{operation['name']}"
    assert operation["metadata"]["@type"] == f"type.googleapis.com/{V2}.OperationMetadata"
    assert "done" not in operation
    async with office.working():
        await office.done(operation["name"])
    done = await office.rest("GET", path)
    assert done["response"]["@type"] == f"type.googleapis.com/{V2}.BatchRecognizeResponse"
    assert done["response"]["results"][URI]["transcript"]["results"][0]["alternatives"][0]["transcript"] == "one two"
    listed = await office.rest("GET", f"/v2/{PARENT}/operations", pageSize="1", filter="done=true")
    assert [each["name"] for each in listed["operations"]] == [operation["name"]]
    assert await office.rest("POST", f"{path}:cancel", {}) == {}
    assert await office.rest("DELETE", path) == {}
    with pytest.raises(Refused) as refused:
        await office.rest("GET", path)
    assert refused.value.code is Code.NOT_FOUND
    asked = {"config": {"languageCode": "en", "encoding": 1, "sampleRateHertz": 8000}, "audio": {"uri": URI}}
    first = await office.rest("POST", "/v1/speech:longrunningrecognize", asked)
    assert (await office.rest("GET", f"/v1/operations/{first['name']}"))["name"] == first["name"]
    assert len((await office.rest("GET", "/v1/operations"))["operations"]) == 1
    with pytest.raises(Refused) as refused:
        await office.rest("GET", f"/v2/{PARENT}/operations", pageSize="many")
    assert refused.value.code is Code.INVALID_ARGUMENT
