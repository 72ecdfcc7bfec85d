"""Large answers to questions: files, read while they are sent, and what is in memory until it is sent."""

import asyncio
import sqlite3
import tracemalloc
from contextlib import closing

import pytest
from vaults import open_vault
from vendor import Caller, Endpoint, Live, scope

from antiphon.core.identity import Scope
from antiphon.core.jobs import Blob
from antiphon.core.routing import LookupRow
from antiphon.core.stores import ServerStores
from antiphon.core.wire import Bearer, Response
from antiphon.jobs.service import PIECE_BYTES, READERS, Service
from antiphon.jobs.tiers import Tiers
from antiphon.session import sending
from antiphon.session.door import Door
from antiphon.session.sending import UNITS
from antiphon.stores.sqlite.jobs import SqliteJobs
from antiphon.surfaces.openai.files import FileContent
from antiphon.transports import http
from antiphon.transports.bounds import PRESENCE
from antiphon.transports.http import LookupRoute
from session_house import House, until

KEEP_S = 3600
DATA = bytes(range(256)) * (5 * PIECE_BYTES // 256) + b"the end"


class Said(Endpoint):
    """A question whose answer is `said`, whole and in memory."""

    def __init__(self, said):
        super().__init__(Live())
        self.said = said

    def credential(self, opening, first=None):
        return Bearer("secret")

    def answer(self, models):
        return Response(200, (), self.said)


@pytest.fixture
async def house(tmp_path):
    made = House()
    made.keep_s = {"acme": KEEP_S, "other": KEEP_S}
    made.files = SqliteJobs(tmp_path / "jobs.db", made.clock, 1 << 30, 1 << 30, open_vault(tmp_path))
    stores = ServerStores(None, None, made.ledger, None, None, made.files, made.passing, made.resources)
    jobs = Service(Tiers(stores, made._keeps), made.clock)
    made.door = Door(made.sessions, made.keys, made.clock, jobs, made.auditor, made.resources)
    now = made.clock.unix_ms()
    blob = Blob(id="file-1", name="f", purpose="batch", created_unix_ms=now, ends_unix_ms=now + 1000 * KEEP_S)
    for project in ("acme", "other"):
        await made.files.put_blob(project, blob, DATA)
    yield made
    await made.files.close()
    await made.close()


@pytest.fixture
def content(house, uploads):
    row = LookupRow("/v1/files/{id}/content", "openai", FileContent(), scope=Scope.GENERATE)
    return LookupRoute(row, house.door, uploads)


def asks(app, caller):
    headers = [(b"authorization", b"Bearer secret")]
    asked = scope(headers=headers, key=None) | {"method": "GET", "path": "/v1/files/file-1/content"}
    return asyncio.create_task(app(asked | {PRESENCE: caller.presence}, caller.receive, caller.send))


def slow():
    caller = Caller()
    caller.reads.clear()
    return caller


async def test_a_large_file_is_sent_whole_with_its_length(house, content):
    caller = Caller()
    await asks(content, caller)
    assert caller.answer == (200, DATA)
    assert dict(caller.sent[0]["headers"])[b"content-length"] == str(len(DATA)).encode()
    assert caller.sent[-1]["more_body"] is False
    assert max(len(each.get("body", b"")) for each in caller.sent) <= http.LARGE_BYTES


async def test_slow_readers_hold_one_piece_each_and_a_key_has_a_bound(house, content, monkeypatch):
    read, pieces = house.files.read_blob, []

    async def counted(*place):
        piece = await read(*place)
        pieces.append(len(piece))
        return piece

    monkeypatch.setattr(house.files, "read_blob", counted)
    tracemalloc.start()
    try:
        callers = [slow() for _ in range(READERS.per_key)]
        reading = [asks(content, caller) for caller in callers]
        await until(lambda: len(pieces) == READERS.per_key)
        assert tracemalloc.get_traced_memory()[0] < (READERS.per_key + 2) * PIECE_BYTES
    finally:
        tracemalloc.stop()
    refused = Caller()
    await asks(content, refused)
    assert refused.answer[0] == 429
    assert b"Too many files are being read" in refused.answer[1]
    house.keys.project = "other"
    another = Caller()
    await asks(content, another)
    assert another.answer == (200, DATA)
    house.keys.project = "acme"
    for caller in callers:
        caller.reads.set()
    await asyncio.gather(*reading)
    assert [caller.answer for caller in callers] == [(200, DATA)] * len(callers)
    await asks(content, again := Caller())
    assert again.answer == (200, DATA)


async def test_a_reader_who_leaves_or_stalls_gives_its_place_back(house, content, monkeypatch):
    monkeypatch.setattr(http, "SEND_TIMEOUT_S", 0.01)
    for _ in range(READERS.per_key + 1):
        await asks(content, slow())
    read = house.files.read_blob
    for _ in range(READERS.per_key + 1):
        caller, pieces = Caller(), []

        async def leaving(*place, caller=caller, pieces=pieces):
            pieces.append(await read(*place))
            if len(pieces) == 2:
                caller.leave()
            return pieces[-1]

        monkeypatch.setattr(house.files, "read_blob", leaving)
        await asks(content, caller)
        assert len(pieces) == 2
    monkeypatch.setattr(house.files, "read_blob", read)
    await asks(content, again := Caller())
    assert again.answer == (200, DATA)


@pytest.mark.parametrize("damage", ["flip", "missing"])
@pytest.mark.parametrize("piece", range(6))
async def test_of_a_damaged_file_nothing_that_was_changed_is_sent_and_it_has_no_end(
    house, content, tmp_path, piece, damage
):
    place = "project = 'acme' AND start = ?"
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file, file:
        (body,) = file.execute(f"SELECT body FROM pieces WHERE {place}", (piece * PIECE_BYTES,)).fetchone()
        changed = body[:-20] + bytes([body[-20] ^ 1]) + body[-19:]
        if damage == "flip":
            file.execute(f"UPDATE pieces SET body = ? WHERE {place}", (changed, piece * PIECE_BYTES))
        else:
            file.execute(f"DELETE FROM pieces WHERE {place}", (piece * PIECE_BYTES,))
    caller = Caller()
    await asks(content, caller)
    status, body = caller.answer
    if piece == 0:
        assert status == 500
        assert DATA[:100] not in body
        return
    assert status == 200
    assert body == DATA[: piece * PIECE_BYTES]
    assert caller.sent[-1]["more_body"] is True  # the connection is closed before the length that was announced


async def test_a_file_that_is_deleted_while_it_is_read_has_no_end(house, content):
    caller = slow()
    reading = asks(content, caller)
    await until(lambda: house.door._lookups._jobs._readers.held)
    await house.files.delete_blob("acme", "file-1")
    caller.reads.set()
    await reading
    assert caller.answer == (200, DATA[:PIECE_BYTES])
    assert caller.sent[-1]["more_body"] is True


async def test_large_answers_in_memory_are_bounded_until_they_are_sent(house, uploads):
    said = bytes(9 << 20)
    route = LookupRoute(LookupRow("/v1/models", "deepgram", Said(said)), house.door, uploads)
    most = UNITS.per_key // 9
    callers = [slow() for _ in range(most)]
    reading = [asks(route, caller) for caller in callers]
    await until(lambda: house.door._lookups._sending._shares.held == 9 * most)
    await asks(route, refused := Caller())
    assert refused.answer == (429, b"over_capacity")
    small = LookupRoute(LookupRow("/v1/models", "deepgram", Said(b"small")), house.door, uploads)
    await asks(small, served := Caller())
    assert served.answer == (200, b"small")
    for caller in callers:
        caller.reads.set()
    await asyncio.gather(*reading)
    assert [caller.answer for caller in callers] == [(200, said)] * most
    assert house.door._lookups._sending._shares.held == 0


async def test_an_answer_that_is_larger_than_a_keys_share_is_sent_alone(house, uploads, monkeypatch):
    monkeypatch.setattr(sending, "UNIT_BYTES", 1000)
    said = bytes(1000 * UNITS.per_key * 2)
    route = LookupRoute(LookupRow("/v1/models", "deepgram", Said(said)), house.door, uploads)
    await asks(route, caller := Caller())
    assert caller.answer == (200, said)
