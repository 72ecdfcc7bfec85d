"""What every implementation of the store of jobs does, the fake among them."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from files import mode
from job_records import DAY_S, NOW, blob, job
from vaults import open_vault

from antiphon.core.errors import CapacityError, NotFound
from antiphon.core.events import TokenUsage
from antiphon.core.jobs import ItemOutcome, JobState, Page
from antiphon.core.stores import LEASE_MS, RECORD_BYTES, LeaseLost, StorageFull
from antiphon.stores.sqlite import jobs
from antiphon.stores.sqlite.connection import MEMORY
from antiphon.stores.sqlite.jobs import PIECE_BYTES, SqliteJobs
from antiphon.stores.sqlite.jobs_schema import MIGRATIONS
from antiphon.testing import FakeJobs

KINDS = ("batch", "transcript")
PROJECT_BYTES, ALL_BYTES = 8 << 20, 12 << 20
STORES = {
    "sqlite": lambda path, clock: SqliteJobs(path / "jobs.db", clock, PROJECT_BYTES, ALL_BYTES),
    "sealed": lambda path, clock: SqliteJobs(path / "jobs.db", clock, PROJECT_BYTES, ALL_BYTES, open_vault(path)),
    "memory": lambda path, clock: SqliteJobs(MEMORY, clock, PROJECT_BYTES, ALL_BYTES),
    "fake": lambda path, clock: FakeJobs(clock, PROJECT_BYTES, ALL_BYTES),
}


@pytest.fixture(params=STORES)
async def store(request, tmp_path, clock):
    made = STORES[request.param](tmp_path, clock)
    yield made
    await made.close()


async def begun(store, **values):
    """A job that runs on server a, its input checked."""
    await store.create(job(**values), 10)
    claimed = await store.claim("a", (), KINDS)
    outputs = tuple(blob(id, purpose="batch_output") for id in (claimed.output, claimed.errors))
    return await store.begin(claimed, "a", 3, b"checked", outputs)


# -- blobs -------------------------------------------------------------------------------------------------------------


async def test_a_blob_is_read_as_it_was_put_wherever_one_begins(store):
    data = bytes(range(256)) * (10 * PIECE_BYTES // 4 // 256) + b"end"
    assert await store.put_blob("acme", blob(), data) == replace(blob(), size_bytes=len(data))
    assert await store.blob("acme", "file-1", DAY_S) == replace(blob(), size_bytes=len(data))
    for start, size in ((0, len(data)), (5, 7), (PIECE_BYTES - 1, 2), (len(data) - 3, 100), (len(data), 1), (9**9, 1)):
        assert await store.read_blob("acme", "file-1", DAY_S, start, size) == data[start : start + size]


async def test_another_projects_is_not_there(store):
    await store.put_blob("acme", blob(), b"theirs")
    await store.create(job(), 10)
    await store.delete_blob("other", "file-1")
    await store.delete_job("other", "job-1")
    for asked in (
        store.blob("other", "file-1", DAY_S),
        store.read_blob("other", "file-1", DAY_S, 0, 9),
        store.job("other", "job-1", DAY_S),
        store.cancel("other", "job-1", DAY_S),
    ):
        with pytest.raises(NotFound):
            await asked
    assert await store.blobs("other", (), Page(), DAY_S) == ([], False)
    assert await store.jobs("other", "batch", Page(), DAY_S) == ([], False)
    assert await store.read_blob("acme", "file-1", DAY_S, 0, 9) == b"theirs"
    assert (await store.job("acme", "job-1", DAY_S)).state is JobState.QUEUED


async def test_everything_has_an_end_that_a_shorter_policy_moves_forward(store, clock):
    await store.put_blob("acme", blob(ends=NOW + 60_000), b"x")
    await store.create(job(ends_unix_ms=NOW + 60_000), 10)
    clock.advance_ms(59_999)
    assert await store.blob("acme", "file-1", 60)
    assert await store.job("acme", "job-1", 60)
    for later, keep_s in ((0, 59), (1, DAY_S)):
        clock.advance_ms(later)
        for asked in (store.blob("acme", "file-1", keep_s), store.job("acme", "job-1", keep_s)):
            with pytest.raises(NotFound):
                await asked
        assert await store.blobs("acme", (), Page(), keep_s) == ([], False)


async def test_a_purge_wipes_what_is_past_its_end_or_its_policy_and_nothing_else(store, clock):
    for project in ("short", "strict", "long"):
        ends = NOW + 60_000 if project == "short" else NOW + DAY_S * 1000
        await store.put_blob(project, blob(ends=ends), b"x")
        await store.create(job(project=project, ends_unix_ms=ends), 10)
    clock.advance_ms(60_000)
    wiped = await store.purge(lambda project: 30 if project == "strict" else DAY_S)
    assert wiped == {"short": 2, "strict": 2}
    clock.advance_ms(-60_000)  # so that only what was wiped is gone
    assert await store.blob("long", "file-1", DAY_S)
    assert await store.job("long", "job-1", DAY_S)
    for project in ("short", "strict"):
        for asked in (store.blob(project, "file-1", DAY_S), store.job(project, "job-1", DAY_S)):
            with pytest.raises(NotFound):
                await asked


async def test_what_is_wiped_is_overwritten_in_the_file(tmp_path, clock):
    store = SqliteJobs(tmp_path / "jobs.db", clock, PROJECT_BYTES, ALL_BYTES)
    await store.put_blob("acme", blob(), b"the-secret")
    assert b"the-secret" in (tmp_path / "jobs.db").read_bytes()
    await store.delete_blob("acme", "file-1")
    await store.close()
    assert b"the-secret" not in (tmp_path / "jobs.db").read_bytes()
    assert mode(tmp_path / "jobs.db") == 0o600


async def test_a_project_and_all_together_have_their_bounds(store):
    half = bytes(PROJECT_BYTES // 2)
    await store.put_blob("acme", blob("f1"), half)
    with pytest.raises(StorageFull):
        await store.put_blob("acme", blob("f2"), half)
    with pytest.raises(NotFound):
        await store.blob("acme", "f2", DAY_S)
    await store.put_blob("other", blob("f1"), half)
    with pytest.raises(StorageFull):
        await store.put_blob("third", blob("f1"), half)
    await store.delete_blob("acme", "f1")
    await store.put_blob("third", blob("f1"), half)
    assert 2 * (len(half) + RECORD_BYTES) <= ALL_BYTES


async def test_lists_are_in_pages_by_age(store):
    for number in range(5):
        await store.put_blob("acme", blob(f"f{number}", created=NOW + number // 2), b"")
        await store.create(job(f"j{number}", created=NOW + number // 2), 10)
    await store.put_blob("acme", blob("z", purpose="batch_output"), b"")
    listed, more = await store.blobs("acme", ("batch",), Page(limit=2), DAY_S)
    assert ([each.id for each in listed], more) == (["f4", "f3"], True)
    listed, more = await store.blobs("acme", ("batch",), Page("f3", 3), DAY_S)
    assert ([each.id for each in listed], more) == (["f2", "f1", "f0"], False)
    listed, more = await store.blobs("acme", ("batch",), Page("f1", 2, newest_first=False), DAY_S)
    assert ([each.id for each in listed], more) == (["f2", "f3"], True)
    jobs, more = await store.jobs("acme", "batch", Page("j4", 3), DAY_S)
    assert ([each.id for each in jobs], more) == (["j3", "j2", "j1"], True)
    assert await store.jobs("acme", "other", Page(), DAY_S) == ([], False)
    made = Page(since_unix_ms=NOW + 1, until_unix_ms=NOW + 2)
    assert [each.id for each in (await store.jobs("acme", "batch", made, DAY_S))[0]] == ["j3", "j2"]
    await store.cancel("acme", "j1", DAY_S)
    for states, found in (((JobState.CANCELLED,), ["j1"]), ((JobState.DONE, JobState.RUNNING), [])):
        assert [each.id for each in (await store.jobs("acme", "batch", Page(), DAY_S, states))[0]] == found
    with pytest.raises(NotFound):
        await store.jobs("acme", "batch", Page("nothing"), DAY_S)


async def test_what_is_about_a_person_is_listed_and_erased_alone(store):
    for project, subject in (("acme", "jane"), ("acme", ""), ("acme", "john"), ("other", "jane")):
        await store.put_blob(project, blob(f"f-{subject}", subject=subject), b"x")
        await store.put_blob(project, blob(f"own-{subject}", subject=subject, purpose=""), b"x")
        await store.create(job(f"j-{subject}", project=project, subject=subject, tags=("a=1",)), 10)
    blobs, _ = await store.blobs_about("acme", "jane", Page(), DAY_S)
    jobs, more = await store.jobs_about("acme", "jane", Page(), DAY_S)
    assert {each.id for each in blobs} == {"f-jane", "own-jane"}
    assert ([(each.id, each.tags) for each in jobs], more) == ([("j-jane", ("a=1",))], False)
    assert await store.erase("acme", "jane") == {"jobs": 1, "blobs": 2}
    assert await store.jobs_about("acme", "jane", Page(), DAY_S) == ([], False)
    assert len((await store.blobs_about("other", "jane", Page(), DAY_S))[0]) == 2
    assert await store.erase("acme") == {"jobs": 2, "blobs": 4}
    assert await store.blob("other", "f-jane", DAY_S)


# -- jobs --------------------------------------------------------------------------------------------------------------


async def test_a_job_comes_back_as_it_was_and_is_made_once(store):
    made = job(result=b"r", output_s=7)
    await store.create(made, 1)
    await store.create(made, 1)
    assert await store.job("acme", "job-1", DAY_S) == made
    with pytest.raises(CapacityError):
        await store.create(job("job-2"), 1)
    await store.create(job("job-2", project="other"), 1)
    await store.create(job("job-2", kind="transcript"), 1)


async def test_the_oldest_that_waits_is_claimed_of_the_projects_that_may(store, clock):
    await store.create(job("j2", created=NOW + 1), 10)
    await store.create(job("j1"), 10)
    await store.create(job("j3", project="other", created=NOW + 2), 10)
    assert await store.claim("a", (), ("transcript", 'o"dd')) is None
    assert (await store.claim("a", {"acme", 'o"dd'}, KINDS)).id == "j3"
    first = await store.claim("a", (), KINDS)
    assert (first.id, first.state, first.attempt) == ("j1", JobState.RUNNING, 1)
    assert (await store.claim("b", (), KINDS)).id == "j2"
    assert await store.claim("b", (), KINDS) is None


async def test_a_lease_that_ends_is_anothers_and_who_had_it_is_told(store, clock):
    await store.create(job(), 10)
    claimed = await store.claim("a", (), KINDS)
    clock.advance_ms(LEASE_MS - 1)
    await store.beat(claimed, "a")
    clock.advance_ms(LEASE_MS - 1)
    assert await store.claim("b", (), KINDS) is None
    clock.advance_ms(1)
    again = await store.claim("b", (), KINDS)
    assert (again.id, again.attempt) == ("job-1", 2)
    for said in (
        store.beat(claimed, "a"),
        store.record(claimed, "a", ()),
        store.begin(claimed, "a", 1, b"", (blob("x"), blob("y"))),
        store.finish(claimed, "a", JobState.DONE, None, NOW),
    ):
        with pytest.raises(LeaseLost):
            await said
    assert (await store.beat(again, "b")).state is JobState.RUNNING


async def test_a_server_that_starts_lets_go_of_its_own(store):
    await store.create(job("j1"), 10)
    await store.create(job("j2"), 10)
    await store.claim("a", (), KINDS)
    await store.claim("b", (), KINDS)
    await store.let_go("a")
    assert (await store.claim("a", (), KINDS)).id == "j1"
    assert await store.claim("a", (), KINDS) is None


async def test_outcomes_are_written_once_and_shown_at_the_end(store, clock):
    running = await begun(store)
    assert (running.total, running.result, running.begun_unix_ms) == (3, b"checked", NOW)
    outcomes = [ItemOutcome(0, True, b"zero\n", TokenUsage(3, 2, 1)), ItemOutcome(2, False, b"two\n")]
    await store.record(running, "a", outcomes)
    running = await store.record(
        running, "a", [*outcomes, ItemOutcome(1, True, b"one\n", TokenUsage(5, 7, reasoning=2))]
    )
    assert (running.done, running.failed) == (2, 1)
    tokens = running.input_tokens, running.cached_tokens, running.output_tokens, running.reasoning_tokens
    assert tokens == (8, 1, 9, 2)
    assert await store.recorded(running) == {0, 1, 2}
    with pytest.raises(NotFound):
        await store.blob("acme", running.output, DAY_S)
    clock.advance_ms(5)
    over = await store.finish(running, "a", JobState.DONE, None, NOW + 60_000)
    assert (over.state, over.over_unix_ms, over.result) == (JobState.DONE, NOW + 5, b"checked")
    assert await store.job("acme", "job-1", DAY_S) == over
    assert await store.read_blob("acme", over.output, DAY_S, 0, 99) == b"zero\none\n"
    assert await store.read_blob("acme", over.errors, DAY_S, 0, 99) == b"two\n"
    shown = await store.blob("acme", over.errors, DAY_S)
    assert (shown.size_bytes, shown.created_unix_ms, shown.ends_unix_ms) == (4, NOW + 5, NOW + 60_000)
    with pytest.raises(LeaseLost):
        await store.finish(running, "a", JobState.DONE, None, NOW)


async def test_an_output_without_anything_in_it_is_gone(store):
    running = await begun(store)
    await store.record(running, "a", [ItemOutcome(0, True, b"zero\n")])
    over = await store.finish(running, "a", JobState.EXPIRED, b"why", NOW + 60_000)
    assert (over.output, over.errors, over.result) == (running.output, "", b"why")
    assert [each.id for each in (await store.blobs("acme", (), Page(), DAY_S))[0]] == [running.output]


async def test_what_is_begun_again_goes_on_from_what_is_known(store, clock):
    running = await begun(store)
    await store.record(running, "a", [ItemOutcome(1, True, b"one\n")])
    await store.let_go("a")
    again = await store.claim("a", (), KINDS)
    assert (again.attempt, again.total, again.done) == (2, 3, 1)
    same = await store.begin(again, "a", 99, b"else", (blob("x"), blob("y")))
    assert (same.total, same.result) == (3, b"checked")
    assert await store.recorded(again) == {1}


async def test_a_queued_job_is_cancelled_at_once_and_a_running_one_by_its_worker(store, clock):
    await store.create(job("j1"), 10)
    running = await store.claim("a", (), KINDS)
    await store.create(job("j2"), 10)
    queued = await store.cancel("acme", "j2", DAY_S)
    assert (queued.state, queued.cancel_unix_ms, queued.over_unix_ms) == (JobState.CANCELLED, NOW, NOW)
    asked = await store.cancel("acme", "j1", DAY_S)
    assert (asked.state, asked.cancel_unix_ms) == (JobState.RUNNING, NOW)
    clock.advance_ms(5)
    assert await store.cancel("acme", "j1", DAY_S) == asked
    assert await store.beat(running, "a") == asked
    assert await store.claim("a", (), KINDS) is None


async def test_outcomes_that_find_no_room_are_recorded_but_one_knows_it_before(store):
    running = await begun(store)
    await store.put_blob("acme", blob(), bytes(PROJECT_BYTES - 6 * RECORD_BYTES))
    await store.check_room("acme")
    await store.record(running, "a", [ItemOutcome(0, True, bytes(3 * RECORD_BYTES))])
    with pytest.raises(StorageFull):
        await store.check_room("acme")
    await store.check_room("other")
    await store.record(running, "a", [ItemOutcome(1, False, b"no room\n")])
    over = await store.finish(running, "a", JobState.FAILED, b"", NOW + 60_000)
    assert (over.output, over.errors, over.done, over.failed) == (running.output, running.errors, 1, 1)


async def test_a_job_is_there_with_its_own_input_or_not_at_all(store):
    refusals = ((CapacityError, 0, b"given"), (StorageFull, 10, bytes(PROJECT_BYTES)))
    for refusal, most_open, data in refusals:
        with pytest.raises(refusal):
            await store.create(job(), most_open, data)
        with pytest.raises(NotFound):
            await store.job("acme", job().id, DAY_S)
        with pytest.raises(NotFound):
            await store.blob("acme", job().input, DAY_S)
    for _ in range(2):  # as an operation may be repeated
        await store.create(job(), 10, b"given")
    assert (await store.blob("acme", job().input, DAY_S)).size_bytes == len(b"given")


async def test_what_is_a_jobs_own_is_listed_to_nobody_and_ends_with_it(store):
    own = {name: blob(f"own-{name}", purpose="") for name in ("output", "errors")}
    for id in ("j1", "j2"):
        names = {"input": f"{id}-in", "output": f"{id}-out", "errors": f"{id}-err"}
        await store.create(job(id, **names), 10, b"given")
    running = await store.claim("a", (), KINDS)
    outputs = tuple(replace(own[name], id=getattr(running, name)) for name in ("output", "errors"))
    await store.begin(running, "a", 1, b"", outputs)
    await store.record(running, "a", [ItemOutcome(0, True, b"one\n")])
    assert await store.read_blob("acme", running.input, DAY_S, 0, 9) == b"given"
    over = await store.finish(running, "a", JobState.DONE, None, NOW + 60_000)
    assert await store.blobs("acme", (), Page(), DAY_S) == ([], False)
    assert await store.read_blob("acme", over.output, DAY_S, 0, 9) == b"one\n"
    queued = await store.cancel("acme", "j2", DAY_S)
    for gone in (over.input, queued.input):
        with pytest.raises(NotFound):
            await store.blob("acme", gone, DAY_S)
    await store.delete_job("acme", over.id)
    with pytest.raises(NotFound):
        await store.blob("acme", over.output, DAY_S)


async def test_a_database_of_before_there_were_resources(tmp_path, clock):
    path = tmp_path / "jobs.db"
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute("PRAGMA user_version=1")
        old.commit()
    store = SqliteJobs(path, clock, PROJECT_BYTES, ALL_BYTES)
    await store.create(job(), 10)
    assert await store.resources.listed("acme", "recognizer", "", "", 9, True) == ([], False)
    await store.close()


async def test_a_job_is_deleted_with_what_it_has_written_and_who_works_on_it_is_told(store):
    running = await begun(store)
    await store.put_blob("acme", blob(), b"in")
    await store.record(running, "a", [ItemOutcome(0, True, b"zero\n")])
    await store.delete_job("acme", "job-1")
    for said in (store.beat(running, "a"), store.record(running, "a", [ItemOutcome(1, True, b"one\n")])):
        with pytest.raises(LeaseLost):
            await said
    with pytest.raises(NotFound):
        await store.job("acme", "job-1", DAY_S)
    assert [each.id for each in (await store.blobs("acme", (), Page(), DAY_S))[0]] == ["file-1"]
    await store.create(job("job-1"), 10)  # the ids of its outputs are free again
    await begun(store, id="job-2", output="job-1-out", errors="job-1-err")


async def test_a_job_ends_with_what_it_has_written_and_never_later_than_it_did(store, clock):
    running = await begun(store)
    await store.record(running, "a", [ItemOutcome(0, True, b"zero\n")])
    over = await store.finish(running, "a", JobState.DONE, None, NOW + 60_000)
    await store.end("acme", "job-1", NOW + DAY_S * 9_000)
    assert (await store.job("acme", "job-1", DAY_S)).ends_unix_ms == over.ends_unix_ms
    await store.end("other", "job-1", NOW)
    await store.end("acme", "job-1", NOW + 5)
    assert (await store.blob("acme", over.output, DAY_S)).ends_unix_ms == NOW + 5
    clock.advance_ms(5)
    for asked in (store.job("acme", "job-1", DAY_S), store.blob("acme", over.output, DAY_S)):
        with pytest.raises(NotFound):
            await asked


async def test_an_input_is_used_up_when_nothing_reads_it_any_more(store):
    await store.put_blob("acme", blob(), b"in")
    running = await begun(store)
    await store.use_up("other", "file-1")
    await store.use_up("acme", "file-1")
    assert await store.read_blob("acme", "file-1", DAY_S, 0, 9) == b"in"
    await store.finish(running, "a", JobState.DONE, None, NOW + 60_000)
    await store.use_up("acme", "file-1")
    with pytest.raises(NotFound):
        await store.blob("acme", "file-1", DAY_S)


# -- what it costs -----------------------------------------------------------------------------------------------------

SUMMED = f"""
SELECT project, sum(bytes) FROM (
    SELECT project, size_bytes + {RECORD_BYTES} AS bytes FROM blobs
    UNION ALL SELECT project, length(request) + {RECORD_BYTES} FROM jobs) GROUP BY project"""


def counted(file):
    """What is counted, and what it must be."""
    summed = dict(file.execute(SUMMED).fetchall())
    taken = dict(file.execute("SELECT project, bytes FROM taken").fetchall())
    return taken, summed | {"": sum(summed.values())}


async def test_what_is_taken_is_counted_with_each_change(tmp_path, clock):
    store = SqliteJobs(tmp_path / "jobs.db", clock, PROJECT_BYTES, ALL_BYTES, open_vault(tmp_path))
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file:
        await store.put_blob("acme", blob(), bytes(3 * PIECE_BYTES // 2))
        await store.put_blob("other", blob(), b"theirs")
        runs = await begun(store)
        await store.record(runs, "a", [ItemOutcome(0, True, b"a line\n"), ItemOutcome(1, False, b"another one\n")])
        taken, right = counted(file)
        assert taken == right
        assert taken["acme"] > taken["other"] > 0
        await store.finish(runs, "a", JobState.DONE, b"done", NOW + 1000)
        await store.delete_blob("acme", "file-1")
        taken, right = counted(file)
        assert taken == right
        await store.delete_job("acme", runs.id)
        await store.erase("other")
        clock.advance_ms(40 * DAY_S * 1000)
        await store.purge(lambda project: DAY_S)
        assert counted(file) == ({"": 0}, {"": 0})
    await store.close()


async def test_what_an_earlier_version_stored_is_counted(tmp_path, clock):
    path = tmp_path / "jobs.db"
    store = SqliteJobs(path, clock, PROJECT_BYTES, ALL_BYTES)
    await store.put_blob("acme", blob(), b"mine")
    await store.create(job("b1"), 10)
    await store.close()
    with closing(sqlite3.connect(path)) as file, file:
        for name, kind in file.execute("SELECT name, type FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP {kind} {name}")
        for name in ("blobs_by_age", "jobs_by_age"):
            file.execute(f"DROP INDEX {name}")
        file.execute("DROP TABLE taken")
        file.execute("PRAGMA user_version=3")
    store = SqliteJobs(path, clock, PROJECT_BYTES, ALL_BYTES)
    with closing(sqlite3.connect(path)) as file:
        taken, right = counted(file)
        assert taken == right
        assert taken["acme"] > 2 * RECORD_BYTES
    await store.close()


QUERIES = {
    "what is taken": (jobs._TAKEN, ("acme",)),
    "the next job": (jobs._CLAIM, (0, "[]", "[]")),
    "what is too old": ("SELECT project, id FROM blobs WHERE project = ? AND created_unix_ms <= ? LIMIT 16", ("a", 0)),
    "a page": ("SELECT * FROM jobs WHERE project = ? ORDER BY created_unix_ms DESC, id DESC LIMIT 20", ("a",)),
}


@pytest.mark.parametrize("query", QUERIES)
async def test_no_query_for_each_item_or_look_reads_all_rows(tmp_path, clock, query):
    store = SqliteJobs(tmp_path / "jobs.db", clock, PROJECT_BYTES, ALL_BYTES)
    text, values = QUERIES[query]
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file:
        plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    of_tables = [step for step in plan if "json_each" not in step and step.startswith(("SCAN", "SEARCH"))]
    assert any(step.startswith("SEARCH") for step in of_tables), plan
    assert not any(step.startswith("SCAN") for step in of_tables if step != "SCAN CONSTANT ROW"), plan
    await store.close()
