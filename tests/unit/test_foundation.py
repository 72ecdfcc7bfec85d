"""What a server stands on: the data directory, the keys and the audit log of one that starts."""

from contextlib import AsyncExitStack

import pytest

from antiphon.config import Config, Invalid
from antiphon.config.tables import Audit, Witness
from antiphon.core.audit import Action
from antiphon.foundation import kept_for_s, open_foundation, open_guard


async def started(config):
    """The guard of a server that starts and stops, and the actions that its audit log has then."""
    async with AsyncExitStack() as stack:
        base = open_foundation(config, stack)
        guard = await open_guard(config, base, stack, accept_loss=False)
        assert kept_for_s(guard.keys, "default") == 0
    async with AsyncExitStack() as stack:
        records = await open_foundation(config, stack).stores.trail.logged(0, 100)
    return guard, b"".join(each.body for each in records)


async def test_a_first_start_makes_a_key_and_later_ones_do_not(tmp_path):
    config = Config(data_dir=str(tmp_path / "data"))
    first, actions = await started(config)
    assert first.first_key
    assert Action.SERVER_START.value.encode() in actions
    assert Action.SERVER_STOP.value.encode() in actions
    assert (await started(config))[0].first_key is None


async def test_the_first_key_is_not_lost_where_the_server_does_not_start(tmp_path):
    """It is shown once: after that, nobody could get in."""
    config = Config(data_dir=str(tmp_path / "data"), audit=Audit(witnesses=(Witness(url="http://w", key="none"),)))
    async with AsyncExitStack() as stack:
        with pytest.raises(Invalid, match="audit"):
            await open_guard(config, open_foundation(config, stack), stack, accept_loss=False)
    assert (await started(Config(data_dir=config.data_dir)))[0].first_key is not None
