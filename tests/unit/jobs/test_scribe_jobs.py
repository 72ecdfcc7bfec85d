"""Scribe's transcriptions with webhooks, on fakes: from the form to what the webhooks are told."""

import asyncio
import json
import uuid

import pytest
from elevenlabs import ElevenLabs
from elevenlabs.errors import BadRequestError
from elevenlabs.types import SpeechToTextChunkResponseModel, SpeechToTextWebhookResponseModel
from test_call_jobs import ACME, OTHER, SPEECH, busy, office  # noqa: F401 - fixtures

from antiphon.core.errors import CallerError, NotFound, UnsupportedParameter
from antiphon.core.identity import Webhook
from antiphon.core.wire import Body, Opening, Response
from antiphon.jobs.webhook import signature
from antiphon.surfaces.elevenlabs import transcript_jobs
from antiphon.surfaces.elevenlabs.speech_to_text import SpeechToText
from session_house import until
from vendor_types import check

TRANSCRIPTS = transcript_jobs.TRANSCRIPTS
HOOK = Webhook("w1", "acme", "", "https://x.example/hook", 0, "wsec_1")
FORM = (("model_id", "nova-3"), ("webhook", "true"))


async def ask(office, *fields, data=SPEECH, principal=ACME, form=FORM):  # noqa: F811
    """What the form of a request is answered."""
    opening = Opening(
        "POST",
        "/v1/speech-to-text",
        headers={"content-type": "multipart/form-data; boundary=x"},
        request_id=str(uuid.uuid4()),
        received_unix_ms=office.clock.unix_ms(),
    )
    body = Body(data, (*form, *fields), has_file=bool(data))
    endpoint = SpeechToText()
    job = await asyncio.to_thread(endpoint.negotiate, opening, body)
    return await office.door._lookups.answer(job, principal, "elevenlabs", opening)


async def get(office, id, method=transcript_jobs.GetTranscript, principal=ACME):  # noqa: F811
    opening = Opening("GET", f"{TRANSCRIPTS}/{id}", request_id="r")
    endpoint = method()
    try:
        return await office.door._lookups.answer(endpoint.ask(opening, b""), principal, "elevenlabs", opening)
    except NotFound as error:
        return endpoint.refuse(opening, error)


def begun(answer: Response) -> str:
    assert answer.status == 202
    told = json.loads(answer.body)
    check(SpeechToTextWebhookResponseModel, told)
    assert told["request_id"] == told["transcription_id"] == dict(answer.headers)["request-id"]
    return told["transcription_id"]


async def notice(office):  # noqa: F811
    await until(lambda: office.notices)
    (_, _, notice) = office.notices.pop()
    return notice


async def test_what_was_heard_is_told_signed_and_charged_once(busy):  # noqa: F811
    busy.keys.hooks = [HOOK]
    id = begun(await ask(busy, ("webhook_metadata", '{"a": {"b": 1}}'), ("webhook_id", "w1"), ("seed", "1")))
    told = await notice(busy)
    assert (told.url, told.webhook) == ("", "w1")
    headers = told.signed(5, signature(HOOK.secret.encode(), 5, told.body))
    assert headers["content-type"] == "application/json"
    client = ElevenLabs(api_key="k")
    with pytest.raises(BadRequestError, match="tolerance"):
        client.webhooks.construct_event(told.body.decode(), headers["elevenlabs-signature"], HOOK.secret)
    event = json.loads(told.body)
    assert (event["type"], event["data"]["webhook_metadata"]) == ("speech_to_text_transcription", {"a": {"b": 1}})
    assert event["data"]["request_id"] == event["data"]["transcription_id"] == id
    check(SpeechToTextChunkResponseModel, event["data"]["transcription"])
    assert event["data"]["transcription"]["text"] == "one two three"
    assert event["data"]["transcription"]["transcription_id"] == id
    assert busy.charged() == {0: 1800}
    shown = await get(busy, id)
    assert (shown.status, json.loads(shown.body)) == (200, event["data"]["transcription"])
    assert (await get(busy, id, principal=OTHER)).status == 404
    assert (await get(busy, id, transcript_jobs.DeleteTranscript)).status == 200
    assert (await get(busy, id)).status == 404
    assert not busy.passing._blobs


async def test_a_url_is_fetched_and_all_webhooks_are_told(busy):  # noqa: F811
    busy.keys.hooks = [HOOK]
    busy.fetcher.gate.clear()
    id = begun(await ask(busy, ("source_url", "https://example.org/a.wav"), data=b""))
    assert (await get(busy, id)).status == 404
    busy.fetcher.gate.set()
    told = await notice(busy)
    assert told.webhook == ""
    assert json.loads(told.body)["data"]["transcription"]["text"] == "one two three"
    assert json.loads(told.body)["data"]["webhook_metadata"] is None


async def test_what_cannot_be_heard_is_told_too(busy):  # noqa: F811
    busy.keys.hooks = [HOOK]
    id = begun(await ask(busy, data=b"????"))
    event = json.loads((await notice(busy)).body)
    assert event["data"]["transcription"] is None
    assert event["data"]["error"]["detail"][0]["msg"] == "no audio"
    shown = await get(busy, id)
    assert (shown.status, b"failed" in shown.body) == (404, True)
    assert busy.ledger.entries == []


@pytest.mark.parametrize("step", ["record", "finish"])
async def test_a_server_that_dies_hears_it_once_more_and_charges_nothing_twice(office, step):  # noqa: F811
    office.keys.hooks = [HOOK]
    office.keep_s["acme"] = 3_600
    id = begun(await ask(office))
    done, lost = getattr(office.files, step), asyncio.Event()

    async def dies(*given):
        lost.set()
        await asyncio.Event().wait()

    setattr(office.files, step, dies)
    task = await office.working()
    await asyncio.wait_for(lost.wait(), 60)
    await office.die(task)
    setattr(office.files, step, done)
    office.hired()
    task = await office.working()
    told = await notice(office)
    await office.die(task)
    assert json.loads(told.body)["data"]["transcription"]["text"] == "one two three"
    assert json.loads((await get(office, id)).body)["text"] == "one two three"
    assert office.charged() == {0: 1800}


async def test_a_recording_is_not_left_without_its_job_if_the_server_stops(office, monkeypatch):  # noqa: F811
    async def stopped(*_):
        raise asyncio.CancelledError

    office.keys.hooks = [HOOK]
    monkeypatch.setattr(office.passing, "create", stopped)
    with pytest.raises(asyncio.CancelledError):
        await ask(office)
    assert not office.passing._blobs


async def test_nobody_is_promised_what_cannot_be_told(office):  # noqa: F811
    with pytest.raises(CallerError, match="no webhooks"):
        await ask(office)
    office.keys.hooks = [HOOK]
    for fields in ((("webhook_id", "w2"),), (("language_code", "de"),)):
        with pytest.raises(CallerError):
            await ask(office, *fields)
    with pytest.raises(CallerError, match="no webhooks"):
        await ask(office, principal=OTHER)
    for text in ("[]", "x", '{"a": {"b": {}}}', '{"a": {"b": []}}', json.dumps({"a": "b" * 17_000})):
        with pytest.raises(CallerError) as refused:
            await ask(office, ("webhook_metadata", text))
        assert refused.value.param == "webhook_metadata"
    with pytest.raises(UnsupportedParameter):
        await ask(office, ("transcript_edit", "x"))
    assert not office.passing._jobs
    assert not office.passing._blobs
    begun(await ask(office, ("webhook_metadata", json.dumps('{"written": "twice"}'))))
