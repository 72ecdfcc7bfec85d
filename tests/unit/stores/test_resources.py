"""What every implementation of the store of resources does, the fake among them."""

from dataclasses import replace

import pytest

from antiphon.core.errors import CapacityError, Conflict, NotFound, TooLarge
from antiphon.core.resources import Resource
from antiphon.core.stores import MAX_RESOURCE_BYTES, MAX_RESOURCES
from antiphon.stores.sqlite.connection import MEMORY
from antiphon.stores.sqlite.jobs import SqliteJobs
from antiphon.testing import FakeResources

DAY_MS = 86_400_000


@pytest.fixture(params=["sqlite", "fake"])
async def store(request, clock):
    if request.param == "fake":
        yield FakeResources(clock)
        return
    jobs = SqliteJobs(MEMORY, clock, 1 << 20, 1 << 20)
    yield jobs.resources
    await jobs.close()


def made(name, body=b"{}", **more):
    return lambda before, now: Resource(name, body, **more)


async def put(store, name, body=b"{}", project="acme", preview=False, **more):
    return await store.change(project, "recognizer", name, made(name, body, **more), preview)


async def test_what_was_changed_is_there_for_its_project_and_kind_alone(store, clock):
    seen = []

    def noted(before, now):
        seen.append((before, now))
        return Resource("a", b"1")

    assert await store.change("acme", "recognizer", "a", noted, False) == Resource("a", b"1")
    await put(store, "a", b"2")
    assert await store.change("acme", "recognizer", "a", noted, True) == Resource("a", b"1")
    assert seen == [(None, clock.unix_ms()), (Resource("a", b"2"), clock.unix_ms())]
    assert (await store.get("acme", "recognizer", "a")).body == b"2"
    for project, kind in (("other", "recognizer"), ("acme", "phrases")):
        with pytest.raises(NotFound):
            await store.get(project, kind, "a")
        assert await store.listed(project, kind, "", "", 9, True) == ([], False)


async def test_what_a_change_raises_changes_nothing(store):
    def refuses(before, now):
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.change("acme", "recognizer", "a", refuses, False)
    assert await store.change("acme", "recognizer", "a", lambda before, now: None, False) is None
    assert await store.listed("acme", "recognizer", "", "", 9, True) == ([], False)


async def test_a_list_is_by_name_in_parts_with_deleted_ones_or_without(store, clock):
    for name in ("q/c", "p/d", "p/b", "p/a", "p2/a"):
        await put(store, name)
    ends = clock.unix_ms() + DAY_MS
    await put(store, "p/b", deleted=True, ends_unix_ms=ends)

    async def names(after, limit, deleted):
        found, more = await store.listed("acme", "recognizer", "p/", after, limit, deleted)
        return [each.name for each in found], more

    assert await names("", 2, True) == (["p/a", "p/b"], True)
    assert await names("p/b", 2, True) == (["p/d"], False)
    assert await names("", 9, False) == (["p/a", "p/d"], False)
    clock.advance_ms(DAY_MS)
    assert await names("", 9, True) == (["p/a", "p/d"], False)
    with pytest.raises(NotFound):
        await store.get("acme", "recognizer", "p/b")
    await put(store, "p/b")  # anew
    assert await names("", 9, True) == (["p/a", "p/b", "p/d"], False)


async def test_it_is_bounded(store):
    for number in range(MAX_RESOURCES):
        await put(store, f"{number}")
    with pytest.raises(CapacityError):
        await put(store, "more")
    await put(store, "more", project="other")
    one = await store.get("acme", "recognizer", "7")
    await store.change("acme", "recognizer", "7", lambda before, now: replace(one, body=b"new"), False)
    with pytest.raises(TooLarge):
        await put(store, "8", bytes(MAX_RESOURCE_BYTES + 1))


async def test_it_outlives_the_server_and_what_has_ended_is_wiped(tmp_path, clock):
    path = tmp_path / "jobs.db"
    first = SqliteJobs(path, clock, 1 << 20, 1 << 20)
    await put(first.resources, "kept", b"kept")
    await put(first.resources, "gone", b"secret words", deleted=True, ends_unix_ms=clock.unix_ms() + 1)
    clock.advance_ms(1)
    await first.purge(lambda project: 0)
    await first.close()
    assert b"secret words" not in path.read_bytes()
    second = SqliteJobs(path, clock, 1 << 20, 1 << 20)
    assert (await second.resources.get("acme", "recognizer", "kept")).body == b"kept"
    await second.close()
