"""Lines of blobs are overwritten in place, in every store alike; nothing of them stays in the file."""

import pytest
from job_records import NOW, blob, job

from antiphon.core.jobs import ItemOutcome, JobState
from antiphon.stores.sqlite.connection import MEMORY
from antiphon.stores.sqlite.jobs import PIECE_BYTES, SqliteJobs
from antiphon.testing import FakeJobs

DAY_S = 86_400
CANARY = b"the canary's name "
STORES = {
    "sqlite": lambda path, clock: SqliteJobs(path / "jobs.db", clock, 16 << 20, 16 << 20),
    "memory": lambda path, clock: SqliteJobs(MEMORY, clock, 16 << 20, 16 << 20),
    "fake": lambda path, clock: FakeJobs(clock, 16 << 20, 16 << 20),
}


@pytest.fixture(params=STORES)
async def store(request, tmp_path, clock):
    made = STORES[request.param](tmp_path, clock)
    yield made
    await made.close()


async def test_spans_become_empty_objects_also_across_pieces_and_nothing_else_changes(store, tmp_path):
    data = bytearray(CANARY * (3 * PIECE_BYTES // len(CANARY)))
    await store.put_blob("acme", blob(), bytes(data))
    await store.put_blob("other", blob(), b"theirs")
    spans = [(0, 5), (7, 2), (PIECE_BYTES - 1, 10), (PIECE_BYTES + 20, 3), (2 * PIECE_BYTES - 9, 9), (len(data) - 4, 4)]
    await store.blank("acme", "file-1", spans)
    for start, size in spans:
        data[start : start + size] = b"{}" + b" " * (size - 2)
    assert await store.read_blob("acme", "file-1", DAY_S, 0, len(data) + 9) == data
    assert await store.read_blob("other", "file-1", DAY_S, 0, 9) == b"theirs"
    await store.blank("acme", "gone", [(0, 9)])
    await store.blank("acme", "file-1", [(0, len(data))])
    assert await store.read_written("acme", "file-1", 0, 2 * len(data)) == b"{}".ljust(len(data))
    for file in tmp_path.iterdir():
        assert CANARY not in file.read_bytes()


async def test_what_is_settled_is_a_failure_once_and_no_answer_is_recorded_later(store):
    waits = job()
    await store.put_blob("acme", blob(), b"1\n2\n")
    await store.create(waits, 9)
    await store.settle(waits, [ItemOutcome(0, False, b"erased\n")])  # has not begun
    claimed = await store.claim("a", (), ["batch"])
    outputs = tuple(blob(id, purpose="batch_output") for id in (waits.output, waits.errors))
    runs = await store.begin(claimed, "a", 2, b"", outputs)
    assert not await store.settled(runs, 0)
    for _ in range(2):
        await store.settle(waits, [ItemOutcome(0, False, b"erased\n")])
    assert (await store.settled(runs, 0), await store.settled(runs, 1)) == (True, False)
    now = await store.record(runs, "a", [ItemOutcome(0, True, b"late\n"), ItemOutcome(1, True, b"answer\n")])
    assert (now.done, now.failed) == (1, 1)
    assert await store.read_written("acme", runs.output, 0, 99) == b"answer\n"
    over = await store.finish(now, "a", JobState.DONE, None, NOW + DAY_S * 1000)
    await store.settle(over, [ItemOutcome(1, False, b"erased\n")])
    assert await store.read_blob("acme", over.errors, DAY_S, 0, 99) == b"erased\n"


async def test_erasing_needs_no_room(tmp_path, clock):
    store = SqliteJobs(tmp_path / "jobs.db", clock, 16 << 10, 16 << 10)
    await store.create(job(), 9)
    claimed = await store.claim("a", (), ["batch"])
    runs = await store.begin(claimed, "a", 2, b"", tuple(blob(id) for id in (claimed.output, claimed.errors)))
    await store.settle(runs, [ItemOutcome(0, False, bytes(16 << 10))])
    assert await store.settled(runs, 0)
    await store.close()
