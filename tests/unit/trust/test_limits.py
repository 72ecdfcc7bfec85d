"""Where a key may be used, its rotation, and its last use."""

import json

import pytest

from antiphon import routes
from antiphon.core.audit import Action
from antiphon.core.errors import AddressNotAllowed, CallerError, Conflict, NotFound, PolicyError
from antiphon.core.identity import ENVIRONMENT_KEY_ID, KeyLimits, Scope
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.testing import FakeClock, FakeDirectory
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import MAX_OVERLAP_MS, Control
from antiphon.trust.last_use import LastUses, read_uses

DAY_MS = 86_400_000


@pytest.fixture(params=["sqlite", "fake"])
def control(request, tmp_path):
    made = Control(SqliteDirectory(tmp_path) if request.param == "sqlite" else FakeDirectory())
    made.create_project("acme", "", 1)
    return made


def ring(control, clock=None):
    return KeyRing(control._directory, clock or FakeClock())


def limited(control, **limits):
    return control.create_key("acme", "", [Scope.SPEAK], 1, limits=KeyLimits(**limits))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.77", True), ("::ffff:192.0.2.77", True), ("192.0.3.1", False), ("2001:db8::1", True),
        ("2001:db9::1", False), ("", False), ("unknown", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_a_key_is_used_from_its_networks_only(control, address, allowed):
    key, secret = limited(control, networks=("192.0.2.0/24", "2001:db8::/32"))
    keys = ring(control)
    assert keys.authenticate(secret, Scope.SPEAK).key_id == key.id
    if allowed:
        keys.check_limits(key.id, address, "openai")
    else:
        with pytest.raises(AddressNotAllowed) as caught:
            keys.check_limits(key.id, address)
        assert (caught.value.key_id, caught.value.project) == (key.id, "acme")


def test_a_key_is_used_on_its_surfaces_only(control):
    key, _ = limited(control, surfaces=("openai", "deepgram"))
    keys = ring(control)
    keys.check_limits(key.id, "", "openai")
    keys.check_limits(key.id, "")
    with pytest.raises(PolicyError, match="it may on deepgram, openai"):
        keys.check_limits(key.id, "", "google")


def test_the_surfaces_are_those_of_the_routes():
    control = Control(FakeDirectory(), surfaces=routes.surfaces)
    assert control.parse_limits(KeyLimits(surfaces=("openai", "deepgram"))).surfaces == ("deepgram", "openai")
    with pytest.raises(CallerError, match="surfaces are amazon, assemblyai"):
        control.parse_limits(KeyLimits(surfaces=("open-ai",)))


def test_limits_are_changed_and_recorded_and_hold_without_a_new_start(control):
    key, secret = control.create_key("acme", "", [Scope.SPEAK], 1)
    clock = FakeClock()
    keys = ring(control, clock)
    keys.check_limits(key.id, "198.51.100.1", "openai")
    control.limit_key(key.id, lambda old: KeyLimits(networks=("192.0.2.1",), models=("b", "a")), 2)
    clock.advance_ms(300)
    keys.refresh()
    with pytest.raises(AddressNotAllowed):
        keys.check_limits(key.id, "198.51.100.1", "openai")
    assert keys.authenticate(secret, None).models == ("a", "b")
    assert control.find_key(key.id).limits.networks == ("192.0.2.1/32",)
    _, changes = control._directory.changes()
    assert changes[-1].record.action is Action.KEY_CHANGE
    assert changes[-1].record.reason == "networks: 192.0.2.1/32; models: a b; surfaces: any"
    control.limit_key(key.id, lambda old: KeyLimits(networks=("192.0.2.1",), models=("a", "b")), 3)
    assert len(control._directory.changes()[1]) == len(changes)
    with pytest.raises(NotFound):
        control.limit_key("none", lambda old: KeyLimits(), 4)


def test_a_key_whose_limits_are_not_known_here_is_not_valid(tmp_path):
    import sqlite3

    control = Control(SqliteDirectory(tmp_path))
    control.create_project("acme", "", 1)
    _, secret = control.create_key("acme", "", [Scope.SPEAK], 1)
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("""UPDATE keys SET limits = '{"hours": ["9-17"]}'""")
    connection.close()
    with pytest.raises(PolicyError, match="not valid"):
        ring(control).authenticate(secret, None)


def test_rotation_keeps_everything_and_ends_the_old_key_after_the_overlap(control):
    limits = KeyLimits(models=("m",))
    old, secret = control.create_key("acme", "bot", [Scope.SPEAK, Scope.USAGE], 1, 1 + 30 * DAY_MS, limits)
    new, other = control.rotate_key(old.id, DAY_MS, 10 * DAY_MS)
    assert (new.project, new.name, new.scopes, new.limits) == (old.project, old.name, old.scopes, old.limits)
    assert new.expires_unix_ms == 40 * DAY_MS
    assert other != secret
    assert control.find_key(old.id).expires_unix_ms == 11 * DAY_MS
    _, changes = control._directory.changes()
    assert [(each.record.action, each.record.object) for each in changes[-2:]] == [
        (Action.KEY_ROTATE, old.id), (Action.KEY_CREATE, new.id),
    ]  # fmt: skip
    assert changes[-2].record.reason == f"by {new.id}, ends at {11 * DAY_MS}"


def test_an_overlap_never_prolongs_a_key(control):
    old, _ = control.create_key("acme", "", [Scope.SPEAK], 1, 1000)
    control.rotate_key(old.id, DAY_MS, 999)
    assert control.find_key(old.id).expires_unix_ms == 1000


def test_what_cannot_be_rotated(control):
    control.prepare("an-environment-key-of-32-characters", 1)
    key, _ = control.create_key("acme", "", [Scope.SPEAK], 1)
    with pytest.raises(CallerError, match="from the environment"):
        control.rotate_key(ENVIRONMENT_KEY_ID, 0, 2)
    with pytest.raises(NotFound):
        control.rotate_key("none", 0, 2)
    for overlap in (-1, MAX_OVERLAP_MS + 1):
        with pytest.raises(CallerError, match="an overlap is at most 90 days"):
            control.rotate_key(key.id, overlap, 2)
    control.revoke_key(key.id, 2)
    with pytest.raises(CallerError, match="revoked or has expired"):
        control.rotate_key(key.id, 0, 3)


def test_a_key_that_is_revoked_at_the_same_moment_gets_no_successor(control, monkeypatch):
    key, _ = control.create_key("acme", "", [Scope.SPEAK], 1)
    read_before = control.find_key(key.id)
    control.revoke_key(key.id, 2)
    monkeypatch.setattr(control, "find_key", lambda key_id: read_before)
    with pytest.raises(Conflict, match="revoked"):
        control.rotate_key(key.id, 0, 3)
    assert [each.id for each in control.list_keys("acme")] == [key.id]


async def test_the_last_use_is_saved_once_a_minute_and_read_again(tmp_path):
    control = Control(FakeDirectory())
    control.create_project("acme", "", 1)
    clock = FakeClock()
    key, secret = control.create_key("acme", "", [Scope.SPEAK], 1)
    keys = ring(control, clock)
    uses = LastUses(tmp_path / "key-uses", keys.take_uses, keys.ids)
    await uses.save()
    assert not (tmp_path / "key-uses").exists()
    for _ in range(3):
        keys.authenticate(secret, None)
        clock.advance_ms(5)
    await uses.save()
    assert uses.of(key.id) == clock.unix_ms() - 5
    assert read_uses(tmp_path / "key-uses") == {key.id: clock.unix_ms() - 5}
    again = LastUses(tmp_path / "key-uses", keys.take_uses, keys.ids)
    assert (again.of(key.id), again.of("other")) == (uses.of(key.id), None)
    (tmp_path / "key-uses").write_text(json.dumps({key.id: "x", "gone": 7}))
    assert read_uses(tmp_path / "key-uses") == {"gone": 7}
    (tmp_path / "key-uses").write_text("[")
    assert read_uses(tmp_path / "key-uses") == {}
