"""Tasks that are started again."""

import asyncio
import contextlib

import pytest
from event_loop import settle

from antiphon.supervision import FIRST_PAUSE_S, LONGEST_PAUSE_S, Supervisor


class Pauses:
    """Stands for `asyncio.sleep`: a pause lasts until the test goes on."""

    def __init__(self):
        self.asked = []
        self.go_on = asyncio.Semaphore(0)

    async def __call__(self, seconds):
        self.asked.append(seconds)
        await self.go_on.acquire()


@pytest.fixture
async def pauses():
    return Pauses()


async def ended(task):
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_task_that_fails_is_started_again_and_the_server_is_not_ready_meanwhile(pauses, caplog):
    supervisor, runs = Supervisor(pauses), []

    async def work():
        runs.append(None)
        if len(runs) < 3:
            raise ValueError("what is in the database")
        await asyncio.Event().wait()

    task = supervisor.start("watch keys", work, essential=True)
    await settle()
    assert supervisor.trouble == "not running: watch keys"
    pauses.go_on.release()
    pauses.go_on.release()
    await settle()
    assert len(runs) == 3
    assert supervisor.trouble is None
    assert supervisor.failures == {"watch keys": 2}
    assert pauses.asked == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert all(record.exc_info and record.task == "watch keys" for record in caplog.records)
    await ended(task)


async def test_one_that_simply_ends_is_started_again_too_with_a_pause_that_is_bounded(pauses):
    supervisor = Supervisor(pauses)

    async def work():
        pass

    task = supervisor.start("probe", work)
    for _ in range(20):
        pauses.go_on.release()
        await settle()
    assert supervisor.trouble is None  # nothing rests on it
    assert pauses.asked[-1] == LONGEST_PAUSE_S
    await ended(task)
    assert supervisor.failures["probe"] == len(pauses.asked)


async def test_nothing_is_down_that_was_stopped(pauses):
    supervisor = Supervisor(pauses)

    async def work():
        raise OSError("the disk")

    task = supervisor.start("watch", work, essential=True)
    await settle()
    await ended(task)
    assert supervisor.trouble is None


async def test_tasks_of_one_name_are_told_apart(pauses):
    supervisor = Supervisor(pauses)

    async def fails():
        raise ValueError

    down = supervisor.start("listen", fails, essential=True)
    well = supervisor.start("listen", asyncio.Event().wait, essential=True)
    await settle()
    await ended(well)
    assert supervisor.trouble == "not running: listen"
    await ended(down)
    assert supervisor.trouble is None
