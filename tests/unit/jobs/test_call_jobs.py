"""Jobs of one call, on fakes: AssemblyAI's transcripts, from the question to the webhook."""

import asyncio
import json
import uuid
from dataclasses import replace

import pytest

from antiphon.calls.recording import Recording
from antiphon.core.errors import CallerError, CapacityError, ConsentRequired
from antiphon.core.identity import USUAL_SCOPES, Principal
from antiphon.core.jobs import JobState, Page
from antiphon.core.policy import ConsentPolicy, Policy
from antiphon.core.routing import CallRow
from antiphon.core.wire import Opening
from antiphon.jobs import items, run, worker
from antiphon.jobs.filler import Filler
from antiphon.jobs.worker import Worker
from antiphon.routes import JOB_CALLS, JOB_KINDS
from antiphon.surfaces.assemblyai import transcripts
from session_house import House, audio, until

ACME, OTHER = (Principal(project, f"key of {project}", USUAL_SCOPES) for project in ("acme", "other"))
SPEECH = audio(900, 900)  # "one two three", then silence


class Office(House):
    """A house with the service of jobs and a worker; what is sent to a webhook is in `notices`."""

    def __init__(self):
        super().__init__()
        self.fetcher.media = SPEECH
        self.fetcher.gate.set()
        self.notices = []
        self.hired()

    def tell(self, project, key_id, notice, subject=""):
        self.notices.append((project, key_id, notice))

    def hired(self):
        """A worker that has just started, as after a death."""
        rows = {(row.surface, row.path): row for row in JOB_CALLS if isinstance(row, CallRow)}
        filler = Filler(self.sessions, self.clock, 1)
        services = items.Services(self.door, self.ledger, self.clock, filler, rows, self)
        self.worker = Worker(services, self.tiers, JOB_KINDS, "server", 4)
        self.jobs.wake = self.worker.wake

    async def asked(self, endpoint, path, body=b"", query=(), principal=ACME):
        """The answer's status, its body and its headers, as a caller gets them."""
        opening = Opening("POST", path, query, request_id=str(uuid.uuid4()), received_unix_ms=self.clock.unix_ms())
        try:
            question = endpoint.ask(opening, body)
            step = await self.door._lookups.answer(question, principal, "assemblyai", opening)
        except CallerError as error:
            step = endpoint.refuse(opening, error)
        try:
            return step.status, json.loads(step.body), dict(step.headers)
        except ValueError:
            return step.status, step.body.decode(), dict(step.headers)

    async def upload(self, data=SPEECH, principal=ACME):
        return (await self.asked(transcripts.Upload(), "/v2/upload", data, principal=principal))[1]["upload_url"]

    async def start(self, principal=ACME, audio_url=None, **values):
        url = audio_url or await self.upload(principal=principal)
        body = json.dumps({"audio_url": url, "speech_model": "nova-3", **values}).encode()
        return await self.asked(transcripts.CreateTranscript(), "/v2/transcript", body, principal=principal)

    async def get(self, id, principal=ACME):
        return await self.asked(transcripts.RetrieveTranscript(), f"/v2/transcript/{id}", principal=principal)

    async def delete(self, id, principal=ACME):
        return await self.asked(transcripts.DeleteTranscript(), f"/v2/transcript/{id}", principal=principal)

    async def over(self, id, principal=ACME):
        for tier in self.tiers.all:
            job = tier.jobs._jobs.get((principal.project, id))
            if job is not None:
                await until(lambda: tier.jobs._jobs[principal.project, id].over)  # noqa: B023
        return (await self.get(id, principal))[1]

    async def working(self):
        return asyncio.create_task(self.worker.run())

    async def die(self, task):
        for each in (task, *self.worker._runs):
            each.cancel()
        await asyncio.gather(task, *self.worker._runs, return_exceptions=True)


@pytest.fixture
async def office(monkeypatch):
    async def decoded(self, data):
        if not data.strip(b"?"):
            raise CallerError("no audio")
        return [memoryview(data)] * (2 if self._spec.multichannel else 1)

    monkeypatch.setattr(Recording, "_decode", decoded)
    monkeypatch.setattr(items, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(items, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(run, "BEAT_S", 0.02)
    monkeypatch.setattr(worker, "LOOK_S", 0.02)
    office = Office()
    await office.runner.start()
    yield office
    await office.close()


@pytest.fixture
async def busy(office):
    """The same, while its worker works."""
    task = await office.working()
    yield office
    await office.die(task)


async def test_a_recording_is_heard_charged_once_and_used_up(busy):
    url = await busy.upload()
    status, queued, headers = await busy.start(audio_url=url)
    assert (status, queued["status"], queued["audio_url"]) == (200, "queued", url)
    assert "antiphon-kept-until" in headers
    told = await busy.over(queued["id"])
    assert (told["status"], told["text"], told["audio_duration"]) == ("completed", "one two three", 2)
    assert [word["text"] for word in told["words"]] == ["one", "two", "three"]
    assert (told["speech_model_used"], told["language_code"], told["error"]) == ("tiny", "en", None)
    assert busy.charged() == {0: 1800}
    assert busy.passing._blobs.keys() == {("acme", f"{queued['id']}-text")}
    status, refused, _ = await busy.start(audio_url=url)
    assert (status, "no such upload" in refused["error"]) == (400, True)


async def test_a_job_and_what_it_writes_have_its_tags_and_its_subject(busy):
    url = await busy.upload()
    body = json.dumps({"audio_url": url, "speech_model": "nova-3"}).encode()
    opening = Opening("POST", "/v2/transcript", request_id=str(uuid.uuid4()), received_unix_ms=busy.clock.unix_ms())
    tags = ("subject=jane", "consent=v1")
    question = replace(transcripts.CreateTranscript().ask(opening, body), tags=tags)
    made = json.loads((await busy.jobs.answer(question, ACME)).body)
    await busy.over(made["id"])
    jobs, _ = await busy.passing.jobs_about("acme", "jane", Page(), 3600)
    blobs, _ = await busy.passing.blobs_about("acme", "jane", Page(), 3600)
    assert [(job.id, job.tags) for job in jobs] == [(made["id"], tags)]
    assert [blob.id for blob in blobs] == [jobs[0].output]
    assert {entry.tags for entry in busy.ledger.entries} == {tags}
    assert await busy.passing.erase("acme", "jane") == {"jobs": 1, "blobs": 1}
    assert (await busy.get(made["id"]))[0] == 404


async def test_a_policy_that_requires_consent_counts_for_jobs_too(busy):
    busy.keys.policy = lambda project: Policy(consent=ConsentPolicy.VOICE)
    with pytest.raises(ConsentRequired):
        await busy.start(audio_url="https://example.org/a.wav")


async def test_a_url_is_fetched_when_it_is_heard(busy):
    _, queued, _ = await busy.start(audio_url="https://example.com/a.wav?secret=1")
    told = await busy.over(queued["id"])
    assert (told["text"], told["audio_url"]) == ("one two three", "https://example.com/a.wav?secret=1")
    assert busy.fetcher.urls == [told["audio_url"]]


async def test_what_keeps_nothing_lives_an_hour_and_a_while_after_it_was_read(office):
    _, unread, _ = await office.start()
    _, read, _ = await office.start()
    task = await office.working()
    told = await office.over(read["id"])
    await until(lambda: office.passing._jobs["acme", unread["id"]].over)
    await office.die(task)
    (warning,) = told["metadata"]["warnings"]
    assert warning["message"].startswith("This project keeps no transcripts: this one is gone at ")
    office.clock.advance_ms(transcripts.READ_S * 1000 - 1)
    assert (await office.get(read["id"]))[0] == 200
    office.clock.advance_ms(1)
    assert (await office.get(read["id"]))[0] == 404
    office.clock.advance_ms((transcripts.PASSING_S - transcripts.READ_S) * 1000 - 1)
    assert (await office.get(unread["id"]))[0] == 200
    office.clock.advance_ms(1)
    assert (await office.get(unread["id"]))[0] == 404
    await office.passing.purge(lambda project: 86_400)
    assert not office.passing._jobs
    assert not office.passing._data


async def test_what_is_kept_is_on_the_other_shelf_and_read_as_often_as_one_likes(office):
    office.keep_s["acme"] = 7_200
    _, queued, _ = await office.start()
    task = await office.working()
    told = await office.over(queued["id"])
    await office.die(task)
    assert "metadata" not in told
    office.clock.advance_ms(7_199_999)
    assert (await office.get(queued["id"]))[1]["text"] == "one two three"
    office.clock.advance_ms(1)
    assert (await office.get(queued["id"]))[0] == 404
    assert not office.passing._jobs


async def test_a_transcript_is_its_projects_alone(busy):
    _, queued, _ = await busy.start()
    await busy.over(queued["id"])
    for call in (busy.get, busy.delete):
        assert (await call(queued["id"], OTHER))[0] == 404
    assert (await busy.start(OTHER, audio_url=await busy.upload()))[0] == 400
    assert (await busy.get(queued["id"]))[0] == 200


async def test_what_cannot_be_heard_is_an_error_that_costs_nothing(busy):
    _, queued, _ = await busy.start(audio_url=await busy.upload(b"????"), webhook_url="https://x.example/hook")
    told = await busy.over(queued["id"])
    assert (told["status"], told["error"], told["text"]) == ("error", "no audio", None)
    assert busy.ledger.entries == []
    (_, _, notice) = busy.notices[0]
    assert json.loads(notice.body) == {"transcript_id": queued["id"], "status": "error"}


async def test_an_engine_that_fails_is_asked_again(busy):
    failures = iter([True, True, False])
    busy.recogniser.fails = lambda utterance: next(failures, False)
    _, queued, _ = await busy.start()
    assert (await busy.over(queued["id"]))["status"] == "completed"
    busy.recogniser.fails = lambda utterance: True
    _, queued, _ = await busy.start()
    assert (await busy.over(queued["id"]))["status"] == "error"
    assert busy.charged() == {0: 1800}


async def test_what_was_charged_and_not_recorded_when_the_server_died_is_charged_once(office):
    office.keep_s["acme"] = 3600
    _, queued, _ = await office.start()
    record, lost = office.files.record, asyncio.Event()

    async def dies(*given):
        lost.set()
        await asyncio.Event().wait()

    office.files.record = dies
    task = await office.working()
    await asyncio.wait_for(lost.wait(), 60)
    await office.die(task)
    assert office.charged() == {0: 1800}
    office.files.record = record
    office.hired()
    task = await office.working()
    assert (await office.over(queued["id"]))["text"] == "one two three"
    await office.die(task)
    assert office.charged() == {0: 1800}


async def test_one_that_runs_is_deleted_and_its_work_is_given_up(busy):
    busy.fetcher.gate.clear()
    _, queued, _ = await busy.start(audio_url="https://example.com/a.wav")
    await until(lambda: busy.fetcher.urls)
    status, told, _ = await busy.delete(queued["id"])
    assert (status, told["text"], told["audio_url"]) == (200, "Deleted by user.", "http://deleted_by_user")
    await until(lambda: busy.worker.running == 0)
    assert (await busy.get(queued["id"]))[0] == 404
    busy.fetcher.gate.set()
    assert busy.ledger.entries == []
    assert not busy.passing._data


async def test_one_that_waits_is_deleted_with_its_upload(office):
    _, queued, _ = await office.start()
    await office.delete(queued["id"])
    assert not office.passing._blobs
    assert not office.passing._jobs


async def test_one_that_waits_for_too_long_expires(busy):
    busy.fetcher.gate.clear()
    _, queued, _ = await busy.start(audio_url="https://example.com/a.wav")
    await until(lambda: busy.fetcher.urls)
    job = busy.passing._jobs["acme", queued["id"]]
    busy.clock.advance_ms(job.deadline_unix_ms - busy.clock.unix_ms())
    told = await busy.over(queued["id"])
    assert (busy.passing._jobs["acme", queued["id"]].state, told["status"]) == (JobState.EXPIRED, "error")
    assert "in time" in told["error"]


async def test_what_was_recorded_is_done_however_late_it_is_told(office):
    office.keep_s["acme"] = 7_200
    _, queued, _ = await office.start()
    finish, lost = office.files.finish, asyncio.Event()

    async def dies(*given):
        lost.set()
        await asyncio.Event().wait()

    office.files.finish = dies
    task = await office.working()
    await asyncio.wait_for(lost.wait(), 60)
    await office.die(task)
    office.files.finish = finish
    office.clock.advance_ms(office.files._jobs["acme", queued["id"]].deadline_unix_ms - office.clock.unix_ms())
    office.hired()
    task = await office.working()
    assert (await office.over(queued["id"]))["text"] == "one two three"
    await office.die(task)
    assert office.charged() == {0: 1800}


async def test_a_recording_waits_for_a_place_and_projects_take_turns(busy):
    busy.fetcher.gate.clear()
    callers = [ACME] * 4 + [OTHER] * 2
    ids = [(principal, (await busy.start(principal, "https://e.com/a"))[1]["id"]) for principal in callers]
    await until(lambda: busy.worker.running == 4 and len(busy.fetcher.urls) >= 2)
    await asyncio.sleep(0.05)
    assert busy.worker.running == 4  # two of each
    assert len(busy.fetcher.urls) in (2, 3)  # as many recordings as may be open, and who was first of a project
    busy.fetcher.gate.set()
    for principal, id in ids:
        assert (await busy.over(id, principal))["status"] == "completed"


async def test_there_is_a_bound_to_those_that_are_not_over(office, monkeypatch):
    monkeypatch.setattr(transcripts, "MAX_OPEN", 1)
    await office.start()
    with pytest.raises(CapacityError):
        await office.start()


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"language_code": "de"}, 400, "`language_code`: this model does not support the language 'de'"),
        ({"language_codes": ["en", "de"]}, 400, "`language_codes`"),
        ({"language_detection": True}, 400, "`language_detection` is not supported by this model"),
        ({"speech_model": "nobody"}, 404, "nobody"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_at_once(office, values, status, words):
    told, refused, _ = await office.start(**values)
    assert (told, words in refused["error"]) == (status, True)
    assert not office.passing._jobs
