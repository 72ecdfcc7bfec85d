"""A real server for the tests that need no other, and the endpoints of the vendors on fakes."""

import logging

import pytest
from callers import http, pcm_of
from door import Door

from serving import served


@pytest.fixture(scope="session")
def server(tmp_path_factory, models):
    """It stays when processes of its were killed: what is counted is compared with what it was before."""
    with served(tmp_path_factory.mktemp("data"), models) as server:
        yield server


@pytest.fixture
async def session(server):
    """HTTP to the server, with its key."""
    async with http(server) as session:
        yield session


@pytest.fixture(scope="module")
def speech(beckett):
    """10 s of speech, 16 kHz mono int16."""
    return pcm_of(beckett)


@pytest.fixture(scope="module")
def door():
    """At the end nothing is open."""
    door = Door()
    yield door
    door.loop.run_until_complete(door.house.sessions.all.settle())
    # No line at all where every body that this process tried was refused.
    opened = [line for line in door.house.metrics().splitlines() if line.startswith("antiphon_sessions_open{")]
    assert all(line.endswith(" 0.0") for line in opened)
    assert door.house.generator.running == []
    door.loop.run_until_complete(door.house.close())
    door.loop.close()


@pytest.fixture
def no_defects(caplog):
    """Nothing is logged as a failure of ours."""
    caplog.set_level(logging.ERROR)
    yield
    assert [record.getMessage() for record in caplog.records] == []
