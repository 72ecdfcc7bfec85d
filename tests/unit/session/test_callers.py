"""Secrets that stand for a key: they may do what the key may now."""

from dataclasses import replace

from antiphon.core.identity import Scope
from antiphon.session.callers import Callers
from antiphon.storage.directory import open_directory
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.testing import FakeClock
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control
from antiphon.trust.ephemeral import EphemeralSecrets


def test_a_token_has_the_limits_that_its_key_has_now(tmp_path):
    clock = FakeClock()
    directory = SqliteDirectory(open_directory(tmp_path / "data"))
    control = Control(directory)
    control.create_project("acme", "", clock.unix_ms())
    key, secret = control.create_key("acme", "k", list(Scope), clock.unix_ms())
    keys, secrets = KeyRing(directory, clock), EphemeralSecrets(clock)
    callers = Callers(keys, secrets, clock)
    token = secrets.mint(keys.authenticate(secret, None), "deepgram", b"", 3600, once=False).secret
    control.limit_key(key.id, lambda limits: replace(limits, models=("cheap-*",)), clock.unix_ms())
    control.change_project("acme", clock.unix_ms(), weight=7)
    keys.reread()
    owner = callers.owner(secrets.holder("deepgram", token), None)
    assert (owner.models, owner.weight) == (("cheap-*",), 7)
    assert owner == keys.authenticate(secret, None)
