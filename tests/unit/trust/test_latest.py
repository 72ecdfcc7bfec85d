import asyncio

import pytest

from antiphon.core.errors import Unauthenticated
from antiphon.core.identity import Scope
from antiphon.core.stores import AnswerBounds
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import Keep
from antiphon.stores.sqlite.answers import SqliteAnswers
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control
from antiphon.trust.latest import LatestClock

HOUR_MS = 3_600_000


class Wall:
    """A clock whose wall time can be set."""

    def __init__(self, unix_ms=1_767_225_600_000):
        self.ms = unix_ms
        self.elapsed_ms = 0

    def now_ns(self):
        return self.elapsed_ms * NS_PER_MS

    def unix_ms(self):
        return self.ms

    def advance_ms(self, ms):
        self.ms += ms
        self.elapsed_ms += ms


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def latest(wall, tmp_path):
    return LatestClock(wall, tmp_path / "latest-time")


def test_it_is_the_walls_time_while_that_goes_on(wall, latest):
    for ms in (1, 999, 3 * HOUR_MS):
        wall.advance_ms(ms)
        assert latest.unix_ms() == wall.ms
    wall.ms += HOUR_MS  # set on
    assert latest.unix_ms() == wall.ms


def test_it_goes_on_from_the_latest_when_the_wall_is_set_back(wall, latest):
    before = latest.unix_ms()
    wall.ms -= 48 * HOUR_MS
    assert latest.unix_ms() == before
    wall.advance_ms(1500)
    assert latest.unix_ms() == before + 1500
    wall.ms = before + HOUR_MS
    assert latest.unix_ms() == wall.ms


async def test_the_next_run_goes_on_from_it(wall, latest, tmp_path, caplog):
    before = latest.unix_ms()
    await latest.save()
    caplog.clear()
    assert LatestClock(wall, tmp_path / "latest-time").unix_ms() == before
    assert caplog.records == []
    wall.ms = 5  # as of a clock without its battery
    assert LatestClock(wall, tmp_path / "latest-time").unix_ms() == before
    (said,) = caplog.records
    assert said.getMessage() == "the clock was set back"
    (tmp_path / "latest-time").unlink()
    assert LatestClock(wall, tmp_path / "latest-time").unix_ms() == 5


@pytest.mark.parametrize("damage", [b"", b"soon", b"\xff\xfe", b"9" * 40, b"-5"])
def test_a_damaged_record_is_none(wall, tmp_path, damage):
    (tmp_path / "latest-time").write_bytes(damage)
    assert LatestClock(wall, tmp_path / "latest-time").unix_ms() == wall.ms


async def test_a_disk_that_refuses_is_logged_and_tried_again(wall, tmp_path, caplog):
    latest = LatestClock(wall, tmp_path / "folder" / "latest-time")
    keeping = asyncio.create_task(latest.keep())
    await latest.save()
    assert "the latest time cannot be saved" in caplog.text
    (tmp_path / "folder").mkdir()
    await latest.save()
    assert int((tmp_path / "folder" / "latest-time").read_text()) == wall.ms
    assert not keeping.done()
    keeping.cancel()


def test_an_expired_key_stays_expired(wall, latest, tmp_path):
    directory = SqliteDirectory(tmp_path)
    control = Control(directory)
    key, secret = control.create_key("default", "", [Scope.USAGE], wall.ms, wall.ms + HOUR_MS)
    ring = KeyRing(directory, latest)
    ring.authenticate(secret, Scope.USAGE)
    wall.advance_ms(HOUR_MS)
    assert not ring.holds(key.id)
    wall.ms -= 2 * HOUR_MS
    with pytest.raises(Unauthenticated, match="expired"):
        ring.authenticate(secret, Scope.USAGE)
    ring.close()


async def test_a_kept_answer_that_was_over_stays_so(wall, latest, tmp_path):
    kept = SqliteAnswers(tmp_path / "answers.db", latest, AnswerBounds())
    await kept.put("acme", Keep("a", b"{}"), 3600)
    wall.advance_ms(HOUR_MS)
    assert latest.unix_ms() == wall.ms
    wall.ms -= 2 * HOUR_MS
    with pytest.raises(Exception, match="Stored answer not found"):
        await kept.get("acme", "a", 36_000)
    await kept.close()
