import csv
import io
import sqlite3
import uuid
from contextlib import closing

import pytest

from antiphon.core.entry import EntryKind, Reference
from antiphon.core.errors import CallerError, InternalError
from antiphon.core.usage import By, Dimension, Total, UsageQuery
from antiphon.metering import usage
from antiphon.metering.usage import parse_by, parse_time
from antiphon.stores.sqlite import ledger_files
from antiphon.stores.sqlite import usage as stored
from antiphon.stores.sqlite.usage import SqliteUsage

DAY = 86_400_000
START = parse_time("2026-03-01", "since")
SESSIONS = [str(uuid.UUID(int=number)) for number in range(10, 14)]


@pytest.fixture
async def filled(ledger, path, make_entry):
    await ledger.append(
        [
            make_entry(0, 100, session=SESSIONS[0], at_unix_ms=START),
            make_entry(1, 50, session=SESSIONS[0], at_unix_ms=START + 1, channel=1),
            make_entry(2, 0, session=SESSIONS[0], at_unix_ms=START + 2, kind=EntryKind.COMPLETED),
            make_entry(0, 7, session=SESSIONS[1], at_unix_ms=START + DAY - 1, key_id="k2", model="other"),
            make_entry(
                1,
                0,
                session=SESSIONS[1],
                at_unix_ms=START + DAY - 1,
                key_id="k2",
                model="other",
                kind=EntryKind.ABANDONED,
            ),
            make_entry(0, 9, session=SESSIONS[2], at_unix_ms=START + DAY, project="acme", feature="file"),
            make_entry(
                0,
                -4,
                session=SESSIONS[3],
                at_unix_ms=START + DAY,
                project="acme",
                feature="file",
                kind=EntryKind.CORRECTION,
                corrects=Reference(SESSIONS[2], 0),
            ),
        ]
    )
    return path


async def summary(path, **query):
    return await SqliteUsage(path).totals(UsageQuery(**query))


def total(*group, amount, sessions=1, abandoned=0):
    return Total(group, "stt.audio_ms", amount, sessions, abandoned)


async def test_totals_by_day_and_project(filled):
    assert await summary(filled) == [
        total("2026-03-01", "default", amount=157, sessions=2, abandoned=1),
        total("2026-03-02", "acme", amount=5),
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ([By.KEY], [total("k1", amount=155, sessions=2), total("k2", amount=7, abandoned=1)]),
        ([By.MODEL], [total("moonshine-tiny-en", amount=155, sessions=2), total("other", amount=7, abandoned=1)]),
        ([By.FEATURE], [total("file", amount=5), total("live", amount=157, sessions=2, abandoned=1)]),
        ([By.CHANNEL], [total("0", amount=112, sessions=3, abandoned=1), total("1", amount=50)]),
        ([By.SURFACE, By.PROJECT, By.SURFACE],
         [total("deepgram", "acme", amount=5), total("deepgram", "default", amount=157, sessions=2, abandoned=1)]),
        ([], [total(amount=162, sessions=3, abandoned=1)]),
    ],
)  # fmt: skip
async def test_totals_by_anything(filled, by, expected):
    assert await summary(filled, by=by) == expected


async def test_totals_of_a_time_and_a_project(filled):
    assert await summary(filled, by=(), since_unix_ms=START + 1, until_unix_ms=START + DAY - 1) == [total(amount=50)]
    assert await summary(filled, by=(), project="acme") == [total(amount=5)]
    assert await summary(filled, by=[By.DAY], project="nobody") == []


async def test_what_one_project_was_charged_for(filled, ledger, path):
    async def charged(project, since):
        return await SqliteUsage(path).charged(project, Dimension.STT_AUDIO_MS, since)

    ours = next(each.group[0] for each in await summary(filled, by=(By.PROJECT,)) if each.group[0] != "acme")
    assert await charged("acme", START) == await ledger.charged("acme", Dimension.STT_AUDIO_MS, START) == 5
    assert [await charged(ours, start) for start in (START, START + 1, START + DAY)] == [157, 57, 0]
    assert await SqliteUsage(path).charged(ours, Dimension.TTS_CHARACTERS, START) == 0
    with pytest.raises(InternalError):
        await SqliteUsage(path.with_name("none.db")).charged(ours, Dimension.STT_AUDIO_MS, START)


async def test_reading_works_without_a_server_and_changes_nothing(filled, ledger):
    await ledger.close()
    before = filled.read_bytes()
    assert len(await summary(filled)) == 2
    assert filled.read_bytes() == before


async def test_readers_cannot_write(filled):
    with closing(ledger_files.reader(filled)) as connection, pytest.raises(sqlite3.Error, match="readonly"):
        connection.execute("DELETE FROM marks")


async def test_the_number_of_rows_is_bounded(filled, monkeypatch):
    monkeypatch.setattr(stored, "MAX_TOTALS", 1)
    with pytest.raises(CallerError, match="more than 1"):
        await summary(filled)


async def test_no_ledger_and_a_ledger_of_another_version_are_errors(path):
    with pytest.raises(InternalError, match="no ledger"):
        await summary(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(InternalError, match="version 99"):
        await summary(path)


async def test_totals_as_records_and_as_csv_agree(filled):
    by = [By.DAY, By.PROJECT]
    totals = await summary(filled, by=by)
    records = usage.records(totals, by)
    assert records[1] == {
        "day": "2026-03-02",
        "project": "acme",
        "dimension": "stt.audio_ms",
        "amount": 5,
        "sessions": 1,
        "abandoned": 0,
    }
    rows = list(csv.DictReader(io.StringIO(usage.to_csv(totals, by))))
    assert rows == [{name: str(value) for name, value in record.items()} for record in records]


def test_groups_are_parsed():
    assert parse_by("day, key,day") == (By.DAY, By.KEY)
    assert parse_by("") == ()
    with pytest.raises(CallerError):
        parse_by("day,colour")


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("1970-01-02", DAY),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01T00:00:01.005Z", 1_005),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_are_parsed(text, unix_ms):
    assert parse_time(text, "since") == unix_ms


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1e9"])
def test_other_times_are_refused(text):
    with pytest.raises(CallerError) as raised:
        parse_time(text, "until")
    assert raised.value.param == "until"
