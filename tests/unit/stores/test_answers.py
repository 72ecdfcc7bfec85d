import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from files import mode, replace

from antiphon.core.errors import InternalError, NotFound
from antiphon.core.specs import Message, Role, ToolCall
from antiphon.core.stores import AnswerBounds, StorageFull
from antiphon.core.wire import Keep
from antiphon.stores.sqlite import answers as kept
from antiphon.stores.sqlite.answers import SqliteAnswers

TALK = (
    Message(Role.USER, "what is it?"),
    Message(Role.ASSISTANT, "ünknown", tool_calls=(ToolCall("c1", "f", "{}"),)),
    Message(Role.TOOL, "42", tool_call_id="c1"),
)
HOUR_S = 3600


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.db"


@pytest.fixture
async def store(path, clock):
    made = SqliteAnswers(path, clock, AnswerBounds())
    yield made
    await made.close()


async def test_what_is_kept_is_there_as_it_was_also_for_the_next_server(store, path, clock):
    keep = Keep("r1", b"\x00body", TALK)
    await store.put("acme", keep, HOUR_S)
    assert await store.get("acme", "r1", HOUR_S) == keep
    await store.put("acme", Keep("r1", b"later"), HOUR_S)
    assert await store.get("acme", "r1", HOUR_S) == Keep("r1", b"later")
    again = SqliteAnswers(path, clock, AnswerBounds())
    assert await again.get("acme", "r1", HOUR_S) == Keep("r1", b"later")
    await again.close()


async def test_another_projects_is_not_there(store):
    await store.put("acme", Keep("r1", b"theirs"), HOUR_S)
    await store.put("other", Keep("r1", b"ours"), HOUR_S)
    await store.delete("other", "r1")
    with pytest.raises(NotFound):
        await store.get("other", "r1", HOUR_S)
    assert (await store.get("acme", "r1", HOUR_S)).body == b"theirs"
    with pytest.raises(NotFound):
        await store.get("acme", "r2", HOUR_S)


@pytest.mark.parametrize("allowed_s", [HOUR_S, 10 * HOUR_S])
async def test_it_has_an_end_that_a_longer_policy_does_not_move(store, clock, allowed_s):
    await store.put("acme", Keep("r1", b"b"), HOUR_S)
    clock.advance_ms(HOUR_S * 1000 - 1)
    await store.put("acme", Keep("r1", b"c"), HOUR_S)  # kept again: the end stands
    assert (await store.get("acme", "r1", allowed_s)).body == b"c"
    clock.advance_ms(1)
    with pytest.raises(NotFound):
        await store.get("acme", "r1", allowed_s)


async def test_a_shorter_policy_holds_at_once(store, clock):
    await store.put("acme", Keep("r1", b"b"), HOUR_S)
    clock.advance_ms(60_000)
    assert await store.get("acme", "r1", 61)
    for allowed_s in (60, 0):
        with pytest.raises(NotFound):
            await store.get("acme", "r1", allowed_s)


async def test_a_purge_wipes_what_is_past_its_end_or_its_policy_and_nothing_else(store, path, clock):
    for project in ("short", "strict", "long"):
        await store.put(
            project, Keep("r1", b"the-secret-of-" + project.encode(), TALK), 60 if project == "short" else HOUR_S
        )
    clock.advance_ms(60_000)
    await store.purge(lambda project: 30 if project == "strict" else HOUR_S)
    assert (await store.get("long", "r1", HOUR_S)).body == b"the-secret-of-long"
    for project in ("short", "strict"):
        with pytest.raises(NotFound):
            await store.get(project, "r1", HOUR_S)
    content = path.read_bytes()
    assert b"the-secret-of-long" in content
    assert b"the-secret-of-short" not in content
    assert b"the-secret-of-strict" not in content


async def test_a_purge_comes_to_an_end_of_many(store, clock):
    keeps = [Keep(f"r{n}", b"b") for n in range(2 * kept.WIPED_AT_ONCE + 1)]
    await asyncio.gather(*(store.put("acme", keep, HOUR_S) for keep in keeps))
    await store.put("other", keeps[0], 2 * HOUR_S)
    clock.advance_ms(HOUR_S * 1000)
    await store.purge(lambda project: 2 * HOUR_S)
    clock.advance_ms(-HOUR_S * 1000)  # so that only what was wiped is gone
    for keep in keeps:
        with pytest.raises(NotFound):
            await store.get("acme", keep.id, HOUR_S)
    assert await store.get("other", "r0", HOUR_S)


async def test_a_full_store_takes_no_more_and_goes_on(path, clock):
    small = SqliteAnswers(path, clock, AnswerBounds(1 << 30, all=100_000))
    await small.put("acme", Keep("r1", bytes(50_000)), HOUR_S)
    with pytest.raises(InternalError):
        await small.put("acme", Keep("r2", bytes(50_000)), HOUR_S)
    assert len((await small.get("acme", "r1", HOUR_S)).body) == 50_000
    await small.delete("acme", "r1")
    await small.put("acme", Keep("r2", bytes(50_000)), HOUR_S)
    await small.close()


async def test_a_project_that_is_full_keeps_no_other_from_storing(path, clock):
    store = SqliteAnswers(path, clock, AnswerBounds(project=100_000, all=1 << 30))
    keeps = [Keep(f"r{n}", bytes(30_000)) for n in range(6)]
    results = await asyncio.gather(*(store.put("acme", keep, HOUR_S) for keep in keeps), return_exceptions=True)
    assert [type(each) for each in results] == 3 * [type(None)] + 3 * [StorageFull]
    await store.put("other", keeps[0], HOUR_S)
    await store.put("acme", Keep("r0", bytes(35_000)), HOUR_S)  # stored again, and larger
    await store.close()
    store = SqliteAnswers(path, clock, AnswerBounds(project=100_000, all=1 << 30))
    with pytest.raises(StorageFull):
        await store.put("acme", Keep("r0", bytes(80_000)), HOUR_S)
    await store.delete("acme", "r1")
    await store.put("acme", keeps[3], HOUR_S)
    assert await store.erase("acme") == 3
    await store.put("acme", Keep("whole", bytes(99_000)), HOUR_S)
    await store.close()
    with sqlite3.connect(path) as connection:  # what is taken is what is there
        added = "SELECT project, sum(length(body) + length(conversation)) FROM answers GROUP BY project"
        assert (
            connection.execute("SELECT * FROM taken ORDER BY project").fetchall()
            == connection.execute(added).fetchall()
        )
    connection.close()


async def test_answers_at_once_share_a_transaction_and_are_all_kept(store):
    keeps = [Keep(f"r{n}", str(n).encode()) for n in range(50)]
    await asyncio.gather(*(store.put("acme", keep, HOUR_S) for keep in keeps))
    assert [await store.get("acme", keep.id, HOUR_S) for keep in keeps] == keeps


@pytest.mark.parametrize("others_fail", [False, True])
async def test_an_answer_that_fails_is_not_said_to_be_stored_by_another_ones_write(store, monkeypatch, others_fail):
    bad = Keep("bad", b"b", (Message(Role.USER, "\ud800"),))  # half a character cannot be encoded
    if others_fail:
        monkeypatch.setattr(store, "_transact", None)  # a defect, which is no error of the database
    free = threading.Event()
    store._thread.submit(free.wait)
    putting = [asyncio.create_task(store.put("acme", keep, HOUR_S)) for keep in (Keep("good", b"a"), bad)]
    await asyncio.sleep(0)
    free.set()
    results = await asyncio.gather(*putting, return_exceptions=True)
    assert [type(each) for each in results] == [InternalError if others_fail else type(None), InternalError]
    monkeypatch.undo()
    if not others_fail:
        assert (await store.get("acme", "good", HOUR_S)).body == b"a"


async def test_what_a_cancelled_caller_put_does_not_appear_after_an_erasure(store):
    free = threading.Event()
    store._thread.submit(free.wait)
    putting = asyncio.create_task(store.put("acme", Keep("r1", b"b"), HOUR_S))
    await asyncio.sleep(0)
    putting.cancel()
    await asyncio.wait((putting,))
    erasing = asyncio.create_task(store.erase("acme"))
    await asyncio.sleep(0)
    free.set()
    await erasing
    await store.put("other", Keep("r2", b"c"), HOUR_S)
    with pytest.raises(NotFound):
        await store.get("acme", "r1", HOUR_S)


async def test_what_cannot_be_written_is_an_error_for_each_without_its_text(store, path, caplog):
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE answers")
    other.close()
    puts = (store.put("acme", Keep(f"r{n}", b"my-words"), HOUR_S) for n in range(3))
    for error in await asyncio.gather(*puts, return_exceptions=True):
        assert isinstance(error, InternalError)
        assert "my-words" not in f"{error} {error.__cause__}"
    with pytest.raises(InternalError):
        await store.get("acme", "r1", HOUR_S)


async def test_a_closed_store_says_that_it_stores_nothing(store):
    await store.close()
    with pytest.raises(InternalError):
        await store.put("acme", Keep("r1", b"b"), HOUR_S)
    with pytest.raises(InternalError):
        await store.get("acme", "r1", HOUR_S)


async def test_a_database_of_another_version_is_refused(store, path, clock):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(InternalError, match="version 99"):
        SqliteAnswers(path, clock, AnswerBounds())


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path, clock):
    with pytest.raises(InternalError, match="cannot be opened"):
        SqliteAnswers(tmp_path / "nowhere" / "answers.db", clock, AnswerBounds())


@pytest.mark.parametrize("harm", [Path.unlink, replace, lambda path: os.truncate(path, 0)])
async def test_what_would_not_be_found_again_is_not_said_to_be_kept(store, path, harm):
    await store.put("acme", Keep("r1", b"1"), HOUR_S)
    harm(path)
    with pytest.raises(InternalError):
        await store.put("acme", Keep("r2", b"2"), HOUR_S)


async def test_its_file_is_private(store, path):
    assert mode(path) == 0o600
