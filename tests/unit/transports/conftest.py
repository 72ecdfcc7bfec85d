import pytest

from session_house import House


@pytest.fixture
async def house():
    house = House()
    await house.runner.start()
    yield house
    house.ledger.gate.set()
    await house.keeper.close()
    await house.runner.stop()
