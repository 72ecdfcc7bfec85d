"""The service of jobs, the worker and the filler on fakes: only the event loop is real."""

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from event_loop import settle

from antiphon.calls.generation import Generation
from antiphon.core.errors import CallerError, CapacityError, EngineError, NotFound
from antiphon.core.identity import USUAL_SCOPES, Principal
from antiphon.core.jobs import (
    FileAct,
    JobAct,
    JobOutcome,
    JobOutcomes,
    JobState,
    ManyJobs,
    NewFile,
    NewJob,
    OneFile,
    OneJob,
    Page,
)
from antiphon.core.routing import CallRow
from antiphon.core.usage import Dimension
from antiphon.jobs import items, run, worker
from antiphon.jobs.filler import Filler
from antiphon.jobs.service import MOST_WAITING_OF_A_PROJECT
from antiphon.jobs.worker import Worker
from antiphon.routes import JOB_KINDS
from antiphon.session.subject_lines import Lines
from antiphon.session.subjects import PASSING_S
from antiphon.slo.filling import Traffic
from antiphon.surfaces.openai.batch_lines import KIND
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.files import PURPOSES
from session_house import House, until

CHAT = "/v1/chat/completions"
ASK = {"model": "counter", "messages": [{"role": "user", "content": "count"}]}
ACME, OTHER = (Principal(project, "k1", USUAL_SCOPES) for project in ("acme", "other"))


class Notices:
    """Webhooks with five notices that wait."""

    def drop(self, project, subject):
        return 5


class Office(House):
    """A house with the service of jobs and a worker."""

    def __init__(self):
        super().__init__()
        self.at_once = 4
        self.hired()

    def hired(self):
        """A worker that has just started, as after a death."""
        self.filler = Filler(self.sessions, self.clock, self.at_once)
        rows = {("openai", CHAT): CallRow(CHAT, "openai", ChatCompletions())}
        services = items.Services(self.door, self.ledger, self.clock, self.filler, rows, Notices())
        self.worker = Worker(services, self.tiers, JOB_KINDS, "server", self.at_once)
        self.jobs.wake = self.worker.wake
        self.clock.advance_ms(2000)  # in which nothing interactive was there

    async def told(self, question, principal=ACME):
        """What `tell` is given."""
        found = []
        await self.jobs.answer(question(lambda *given: found.append(given)), principal)
        return found[0] if len(found[0]) > 1 else found[0][0]

    async def file(self, *bodies, principal=ACME, keep_s=None):
        lines = [
            json.dumps({"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body})
            for n, body in enumerate(bodies)
        ]
        data = "".join(f"{line}\n" for line in lines).encode()
        id = f"file-{uuid.uuid4()}"
        return await self.told(lambda tell: NewFile(id, "in.jsonl", "batch", data, keep_s, tell), principal)

    async def start(self, *bodies, principal=ACME, file=None, **more):
        file = file or await self.file(*bodies, principal=principal)
        id, request = f"batch_{uuid.uuid4()}", json.dumps({"endpoint": CHAT}).encode()
        return await self.told(
            lambda tell: NewJob(KIND, id, request, file.id, "batch", f"{id}o", f"{id}e", 86_400, 0, tell, **more),
            principal,
        )

    async def look(self, job, act=JobAct.SHOW, principal=ACME):
        return await self.told(lambda tell: OneJob(act, KIND, job.id, tell), principal)

    async def over(self, job, principal=ACME):
        async with asyncio.timeout(60):
            while not (found := await self.look(job, principal=principal)).over:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return found

    async def lines(self, id, principal=ACME):
        _, data = await self.told(lambda tell: OneFile(FileAct.READ, id, PURPOSES, tell), principal)
        return {line["custom_id"]: line for line in map(json.loads, data.splitlines())}

    def sessions_charged(self):
        return [
            entry.session
            for entry in self.ledger.entries
            if entry.quantity.dimension is Dimension.LLM_OUTPUT_TOKENS and entry.quantity.amount
        ]


@asynccontextmanager
async def working(office):
    """While its worker works, and then is killed."""
    tasks = [asyncio.create_task(office.worker.run()), asyncio.create_task(office.worker.watch_items())]
    try:
        yield office
    finally:
        for task in (*tasks, *office.worker._runs):
            task.cancel()
        await asyncio.gather(*tasks, *office.worker._runs, return_exceptions=True)


@pytest.fixture
def office(monkeypatch):
    monkeypatch.setattr(items, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(run, "BEAT_S", 0.02)
    monkeypatch.setattr(worker, "LOOK_S", 0.02)
    return Office()


async def test_every_item_is_answered_charged_and_recorded_once(office):
    job = await office.start(ASK, {**ASK, "temperature": 9}, ASK)
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.total, job.done, job.failed) == (JobState.DONE, 3, 2, 1)
    assert set(await office.lines(job.output)) == {"r0", "r2"}
    assert (await office.lines(job.errors))["r1"]["response"]["status_code"] == 400
    assert sorted(office.sessions_charged()) == sorted(items.session_of(job, number) for number in (0, 2))
    assert office.sessions.interactive.open == 0


async def test_what_keeps_nothing_is_in_memory_for_a_day_and_what_keeps_is_not(office):
    passing = await office.start(ASK)
    assert passing.ends_unix_ms == office.clock.unix_ms() + PASSING_S * 1000
    office.keep_s["acme"] = 3600
    kept = await office.start(ASK)
    assert kept.ends_unix_ms == office.clock.unix_ms() + 3_600_000
    assert kept.deadline_unix_ms < kept.ends_unix_ms
    assert (await office.files.job("acme", kept.id, 3600)).id == kept.id
    assert (await office.passing.job("acme", passing.id, PASSING_S)).id == passing.id


async def test_a_job_and_its_files_are_their_projects_alone(office):
    async with working(office):
        job = await office.over(await office.start(ASK))
    for principal, question in (
        (OTHER, lambda tell: OneJob(JobAct.SHOW, KIND, job.id, tell)),
        (OTHER, lambda tell: OneJob(JobAct.CANCEL, KIND, job.id, tell)),
        (OTHER, lambda tell: OneFile(FileAct.READ, job.output, PURPOSES, tell)),
        (ACME, lambda tell: OneFile(FileAct.READ, job.output, ("another purpose",), tell)),
        (ACME, lambda tell: OneJob(JobAct.SHOW, "another kind", job.id, tell)),
    ):
        with pytest.raises(NotFound):
            await office.told(question, principal)
    assert await office.told(lambda tell: ManyJobs(KIND, Page(), tell), OTHER) == ([], False)
    with pytest.raises(CallerError):
        await office.start(principal=OTHER, file=await office.file(ASK))


@pytest.mark.parametrize("closed", [False, True])
async def test_what_was_charged_and_not_recorded_when_the_server_died_is_answered_again_uncharged(office, closed):
    job = await office.start(ASK, ASK)
    lost = asyncio.Event()
    record = office.passing.record

    async def dies(*given):
        lost.set()
        await asyncio.Event().wait()

    office.passing.record = dies
    async with working(office):
        await asyncio.wait_for(lost.wait(), 60)
        await until(lambda: len(office.sessions_charged()) == 2)
    charged, tokens = sorted(office.sessions_charged()), office.tokens()
    office.passing.record = record
    if not closed:
        office.ledger.entries[:] = [entry for entry in office.ledger.entries if entry.quantity.amount]
    office.hired()
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.done, job.attempt) == (JobState.DONE, 2, 2)
    assert set(await office.lines(job.output)) == {"r0", "r1"}
    assert (sorted(office.sessions_charged()), office.tokens()) == (charged, tokens)


async def test_a_job_may_bring_its_input_and_its_outcome_is_told(office):
    line = json.dumps({"custom_id": "r0", "method": "POST", "url": CHAT, "body": ASK}).encode()
    request = json.dumps({"endpoint": CHAT}).encode()

    async def outcome(wait_ms=0, principal=ACME, kind=KIND):
        return await office.told(lambda tell: JobOutcome(kind, "own", wait_ms, tell), principal)

    new = await office.told(
        lambda tell: NewJob(KIND, "own", request, "own in", "", "own out", "own err", 86_400, 0, tell, line)
    )
    assert await outcome(wait_ms=10) == (new, b"", b"")
    with pytest.raises(NotFound):
        await office.told(lambda tell: OneFile(FileAct.READ, "own in", ("batch",), tell))
    async with working(office):
        job, output, errors = await outcome(wait_ms=10_000)
    assert (job.state, json.loads(output)["custom_id"], errors) == (JobState.DONE, "r0", b"")
    jobs, more = await office.told(lambda tell: JobOutcomes(KIND, Page(), tell))
    assert (jobs, more) == ([(job, output, b"")], False)
    for principal, kind in ((OTHER, KIND), (ACME, "another kind")):
        with pytest.raises(NotFound):
            await outcome(principal=principal, kind=kind)
    with pytest.raises(NotFound):
        await office.passing.blob("acme", "own in", PASSING_S)


async def test_what_a_job_that_cannot_be_made_brought_is_gone(office):
    with pytest.raises(CapacityError):
        await office.told(
            lambda tell: NewJob(KIND, "own", b"", "own in", "", "o", "e", 86_400, 0, tell, b"x", most_open=0)
        )
    assert not office.passing._data


async def test_who_waits_for_the_end_of_a_job_is_one_of_few_also_of_its_project(office):
    async def outcome(job, wait_ms, principal):
        return (await office.told(lambda tell: JobOutcome(KIND, job.id, wait_ms, tell), principal))[0].state

    jobs = {who: await office.start(ASK, principal=who) for who in (ACME, OTHER)}
    waiting = [asyncio.create_task(outcome(jobs[ACME], 60_000, ACME)) for _ in range(MOST_WAITING_OF_A_PROJECT)]
    await settle()
    with pytest.raises(CapacityError):
        await outcome(jobs[ACME], 1, ACME)
    assert await outcome(jobs[OTHER], 1, OTHER) is JobState.QUEUED
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    assert await outcome(jobs[ACME], 1, ACME) is JobState.QUEUED


async def test_a_long_list_of_outcomes_is_told_in_parts(office, monkeypatch):
    monkeypatch.setattr("antiphon.jobs.service.LISTED_BYTES", 1)
    async with working(office):
        for _ in range(2):
            last = await office.over(await office.start(ASK))
            office.clock.advance_ms(1)
    found, more = await office.told(lambda tell: JobOutcomes(KIND, Page(), tell))
    assert ([job.id for job, *_ in found], more) == ([last.id], True)


async def test_a_job_goes_on_from_what_is_recorded(office):
    office.at_once = 1
    office.hired()
    job = await office.start(*[ASK] * 3)
    async with working(office):
        await until(lambda: len(office.sessions_charged()) == 1)
    office.hired()
    async with working(office):
        job = await office.over(job)
    assert (job.done, job.failed, len(office.sessions_charged())) == (3, 0, 3)
    assert len(await office.lines(job.output)) == 3


async def test_a_job_that_is_cancelled_or_expires_says_of_each_item_why_it_was_not_answered(office):
    office.generator.gate = asyncio.Event()
    for state, code in ((JobState.CANCELLED, "batch_cancelled"), (JobState.EXPIRED, "batch_expired")):
        job = await office.start(*[ASK] * 6)
        async with working(office):
            await until(lambda: office.filler.running)
            if state is JobState.CANCELLED:
                await office.look(job, JobAct.CANCEL)
            else:
                office.clock.advance_ms(job.deadline_unix_ms - office.clock.unix_ms())
            job = await office.over(job)
        assert (job.state, job.total, job.failed) == (state, 6, 6)
        errors = await office.lines(job.errors)
        assert {line["error"]["code"] for line in errors.values()} == {code}
    assert office.sessions_charged() == []


async def test_a_job_that_is_cancelled_while_its_input_is_checked_has_no_items(office, monkeypatch):
    monkeypatch.setattr(run, "CHUNK_BYTES", 64)
    read_blob, reads, may_go_on = office.passing.read_blob, 0, asyncio.Event()

    async def read(*given):
        nonlocal reads
        reads += 1
        if reads == 2:
            await may_go_on.wait()
        return await read_blob(*given)

    office.passing.read_blob = read
    data = b"[not JSON\n" + b'{"custom_id": "r1"}\n' * 10
    file = await office.told(lambda tell: NewFile("f", "x", "batch", data, None, tell))
    job = await office.start(file=file)
    async with working(office):
        await until(lambda: reads == 2)
        await office.look(job, JobAct.CANCEL)
        await settle()
        may_go_on.set()
        job = await office.over(job)
    assert (job.state, job.total, job.failed, job.begun_unix_ms) == (JobState.CANCELLED, 0, 0, 0)
    assert (job.output, job.errors) == ("", "")


async def test_a_job_that_was_cancelled_before_the_server_died_calls_nothing_after(office, monkeypatch):
    monkeypatch.setattr(run, "BEAT_S", 60)
    office.generator.gate = asyncio.Event()
    job = await office.start(ASK, ASK)
    async with working(office):
        await until(lambda: office.filler.running)
    await office.look(job, JobAct.CANCEL)
    office.generator.gate.set()
    office.hired()
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.done, job.failed) == (JobState.CANCELLED, 0, 2)
    assert office.sessions_charged() == []


async def test_an_input_that_is_wrong_or_gone_fails_the_job_and_costs_nothing(office):
    wrong = await office.start(ASK, file=await office.told(lambda tell: NewFile("f", "x", "batch", b"{\n", None, tell)))
    gone = await office.start(ASK)
    await office.told(lambda tell: OneFile(FileAct.DELETE, gone.input, PURPOSES, tell))
    async with working(office):
        wrong, gone = await office.over(wrong), await office.over(gone)
    assert {wrong.state, gone.state} == {JobState.FAILED}
    assert json.loads(wrong.result)["errors"][0]["line"] == 1
    assert "gone" in json.loads(gone.result)["errors"][0]["message"]
    assert office.sessions_charged() == []


async def test_what_was_charged_is_recorded_although_the_input_is_deleted_meanwhile(office, monkeypatch):
    file = await office.file(ASK, ASK)
    monkeypatch.setattr(run, "CHUNK_BYTES", file.size_bytes // 2)
    job = await office.start(file=file)
    read_blob, record = office.passing.read_blob, office.passing.record
    charged, gone, may_record = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def records(*given):
        charged.set()
        await may_record.wait()
        return await record(*given)

    async def begun(job, owner, *given):
        office.passing.read_blob = late
        return await begin(job, owner, *given)

    async def late(project, id, keep_s, start, size):
        if start:
            await gone.wait()
        return await read_blob(project, id, keep_s, start, size)

    begin, office.passing.begin, office.passing.record = office.passing.begin, begun, records
    async with working(office):
        await charged.wait()
        await office.told(lambda tell: OneFile(FileAct.DELETE, job.input, PURPOSES, tell))
        gone.set()
        await settle()
        may_record.set()
        job = await office.over(job)
    assert (job.state, job.done) == (JobState.FAILED, 1)
    assert "gone" in json.loads(job.result)["errors"][0]["message"]
    assert office.sessions_charged() == [items.session_of(job, 0)]
    assert set(await office.lines(job.output)) == {"r0"}


async def test_what_was_charged_is_recorded_although_the_store_is_full_and_nothing_more_is_called(office):
    office.at_once = 1
    office.hired()
    job = await office.start(ASK, ASK, ASK)
    record = office.passing.record

    async def records(*given):
        office.passing._bounds = 0, 0  # somebody stored a file while it was answered
        return await record(*given)

    office.passing.record = records
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.done, job.failed) == (JobState.FAILED, 1, 0)
    assert json.loads(job.result)["errors"][0]["code"] == "storage_full"
    assert office.sessions_charged() == [items.session_of(job, 0)]
    assert set(await office.lines(job.output)) == {"r0"}


async def test_an_engine_that_fails_is_asked_again_and_not_for_ever(office):
    office.generator.error = EngineError("down")
    async with working(office):
        job = await office.over(await office.start(ASK))
    assert (job.state, job.failed) == (JobState.DONE, 1)
    assert (await office.lines(job.errors))["r0"]["response"]["status_code"] == 502


async def test_the_work_of_an_item_ends_before_its_session_is_closed_if_its_surface_fails(office, monkeypatch):
    order, produce, free = [], Generation._produce, Generation._free
    negotiate = ChatCompletions.negotiate

    class Broken:
        def emit(self, event, now_ns):
            raise ValueError("a defect")

    async def produced(self):
        try:
            async for events in produce(self):
                yield events
        finally:
            order.append("ended")

    async def freed(self):
        order.append("freed")
        await free(self)

    monkeypatch.setattr(Generation, "_produce", produced)
    monkeypatch.setattr(Generation, "_free", freed)
    monkeypatch.setattr(
        ChatCompletions, "negotiate", lambda self, *given: replace(negotiate(self, *given), surface=Broken())
    )
    await office.start(ASK)
    async with working(office):
        await until(lambda: len(order) > 1)
    assert order[:2] == ["ended", "freed"]


async def looks(office):
    """Apply the rule for items a few times more."""
    for _ in range(3):
        office.filler.look()
        await settle()


async def test_items_are_begun_and_stopped_as_interactive_work_leaves_room(office):
    others = waiting = 0
    office.sessions.traffic = lambda model: (
        "counter-2026",
        Traffic(8, others + len(office.generator.running), waiting),
    )
    office.generator.gate = asyncio.Event()
    job = await office.start(*[ASK] * 8)
    async with working(office):
        await until(lambda: office.filler.running == 4)
        others, waiting = 4, 1
        office.filler.look()
        await until(lambda: office.filler.running == 0)
        assert office.worker.gave_way == 4
        assert office.sessions_charged() == []
        others, waiting = 6, 0
        await until(lambda: office.filler.running)
        await looks(office)
        assert office.filler.running == 1  # one place stays free
        others = 0
        office.generator.gate.set()
        job = await office.over(job)
    assert (job.done, job.failed) == (8, 0)
    assert len(office.sessions_charged()) == 8


async def test_a_few_run_beside_an_open_call(office):
    async with office_call(office):
        office.generator.gate = asyncio.Event()
        await office.start(*[ASK] * 8)
        async with working(office):
            await until(lambda: office.filler.running)
            await looks(office)
            assert office.filler.running == 1


async def test_a_project_has_a_bounded_number_of_open_jobs(office):
    await office.start(ASK, most_open=1)
    with pytest.raises(CapacityError):
        await office.start(ASK, most_open=1)


async def test_one_job_of_each_project_runs_at_once(office):
    office.generator.gate = asyncio.Event()
    for principal in (ACME, ACME, OTHER):
        await office.start(ASK, principal=principal)
    async with working(office):
        await until(lambda: office.worker.running == 2)
        assert {run.job.project for run in office.worker._runs.values()} == {"acme", "other"}


@asynccontextmanager
async def office_call(office):
    session = office.generate()
    try:
        yield session
    finally:
        await session.close(False)


JANES = {**ASK, "user": "jane"}


def janes_lines(office):
    return Lines(office.passing, JOB_KINDS, "acme", PASSING_S, "jane", "jane")


async def erase_jane(office):
    return sum([await janes_lines(office).erase(found) async for found in janes_lines(office).found()])


async def test_lines_that_are_erased_before_their_batch_begins_fail_alone_and_uncharged(office):
    job = await office.start(JANES, ASK, JANES)
    assert await erase_jane(office) == 2
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.total, job.done, job.failed) == (JobState.DONE, 3, 1, 2)
    assert set(await office.lines(job.output)) == {"r1"}
    assert (await office.lines(job.errors))[""]["error"]["code"] == "request_erased"
    assert office.sessions_charged() == [items.session_of(job, 1)]


async def test_a_batch_that_runs_leaves_out_lines_that_are_erased_and_drops_what_is_being_answered(office):
    office.at_once = 1
    office.hired()
    entered, gate, record = asyncio.Event(), asyncio.Event(), office.passing.record

    async def waits(*given):
        entered.set()
        await gate.wait()
        return await record(*given)

    office.passing.record = waits
    job = await office.start(JANES, JANES, ASK, JANES)
    async with working(office):
        await asyncio.wait_for(entered.wait(), 60)  # r0 is answered, and not recorded yet; the others are in memory
        assert await erase_jane(office) == 3
        gate.set()
        job = await office.over(job)
    assert (job.state, job.total, job.done, job.failed) == (JobState.DONE, 4, 1, 3)
    assert set(await office.lines(job.output)) == {"r2"}
    _, errors = await office.told(lambda tell: OneFile(FileAct.READ, job.errors, PURPOSES, tell))
    assert [json.loads(each)["error"]["code"] for each in errors.splitlines()] == ["request_erased"] * 3
    assert sorted(office.sessions_charged()) == sorted(items.session_of(job, number) for number in (0, 2))


async def test_a_line_that_is_erased_while_its_answer_is_computed_is_stopped_and_uncharged(office):
    office.at_once = 2
    office.hired()
    office.generator.gate = asyncio.Event()
    job = await office.start(JANES, ASK)
    async with working(office):
        await until(lambda: len(office.sessions.all) == 2)
        jane = janes_lines(office)
        assert sum([await jane.erase(found, office.worker.drop_lines) async for found in jane.found()]) == 1
        await until(lambda: len(office.sessions.all) == 1)
        office.generator.gate.set()
        job = await office.over(job)
    assert (job.state, job.total, job.done, job.failed) == (JobState.DONE, 2, 1, 1)
    assert (await office.lines(job.errors))[""]["error"]["code"] == "request_erased"
    assert office.sessions_charged() == [items.session_of(job, 1)]


@pytest.mark.parametrize("subject", ["jane", ""])
async def test_a_job_that_is_erased_while_it_runs_is_stopped_at_once_and_uncharged(office, subject):
    office.generator.gate = asyncio.Event()
    job = await office.start(ASK, ASK, tags=("subject=jane",))
    other = await office.start(ASK, principal=OTHER)
    async with working(office):
        await until(lambda: len(office.sessions.all) == 3)
        assert office.sessions.all.about("acme", "jane") == office.sessions.all.about("acme", "") == 2
        assert office.sessions.all.about("acme", "john") == 0
        await office.passing.erase("acme", subject or None)
        assert office.worker.drop("acme", subject) == 5
        await until(lambda: len(office.sessions.all) == 1)
        with pytest.raises(NotFound):
            await office.look(job)
        office.generator.gate.set()
        await office.over(other, OTHER)
    assert office.sessions_charged() == [items.session_of(other, 0)]


async def test_erased_lines_of_a_batch_whose_server_dies_are_told_once(office):
    entered, begin = asyncio.Event(), office.passing.begin

    async def begins(*given):
        begun = await begin(*given)
        entered.set()
        await asyncio.Event().wait()
        return begun

    office.passing.begin = begins
    job = await office.start(JANES, ASK)
    async with working(office):
        await asyncio.wait_for(entered.wait(), 60)
        assert await erase_jane(office) == 1
    office.passing.begin = begin
    await office.passing.let_go("server")
    office.hired()
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.total, job.done, job.failed) == (JobState.DONE, 2, 1, 1)
    assert (await office.lines(job.errors))[""]["error"]["code"] == "request_erased"


async def test_a_defect_of_the_server_concerns_one_line(office, monkeypatch):
    """Its batch goes on: it used to begin again, and again."""
    negotiate = ChatCompletions.negotiate

    class Broken:
        def emit(self, event, now_ns):
            raise RecursionError

    def negotiated(self, opening, body):
        if b"unspeakable" in body:
            raise RecursionError
        found = negotiate(self, opening, body)
        return replace(found, surface=Broken()) if b"defect" in body else found

    monkeypatch.setattr(ChatCompletions, "negotiate", negotiated)
    said = [[{"role": "user", "content": text}] for text in ("count", "defect", "unspeakable", "count")]
    job = await office.start(*({**ASK, "messages": messages} for messages in said))
    async with working(office):
        job = await office.over(job)
    assert (job.state, job.attempt, job.done, job.failed) == (JobState.DONE, 1, 2, 2)
    errors = await office.lines(job.errors)
    assert {name: line["response"]["status_code"] for name, line in errors.items()} == {"r1": 500, "r2": 500}
