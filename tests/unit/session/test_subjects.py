"""What is kept about a person: exported whole, erased everywhere, and certified in the audit log."""

import asyncio
import json
import sqlite3
from base64 import b64decode
from dataclasses import replace
from functools import partial

import pytest
from job_records import blob, job

from antiphon.core import merkle
from antiphon.core.audit import Author, canonical
from antiphon.core.endpoints import AnswerRequest, Referring
from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.identity import Principal, Project, Scope
from antiphon.core.jobs import ItemOutcome, JobState, NewFile, NewJob, Page
from antiphon.core.merkle import leaf_hash
from antiphon.core.policy import Policy
from antiphon.core.specs import GenerateSpec, Message, Role
from antiphon.core.stores import AnswerBounds, JobBounds
from antiphon.core.wire import Keep
from antiphon.jobs.service import Service
from antiphon.jobs.tiers import Tiers
from antiphon.routes import JOB_KINDS
from antiphon.session import subject_lines
from antiphon.session.keeping import Keeper
from antiphon.session.subjects import PAGE, PIECE_BYTES, Subjects
from antiphon.stores import open_server_stores
from antiphon.surfaces.openai.batch_lines import KIND
from antiphon.surfaces.openai.files import OUTPUT
from antiphon.trust.audit import Auditor

HOUR_S = 3600
JANE, JOHN = "jane.roe@example.org", "john"
BY = Author("k1", 1, "192.0.2.0/24", "r1")
PRINCIPAL = Principal("acme", "k1", frozenset(Scope))
AUDIO = bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"end"


class Kept:
    """Stores of two projects, and what is kept there."""

    def __init__(self, path, clock):
        self.stores = open_server_stores(path, "a", clock, jobs=JobBounds(16 << 20, 32 << 20, 16 << 20, 32 << 20))
        for id in ("acme", "other"):
            self.stores.directory.add_project(Project(id, id, 0))
        self.clock = clock
        self.keeper = Keeper(self.stores.answers, lambda project: HOUR_S, clock, sealer=self.stores.sealer)
        auditor = Auditor(self.stores.ledger, self.stores.directory, clock, lambda project: Policy())
        self.subjects = Subjects(self.stores, self.keeper, lambda project: HOUR_S, auditor, JOB_KINDS)

    async def answer(self, id, subject="", previous="", keep=True, tags=()):
        """Answer a call, and keep the answer."""
        labels = (f"subject={subject}",) if subject else ()
        spec = GenerateSpec("m", (Message(Role.USER, f"{id} asks"),), tags=labels)
        asked = AnswerRequest(spec, None, previous, keep=keep)
        made, keeping = await self.keeper.begin(PRINCIPAL, asked, lambda size: None, tags=tags)
        await keeping.put(Keep(id, b'{"said": "yes"}', (spec.prompt[0], Message(Role.ASSISTANT, f"{id} is told"))))
        return made

    async def files(self, store, subject):
        pseudonym = self.stores.sealer.pseudonym("acme", subject)
        await store.put_blob("acme", replace(blob(f"{subject}-1"), name=f"{subject}.wav", subject=pseudonym), AUDIO)
        made = job(f"job-{subject}", request=b"\xff", result=b"[1]", tags=(f"subject={subject}",), subject=pseudonym)
        await store.create(made, 9)

    async def lines(self, subject, project="acme"):
        return [line async for line in self.subjects.export(project, subject, BY)]

    async def close(self):
        for store in (self.stores.jobs, self.stores.passing, self.stores.answers, self.stores.ledger):
            await store.close()


@pytest.fixture
async def kept(tmp_path, clock):
    made = Kept(tmp_path, clock)
    yield made
    await made.close()


async def everything(kept):
    await kept.answer("r1", JANE)
    await kept.answer("r2", JOHN)
    await kept.answer("r3", JOHN, previous="r1")  # says what Jane said, too
    await kept.answer("r4", tags=(f"subject={JANE}", "consent=yes"))
    await kept.answer("r5")
    for store in (kept.stores.jobs, kept.stores.passing):
        for subject in (JANE, JOHN):
            await kept.files(store, subject)
    jane = kept.stores.sealer.pseudonym("acme", JANE)
    kept.keeper.recents.remember(PRINCIPAL, Keep("r6", b"not JSON", subjects=(jane,)))
    kept.keeper.recents.remember(PRINCIPAL, Keep("r7", b"{}"))


async def test_all_about_a_person_is_exported_with_its_audio_and_no_more(kept):
    await everything(kept)
    first, *lines, last = await kept.lines(JANE)
    assert (first["kind"], first["subject"], last["kind"]) == ("export", JANE, "end")
    assert last["counts"] == {"answers": 3, "remembered": 1, "jobs": 2, "files": 2, "lines": 0}
    assert [line["id"] for line in lines if line["kind"] == "answer"] == ["r1", "r3", "r4", "r6"]
    assert lines[0]["response"] == {"said": "yes"}
    assert [each["text"] for each in lines[1]["conversation"]] == ["r1 asks", "r1 is told", "r3 asks", "r3 is told"]
    assert b64decode(lines[3]["response_base64"]) == b"not JSON"
    told = next(line for line in lines if line["kind"] == "job")
    assert (told["job"]["state"], told["request_base64"], told["result"]) == ("queued", "/w==", [1])
    pieces = [line for line in lines if line["kind"] == "file_data"][:3]
    assert b"".join(b64decode(each["base64"]) for each in pieces) == AUDIO
    assert JOHN not in {line.get("name", "").partition(".")[0] for line in lines}
    assert last["untagged_files"] == 0
    await kept.stores.jobs.put_blob("acme", blob("of nobody"), b"{}")
    assert (await kept.lines(JANE))[-1]["untagged_files"] == 1
    assert (await kept.subjects.erase("acme", "nobody", BY)).untagged_files == 1
    json.dumps(lines)
    assert (await kept.lines("nobody"))[-1]["counts"] == {
        "answers": 0,
        "remembered": 0,
        "jobs": 0,
        "files": 0,
        "lines": 0,
    }
    assert (await kept.lines(JANE, "other"))[-1]["counts"]["answers"] == 0


async def test_an_erasure_takes_all_of_it_and_nothing_else_and_is_in_the_log(kept, tmp_path):
    await everything(kept)
    certificate = await kept.subjects.erase("acme", JANE, BY)
    found = {"answers": 3, "remembered": 1, "jobs": 2, "files": 2, "lines": 0}
    assert dict(certificate.record.counts) == found | {"under_way": 0, "notices": 0}
    assert (await kept.lines(JANE))[-1]["counts"] == {"answers": 0, "remembered": 0, "jobs": 0, "files": 0, "lines": 0}
    assert (await kept.lines(JOHN))[-1]["counts"] == {"answers": 1, "remembered": 0, "jobs": 2, "files": 2, "lines": 0}
    assert (await kept.stores.answers.get("acme", "r5", HOUR_S)).id == "r5"
    assert kept.keeper.recents.find("k1", "r7")

    shown = certificate.shown()
    record = shown["record"]
    assert (record["action"], record["actor"], record["address"]) == ("subject.erase", "k1", "192.0.2.0/24")
    assert (record["project"], record["outcome"], record["request"]) == ("acme", "done", "r1")
    assert JANE not in json.dumps(shown)
    number, size = shown["log"]["number"], shown["log"]["size"]
    (logged,) = await kept.stores.trail.logged(number, 1)
    assert logged.body == canonical(certificate.record)
    assert logged.leaf.hex() == shown["log"]["leaf"] == leaf_hash(logged.body).hex()
    assert number < size <= await kept.stores.trail.size()
    assert merkle.subtrees((0, size))
    for file in tmp_path.iterdir():
        assert JANE.encode() not in file.read_bytes(), file


async def test_of_many_all_are_exported(kept):
    pseudonym = kept.stores.sealer.pseudonym("acme", JANE)
    for number in range(PAGE + 1):
        await kept.stores.jobs.put_blob("acme", blob(f"f{number}", subject=pseudonym), b"{}")
        await kept.stores.jobs.create(job(f"j{number}", subject=pseudonym), 999)
    assert (await kept.lines(JANE))[-1]["counts"] == {
        "answers": 0,
        "remembered": 0,
        "jobs": PAGE + 1,
        "files": PAGE + 1,
        "lines": 0,
    }


async def test_what_refers_to_an_answer_is_about_the_same_people(kept):
    await kept.answer("r1", JANE)

    def made(found, then=lambda: None):
        then()
        return AnswerRequest(GenerateSpec("m", ()), None, keep=True)

    request = await kept.keeper.resolve(PRINCIPAL, Referring(("r1", "unknown"), made), lambda size: None)
    _, keeping = await kept.keeper.begin(PRINCIPAL, request, lambda size: None)
    await keeping.put(Keep("r2", b"{}"))
    assert (await kept.lines(JANE))[-1]["counts"]["answers"] == 2
    erase = partial(asyncio.run_coroutine_threadsafe, loop=asyncio.get_running_loop())
    during = Referring(("r1",), lambda found: made(found, erase(kept.subjects.erase("acme", JANE, BY)).result))
    with pytest.raises(NotFound):
        await kept.keeper.resolve(PRINCIPAL, during, lambda size: None)


async def test_what_is_being_answered_while_it_is_erased_is_not_kept(kept):
    spec = GenerateSpec("m", (), tags=(f"subject={JANE}",))
    _, keeping = await kept.keeper.begin(PRINCIPAL, AnswerRequest(spec, None, keep=True), lambda size: None)
    _, other = await kept.keeper.begin(
        PRINCIPAL, AnswerRequest(replace(spec, tags=()), None, keep=True), lambda size: None
    )
    await kept.subjects.erase("acme", JANE, BY)
    await keeping.put(Keep("r1", b"{}"))
    await other.put(Keep("r2", b"{}"))
    with pytest.raises(NotFound):
        await kept.stores.answers.get("acme", "r1", HOUR_S)
    assert await kept.stores.answers.get("acme", "r2", HOUR_S)
    kept.clock.advance_ms(1)
    await kept.answer("r3", JANE)  # a later call is kept
    assert (await kept.lines(JANE))[-1]["counts"]["answers"] == 1


class Busy:
    """A server with calls, jobs and notices."""

    def __init__(self):
        self.dropped = []

    def about(self, project, subject):
        return {(JANE, "acme"): 2, ("", "acme"): 3}.get((subject, project), 0)

    def drop(self, project, pseudonym):
        self.dropped.append((project, pseudonym))
        return 4

    def drop_lines(self, job, numbers):
        self.dropped.append((job.id, numbers))


async def test_the_certificate_says_what_was_under_way_and_what_runs_is_stopped(kept):
    busy = Busy()
    kept.subjects._work, kept.subjects._open_about = busy, busy.about
    store = kept.stores.jobs
    await store.put_blob("acme", blob("in"), f"{line(0, {'user': JOHN})}\n{line(1, {'user': JANE})}\n".encode())
    await store.create(job("b1", kind=KIND, input="in", output="out", errors="err"), 9)
    claimed = await store.claim("a", (), [KIND])
    await store.begin(claimed, "a", 2, b"", tuple(blob(id, purpose=OUTPUT) for id in ("out", "err")))
    counts = (await kept.subjects.erase("acme", JANE, BY)).shown()["erased"]
    assert (counts["under_way"], counts["notices"]) == (2, 4)
    pseudonym = kept.stores.sealer.pseudonym("acme", JANE)
    assert busy.dropped[:2] == [("acme", pseudonym), ("b1", frozenset({1}))]
    counts = (await kept.subjects.erase_project("acme", BY)).shown()["erased"]
    assert (counts["under_way"], counts["notices"]) == (3, 4)
    assert busy.dropped[-1] == ("acme", "")


@pytest.mark.parametrize("whole", [False, True])
async def test_what_is_stored_at_the_moment_of_an_erasure_is_not_kept(kept, whole):
    """An upload, a job with its input, and a job of a file that is there already."""
    store = kept.stores.jobs
    tiers = Tiers(kept.stores, lambda project: HOUR_S, lambda wiped: None)
    service = Service(tiers, kept.clock, kept.stores.sealer, kept.keeper.erased_since)
    tags = (f"subject={JANE}",)
    tell = lambda *given: given  # noqa: E731
    asked = {
        "put_blob": NewFile("file-1", "a.jsonl", "batch", b"{}", None, tell, tags=tags),
        "create": NewJob("batch", "job-1", b"", "in-1", "", "o", "e", 3600, 0, tell, data=b"{}", tags=tags),
    }
    for name, question in asked.items():
        method = getattr(store, name)

        async def meanwhile(*given, method=method):
            erase = kept.subjects.erase_project("acme", BY) if whole else kept.subjects.erase("acme", JANE, BY)
            await erase
            return await method(*given)

        setattr(store, name, meanwhile)
        with pytest.raises(Conflict, match="erased at this moment"):
            await service.answer(question, PRINCIPAL)
        setattr(store, name, method)
        assert await store.blobs("acme", (), Page(), HOUR_S) == ([], False)
        with pytest.raises(NotFound):
            await store.job("acme", "job-1", HOUR_S)
        kept.clock.advance_ms(1)
        await service.answer(question, PRINCIPAL)  # a later call is kept
        await kept.subjects.erase("acme", JANE, BY)
        kept.clock.advance_ms(1)


async def test_a_project_is_erased_with_its_keys(kept, tmp_path):
    await everything(kept)
    before = (tmp_path / "answers.db").read_bytes(), (tmp_path / "jobs.db").read_bytes()
    certificate = await kept.subjects.erase_project("acme", BY)
    counts = {"answers": 5, "remembered": 2, "jobs": 4, "files": 4, "resources": 0, "under_way": 0, "notices": 0}
    assert dict(certificate.record.counts) == counts
    assert certificate.record.action == "project.erase"
    kept.clock.advance_ms(1)
    for name, content in zip(("answers.db", "jobs.db"), before, strict=True):
        (tmp_path / f"old-{name}").write_bytes(content)  # as from a backup
    old = type(kept.stores.answers)(tmp_path / "old-answers.db", kept.clock, AnswerBounds(), kept.stores.sealer)
    with pytest.raises(NotFound):
        await old.get("acme", "r5", HOUR_S)
    await old.close()
    await kept.answer("r8")
    assert await kept.stores.answers.get("acme", "r8", HOUR_S)


async def test_without_that_project_or_a_name_nothing_is_done(kept):
    for asked in (kept.lines(JANE, "nowhere"), kept.subjects.erase("nowhere", JANE, BY)):
        with pytest.raises(NotFound):
            await asked
    for subject in ("", "x" * 257):
        with pytest.raises(CallerError):
            await kept.subjects.erase("acme", subject, BY)
    with pytest.raises(NotFound):
        await kept.subjects.erase_project("nowhere", BY)


def line(n, body, **more):
    return json.dumps({"custom_id": f"r{n}", "method": "POST", "url": "/v1/responses", "body": body} | more)


async def shared_batch(kept, store, *, mark=b""):
    """A file that is not tagged, about several people, its answers, and their bytes as they were."""
    lines = [
        line(0, {"input": "Jane asks", "safety_identifier": JANE, "user": JOHN}),
        line(1, {"input": "John asks", "user": JOHN}),
        "",
        line(2, {"input": "x" * (PIECE_BYTES + 9), "metadata": {"subject": JANE}, "user": JOHN}),
        line(3, {"input": "John asks", "metadata": {"subject": JOHN}, "safety_identifier": JANE}),
    ]
    answers = [json.dumps({"id": f"a{n}", "custom_id": f"r{n}", "response": f"answer {n}"}) + "\n" for n in (2, 1)]
    errors = [json.dumps({"id": f"a{n}", "custom_id": f"r{n}", "error": f"error {n}"}) + "\n" for n in (0, 3)]
    sent = {"in": mark + "\n".join(lines).encode(), "out": "".join(answers).encode(), "err": "".join(errors).encode()}
    await store.put_blob("acme", blob("in"), sent["in"])
    await store.create(job("b1", kind=KIND, input="in", output="out", errors="err"), 9)
    claimed = await store.claim("a", (), [KIND])
    begun = await store.begin(claimed, "a", 4, b"", tuple(blob(id, purpose=OUTPUT) for id in ("out", "err")))
    outcomes = [ItemOutcome(n, True, each.encode()) for n, each in zip((3, 1), answers, strict=True)]
    outcomes += [ItemOutcome(n, False, each.encode()) for n, each in zip((0, 4), errors, strict=True)]
    done = await store.record(begun, "a", outcomes)
    await store.finish(done, "a", JobState.DONE, None, done.ends_unix_ms)
    return sent


def texts(sent, *found):
    lines = (each for data in sent.values() for each in data.decode("utf-8-sig").splitlines())
    return [each for each in lines if any(map(each.count, found))]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("place", ["jobs", "passing"])
async def test_lines_of_a_shared_file_are_exported_and_erased_with_their_answers(kept, tmp_path, place, mark):
    store = getattr(kept.stores, place)
    sent = await shared_batch(kept, store, mark=mark)
    sealed = _pieces(tmp_path)
    janes = texts(sent, '"r0"', '"r2"')
    assert len(janes) == 4
    found = await kept.lines(JANE)
    assert [each["line"] for each in found if each["kind"] == "line"] == list(map(json.loads, janes))
    assert (found[-1]["counts"]["lines"], found[-1]["untagged_files"]) == (4, 0)
    certificate = await kept.subjects.erase("acme", JANE, BY)
    assert dict(certificate.record.counts)["lines"] == 4
    assert certificate.untagged_files == 0
    for id, data in sent.items():
        lines = data.removeprefix(mark).split(b"\n")
        wanted = [b"{}".ljust(len(each)) if each.decode() in janes else each for each in lines]
        whole = (mark if id == "in" else b"") + b"\n".join(wanted)
        assert await store.read_blob("acme", id, HOUR_S, 0, len(data) + 1) == whole
    for file in tmp_path.iterdir():
        now = file.read_bytes()
        assert JANE.encode() not in now, file
        assert not any(piece in now for piece in sealed), file
    assert (await kept.lines(JANE))[-1]["counts"]["lines"] == 0
    assert (await kept.lines(JOHN))[-1]["counts"]["lines"] == 4
    assert (await kept.subjects.erase("acme", JANE, BY)).shown()["erased"]["lines"] == 0


def _pieces(path):
    """A part of each sealed piece that has a line about Jane."""
    with sqlite3.connect(path / "jobs.db") as file:
        rows = file.execute("SELECT body FROM pieces WHERE start = 0 AND blob IN ('in', 'out', 'err')").fetchall()
    return [body[-64:] for (body,) in rows] + [body[40:104] for (body,) in rows]


async def test_of_many_lines_all_are_erased_some_at_once(kept, monkeypatch):
    monkeypatch.setattr(subject_lines, "MOST_LINES", 2)
    monkeypatch.setattr(subject_lines, "CHUNK_BYTES", 100)
    monkeypatch.setattr(subject_lines, "MOST_FILES", 2)
    monkeypatch.setattr(subject_lines, "MOST_JOBS", 1)
    for n in range(4):
        await kept.stores.jobs.put_blob("acme", blob(f"other{n}"), b"no JSON")
        await kept.stores.jobs.create(job(f"b{n}", kind=KIND), 9)
    data = "\n".join(line(n, {"user": JANE if n % 2 else JOHN}) for n in range(20)).encode()
    await kept.stores.jobs.put_blob("acme", blob("in"), data)
    assert (await kept.subjects.erase("acme", JANE, BY)).shown()["erased"]["lines"] == 10
    left = await kept.stores.jobs.read_blob("acme", "in", HOUR_S, 0, 9999)
    assert left.count(b"{} ") == left.count(JOHN.encode()) == 10
    assert JANE.encode() not in left


@pytest.mark.parametrize("text", ["no JSON", line(0, {}), line(0, "x"), "{}", line(0, {"user": 7}), "[]", "[" * 9999])
async def test_a_file_that_does_not_name_somebody_in_each_line_is_counted(kept, text, monkeypatch):
    data = f"{text}\n{line(1, {'user': JANE})}\n{line(2, {'user': JOHN})}\n".encode()
    await kept.stores.jobs.put_blob("acme", blob("in"), data)
    await kept.stores.jobs.put_blob("acme", blob("out", purpose=OUTPUT), b"{}\n")  # its batch is gone
    await kept.stores.jobs.put_blob("acme", blob("johns", subject="j"), b"no JSON")
    certificate = await kept.subjects.erase("acme", JANE, BY)
    assert (certificate.untagged_files, dict(certificate.record.counts)["lines"]) == (2, 1)
    monkeypatch.setattr(subject_lines, "MOST_LINE_BYTES", 9)
    monkeypatch.setattr(subject_lines, "CHUNK_BYTES", 4)
    assert (await kept.lines(JOHN))[-1]["untagged_files"] == 2
