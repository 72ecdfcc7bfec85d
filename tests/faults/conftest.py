"""For the tests that fuzz the vendors' endpoints on fakes."""

import logging

import pytest
from door import Door


@pytest.fixture(scope="module")
def door():
    """At the end nothing is open."""
    door = Door()
    yield door
    door.loop.run_until_complete(door.house.sessions.settle())
    # No line at all where every body that this process tried was refused.
    opened = [line for line in door.house.metrics().splitlines() if line.startswith("antiphon_sessions_open{")]
    assert all(line.endswith(" 0.0") for line in opened)
    assert door.house.generator.running == []
    door.loop.run_until_complete(door.house.keeper.close())
    door.loop.close()


@pytest.fixture
def no_defects(caplog):
    """Nothing is logged as a failure of ours."""
    caplog.set_level(logging.ERROR)
    yield
    assert [record.getMessage() for record in caplog.records] == []
