"""What every implementation of the outbox of exports does, the fake among them."""

from dataclasses import replace

import pytest
from files import mode

from antiphon.core.errors import Conflict, InternalError
from antiphon.core.exports import Batch, BatchState, Cut, Mark, Refusal, UsageEvent
from antiphon.stores.sqlite.exports import FILE_NAME, SqliteExports
from antiphon.testing import FakeExports

NOW = 1_767_225_600_000
STORES = {"sqlite": lambda path: SqliteExports(path / FILE_NAME), "fake": lambda path: FakeExports()}
TAKEN = BatchState.TAKEN


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    made = STORES[request.param](tmp_path)
    yield made
    await made.close()


def batch(name, lane="a", last=1, at=NOW, **values):
    event = UsageEvent(
        identifier=name,
        project="acme",
        meter="m",
        at_unix_ms=at,
        quantity=5,
        first=1,
        last=last,
        labels=(("model", "x"),),
    )
    return Batch(**{"identifier": name, "lane": lane, "body": name.encode(), "events": (event,)} | values)


def cut(position):
    return Cut(position, f"at {position}", "o")


async def filled(store, *batches):
    await store.cut("t", None, cut(9), batches, NOW)


async def names(store, now=NOW, limit=10):
    return [each.identifier for each in await store.waiting("t", now, limit)]


async def test_a_cut_adds_batches_and_moves_on_in_one(store):
    assert await store.cuts("t") == []
    await store.cut("t", None, cut(9), [batch("1"), batch("2")], NOW)
    await store.cut("t", cut(9), cut(12), [], NOW)
    assert await store.cuts("t", 5) == [cut(12), cut(9)]
    with pytest.raises(Conflict):
        await store.cut("t", cut(9), cut(20), [batch("3")], NOW)
    with pytest.raises(Conflict):
        await store.cut("t", cut(12), cut(20), [batch("3"), batch("1")], NOW)
    assert await store.cuts("t") == [cut(12)]
    assert await store.cuts("other") == []
    [status] = await store.status()
    assert (status.target, status.position, status.waiting, status.gaps) == ("t", 12, 2, 0)
    assert status.oldest_waiting_unix_ms == NOW


async def test_the_first_of_each_lane_is_sent_and_then_the_next(store):
    await filled(store, batch("a1"), batch("b1", "b"), batch("a2"), batch("b2", "b"))
    first, second = await store.waiting("t", NOW, 10)
    assert (first, second) == (
        replace(batch("a1"), number=first.number),
        replace(batch("b1", "b"), number=second.number),
    )
    assert await names(store, limit=1) == ["a1"]
    await store.mark("t", [Mark(first.number, TAKEN)], NOW)
    assert await names(store) == ["b1", "a2"]
    later = Mark(second.number, BatchState.WAITING, "status 500", NOW + 5, NOW)
    await store.mark("t", [later], NOW)
    assert await names(store) == ["a2"]
    [waiting] = [each for each in await store.waiting("t", NOW + 5, 10) if each.lane == "b"]
    assert (waiting.reason, waiting.doubtful_unix_ms, waiting.body) == ("status 500", NOW, b"b1")


async def test_what_is_sent_is_in_doubt_since_the_first_time(store):
    await filled(store, batch("1"))
    [one] = await store.waiting("t", NOW, 1)
    await store.sending("t", [one.number], NOW)
    await store.sending("t", [one.number], NOW + 7)
    [one] = await store.waiting("t", NOW, 1)
    assert (one.attempts, one.doubtful_unix_ms) == (2, NOW)


async def test_what_does_not_wait_stays_as_it_is(store):
    await filled(store, batch("1"))
    [one] = await store.waiting("t", NOW, 1)
    await store.mark("t", [Mark(one.number, BatchState.REFUSED, "status 400")], NOW)
    await store.mark("t", [Mark(one.number, TAKEN)], NOW)
    await store.sending("t", [one.number], NOW)
    [gap] = await store.gaps("t")
    assert (gap.state, gap.reason, gap.attempts, gap.body) == (BatchState.REFUSED, "status 400", 0, b"")
    assert gap.events == one.events


async def test_a_body_is_written_once(store):
    await filled(store, batch("1", body=b""))
    [one] = await store.waiting("t", NOW, 1)
    await store.write("t", replace(one, body=b"made", lane="z"))
    await store.write("t", replace(one, body=b"made otherwise", lane="y"))
    [one] = await store.waiting("t", NOW, 1)
    assert (one.body, one.lane) == (b"made", "z")


async def test_gaps_are_settled_or_sent_again(store):
    await filled(
        store,
        *(
            batch(name, name if state is BatchState.REFUSED else "a", state=state)
            for name, state in (
                ("1", BatchState.REFUSED),
                ("2", BatchState.UNKNOWN),
                ("3", BatchState.REFUSED),
                ("4", TAKEN),
            )
        ),
    )
    first, second, third = await store.gaps("t")
    assert await store.gaps("t", after=first.number, limit=1) == [second]
    assert await store.settle("t", [third.number, 99], "by hand", NOW) == 1
    assert await store.settle("t", [third.number], "again", NOW) == 0
    assert await store.send_again("t", [first.number, second.number, third.number, 99]) == 2
    one, two = await store.waiting("t", NOW, 9)
    assert (one.identifier, one.events[0].identifier, one.body) == ("1/r2", "1/r2", b"")
    assert (two.identifier, two.body) == ("2", b"2")
    await store.mark("t", [Mark(one.number, TAKEN)], NOW)
    assert await store.gaps("t") == []
    [status] = await store.status()
    assert (status.waiting, status.taken, status.settled, status.gaps) == (1, 2, 1, 0)


async def test_a_receiver_takes_back_its_word_once(store):
    await filled(store, batch("1"), batch("2", "b"))
    one, two = await store.waiting("t", NOW, 9)
    await store.sending("t", [one.number, two.number], NOW)
    await store.mark("t", [Mark(one.number, TAKEN), Mark(two.number, TAKEN)], NOW)
    for _ in range(2):
        await store.refuse("t", [Refusal("1", "no_meter"), Refusal("9", "x")], [Refusal("evt_1/x", "3 more")], NOW)
    one, more = await store.gaps("t")
    assert (one.identifier, one.reason, one.state) == ("1", "no_meter", BatchState.REFUSED)
    assert (more.identifier, more.reason, more.events) == ("evt_1/x", "3 more", ())
    assert await store.send_again("t", [more.number]) == 0
    await store.settle("t", [one.number, more.number], "", NOW)
    await store.refuse("t", [Refusal("1", "no_meter")], [Refusal("evt_1/x", "3 more")], NOW)
    assert await store.gaps("t") == []


async def test_a_replay_sends_the_same_bytes_to_a_receiver_that_knows_them(store):
    await filled(store, batch("1", last=3), batch("2", "b", last=4), batch("3", "c", last=5))
    for number, at in zip([b.number for b in await store.waiting("t", NOW, 9)], (NOW, NOW, NOW + 5), strict=True):
        await store.sending("t", [number], at)
        await store.mark("t", [Mark(number, TAKEN)], at)
    assert await store.replay("t", 4, NOW + 1) == (1, 1)
    [again] = await store.waiting("t", NOW, 9)
    assert (again.identifier, again.body, again.doubtful_unix_ms, again.reason) == ("3", b"3", NOW + 5, "replay")


async def test_what_was_taken_long_ago_is_forgotten(store):
    await filled(store, batch("1"), batch("2", "b"), batch("3", "c", state=BatchState.REFUSED))
    one, _ = await store.waiting("t", NOW, 9)
    await store.mark("t", [Mark(one.number, TAKEN)], NOW + 10)
    await store.cut("t", cut(9), cut(10), [], NOW + 20)
    await store.cut("t", cut(10), cut(11), [], NOW + 30)
    await store.purge("t", NOW + 10, 9)
    assert (await store.status())[0].taken == 1
    assert await store.cuts("t", 9) == [cut(11), cut(10)]
    await store.purge("t", NOW + 99, 9)
    [status] = await store.status()
    assert (status.taken, status.waiting, status.refused) == (0, 1, 1)
    assert await store.cuts("t", 9) == [cut(11)]


async def test_what_was_written_is_there_after_a_restart_and_is_the_owners_only(tmp_path):
    path = tmp_path / FILE_NAME
    store = SqliteExports(path)
    await filled(store, batch("1"))
    [one] = await store.waiting("t", NOW, 1)
    await store.sending("t", [one.number], NOW)
    await store.close()
    assert mode(path) == 0o600
    store = SqliteExports(path)
    [again] = await store.waiting("t", NOW, 1)
    assert again == replace(one, attempts=1, doubtful_unix_ms=NOW)
    assert store.trouble is None
    path.unlink()
    assert store.trouble == "exports.db was removed"
    await store.close()
    with pytest.raises(InternalError):
        await store.cuts("t")


async def test_of_what_was_taken_the_last_are_kept(store):
    await filled(store, *(batch(str(n), str(n), last=n) for n in range(5)))
    await store.mark("t", [Mark(each.number, TAKEN) for each in await store.waiting("t", NOW, 9)], NOW)
    await store.purge("t", 0, 2)
    assert (await store.status())[0].taken == 2
    assert await store.replay("t", 0, 2**60) == (0, 2)
    assert await store.replay("t", 4, 2**60) == (0, 1)


async def test_a_gap_that_was_never_sent_grows_until_it_is_settled(store):
    refused = {"state": BatchState.REFUSED, "reason": "no_customer", "body": b""}
    await filled(store, batch("1", "gap", **refused))
    await store.cut("t", cut(9), cut(12), [batch("2", "gap", last=12, at=NOW + 5, **refused)], NOW)
    await store.cut("t", cut(12), cut(13), [batch("3", "other gap", **refused)], NOW)
    await store.cut("t", cut(13), cut(14), [batch("4", "gap", **refused | {"reason": "too_old"})], NOW)
    grown, _, _ = await store.gaps("t")
    [event] = grown.events
    assert (event.identifier, event.quantity, event.first, event.last) == ("1", 10, 1, 12)
    assert event.at_unix_ms == NOW + 5
    await store.settle("t", [grown.number], "", NOW)
    await store.cut("t", cut(14), cut(15), [batch("5", "gap", **refused)], NOW)
    assert [gap.identifier for gap in await store.gaps("t")] == ["3", "4", "5"]
