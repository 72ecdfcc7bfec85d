import hashlib
import hmac
import os
import sqlite3

import pytest
from files import replace

from antiphon.core.errors import InternalError, KeysUnavailable, PolicyError, Unauthenticated
from antiphon.core.identity import Principal, Scope
from antiphon.core.policy import Marking
from antiphon.core.units import NS_PER_MS
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust import keys
from antiphon.trust.auth import MAX_BUSY_NS, MAX_UNREAD_NS, KeyRing
from antiphon.trust.control import Control


@pytest.fixture
def control(directory, clock):
    made = Control(directory)
    made.create_project("acme", "", clock.unix_ms())
    return made


@pytest.fixture
def ring(control, directory, clock):
    made = KeyRing(directory, clock)
    yield made
    made.close()


def test_a_key_that_holds_names_its_owner(control, ring, clock):
    key, secret = control.create_key("acme", "", [Scope.TRANSCRIBE], clock.unix_ms())
    expected = Principal("acme", key.id, frozenset({Scope.TRANSCRIBE}))
    assert ring.authenticate(secret, Scope.TRANSCRIBE) == expected


def test_a_key_without_the_scope_is_forbidden(control, ring, clock):
    _, secret = control.create_key("acme", "", [Scope.TRANSCRIBE], clock.unix_ms())
    with pytest.raises(PolicyError) as raised:
        ring.authenticate(secret, Scope.ADMIN)
    assert raised.value.status == 403


def test_the_key_from_the_environment_may_have_any_form(control, ring, clock):
    _, old_key = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    for chosen in ("a-key-of-my-own-choice", old_key[:-7] + "0000000"):
        control.prepare(chosen, clock.unix_ms())
        clock.advance_ms(250)
        assert ring.authenticate(chosen, Scope.ADMIN).key_id == "environment"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _: None, "no API key"),
        (lambda _: "", "no API key"),
        (lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"), "mistyped"),
        (lambda key: key.swapcase(), "not valid"),
        (lambda _: "x" * 1_000_000, "not valid"),
        (lambda _: "\udcff" * 20, "not valid"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason(control, ring, clock, spoil, reason):
    _, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    with pytest.raises(Unauthenticated, match=reason):
        ring.authenticate(spoil(secret), Scope.USAGE)


def test_the_id_of_a_key_does_not_open_with_another_secret(control, ring, clock):
    key, _ = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    body = f"ant_{key.id}_" + "0" * 27
    forged = body + keys._checksum(body)
    assert keys.parse(forged) == keys.Parsed(key.id, intact=True)
    with pytest.raises(Unauthenticated, match="not valid"):
        ring.authenticate(forged, Scope.USAGE)


def test_a_revocation_by_another_process_holds_within_the_interval(control, ring, clock):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    control.revoke_key(key.id, clock.unix_ms())
    clock.advance_ms(249)
    ring.refresh()
    assert ring.holds(key.id)  # polled too recently
    clock.advance_ms(1)
    ring.refresh()
    assert not ring.holds(key.id)
    with pytest.raises(Unauthenticated, match="revoked"):
        ring.authenticate(secret, Scope.USAGE)


def test_an_expiry_needs_no_refresh(control, ring, clock):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms(), clock.unix_ms() + 1_000)
    ring.authenticate(secret, Scope.USAGE)
    assert ring.holds(key.id)
    clock.advance_ms(1_000)
    assert not ring.holds(key.id)
    with pytest.raises(Unauthenticated, match="expired"):
        ring.authenticate(secret, Scope.USAGE)


def test_the_owner_of_a_key_can_derive_what_signs_webhooks_until_it_is_revoked(control, ring, clock):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    derived = hmac.digest(hashlib.sha256(secret.encode()).digest(), b"antiphon webhooks", "sha256")
    assert ring.webhook_secret(key.id) == derived
    assert ring.webhook_secret("nobody") == b""
    control.revoke_key(key.id, clock.unix_ms())
    clock.advance_ms(1_000)
    ring.refresh()
    assert ring.webhook_secret(key.id) == b""


def test_an_unknown_id_does_not_hold(ring):
    assert not ring.holds("nobody")


def test_a_writer_in_its_commit_delays_the_view_and_breaks_nothing(control, ring, clock, directory):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    control.revoke_key(key.id, clock.unix_ms())
    writer = sqlite3.connect(directory.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    clock.advance_ms(250)
    ring.refresh()
    assert ring.holds(key.id)
    writer.execute("ROLLBACK")
    writer.close()
    clock.advance_ms(250)
    ring.refresh()
    assert not ring.holds(key.id)


def test_a_new_key_is_not_refused_as_unknown_while_the_directory_is_locked(control, ring, clock, directory):
    _, secret = control.create_key("acme", "", [Scope.TRANSCRIBE], clock.unix_ms())
    writer = sqlite3.connect(directory.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(KeysUnavailable) as raised:
        ring.authenticate(secret, Scope.TRANSCRIBE)
    assert (raised.value.status, raised.value.retry_after_s) == (503, 1)
    with pytest.raises(Unauthenticated):
        ring.authenticate(secret[:-1] + ("0" if secret[-1] != "0" else "1"), Scope.TRANSCRIBE)
    writer.execute("ROLLBACK")
    writer.close()
    assert ring.authenticate(secret, Scope.TRANSCRIBE).project == "acme"


def test_keys_that_cannot_be_read_are_an_error(tmp_path, clock):
    directory = SqliteDirectory(tmp_path)
    directory.path.write_bytes(b"not a database" * 100)
    with pytest.raises(InternalError):
        KeyRing(directory, clock)


def test_a_projects_retention_is_followed(control, ring, clock):
    assert ring.policy("acme").keep_answers_s == ring.policy("nobody").keep_answers_s == 0
    control.change_project("acme", clock.unix_ms(), keep_answers_s=60)
    assert ring.policy("acme").keep_answers_s == 0
    clock.advance_ms(250)
    ring.refresh()
    assert ring.policy("acme").keep_answers_s == 60


def test_how_a_projects_speech_is_marked_is_followed(control, ring, clock):
    assert ring.policy("acme").marking is Marking.MARKED
    assert ring.policy("nobody").marking is Marking.SIGNED  # of what is not known, no less is required
    control.change_project("acme", clock.unix_ms(), marking=Marking.SIGNED)
    clock.advance_ms(250)
    ring.refresh()
    assert ring.policy("acme").marking is Marking.SIGNED


# -- keys that cannot be followed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "control.db was removed"),
        (replace, "control.db was replaced"),
        (lambda path: os.truncate(path, 0), "control.db was emptied"),
    ],
)
def test_where_revocations_would_not_be_seen_nobody_new_is_let_in(control, ring, clock, harm, said, directory):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    harm(directory.path)
    clock.advance_ms(250)
    ring.refresh()
    assert ring.trouble == said
    for each in (secret, "no-key-at-all"):
        with pytest.raises(KeysUnavailable) as raised:
            ring.authenticate(each, Scope.USAGE)
        assert (raised.value.status, raised.value.retry_after_s) == (503, 5)
    assert ring.holds(key.id)  # what is open goes on for a while
    assert not ring.unknown_for_long
    clock.advance_ms(MAX_UNREAD_NS // NS_PER_MS)
    ring.refresh()
    assert ring.unknown_for_long


def test_keys_that_come_back_are_followed_again(control, ring, clock, directory):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    directory.path.rename(directory.path.with_suffix(".aside"))
    clock.advance_ms(250)
    ring.refresh()
    assert ring.trouble
    directory.path.with_suffix(".aside").rename(directory.path)
    control.revoke_key(key.id, clock.unix_ms())
    clock.advance_ms(250)
    ring.refresh()
    assert (ring.trouble, ring.unknown_for_long) == (None, False)
    with pytest.raises(Unauthenticated, match="revoked"):
        ring.authenticate(secret, Scope.USAGE)


def test_a_lock_that_is_held_for_long_is_trouble(control, ring, clock, directory):
    _, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    writer = sqlite3.connect(directory.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    for waited_ms in (250, MAX_BUSY_NS // NS_PER_MS):
        assert ring.trouble is None
        ring.authenticate(secret, Scope.USAGE)
        clock.advance_ms(waited_ms)
        ring.refresh()
    with pytest.raises(KeysUnavailable):
        ring.authenticate(secret, Scope.USAGE)
    writer.execute("ROLLBACK")
    writer.close()
    clock.advance_ms(250)
    ring.refresh()
    ring.authenticate(secret, Scope.USAGE)


def test_a_table_that_is_gone_is_trouble_and_not_an_exception(control, ring, clock, directory):
    with sqlite3.connect(directory.path) as connection:
        connection.execute("DROP TABLE keys")
    connection.close()
    clock.advance_ms(250)
    ring.refresh()
    assert ring.trouble == "the keys cannot be read: no such table: keys"


def test_one_bad_row_does_not_stop_a_revocation(control, ring, clock, directory):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    bad, strange = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    with sqlite3.connect(directory.path) as connection:
        connection.execute("UPDATE keys SET scopes = 'teleport' WHERE id = ?", (bad.id,))
        connection.execute("UPDATE projects SET policy = json_set(policy, '$.marking', 'holographic')")
    connection.close()
    control.revoke_key(key.id, clock.unix_ms())
    clock.advance_ms(250)
    ring.refresh()
    assert ring.trouble is None
    assert ring.policy("acme").marking is Marking.SIGNED
    assert not ring.holds(key.id)
    assert ring.authenticate(strange, None).scopes == frozenset()
    with pytest.raises(PolicyError):
        ring.authenticate(strange, Scope.USAGE)


def test_a_caller_has_the_weight_of_their_project(control, ring, clock):
    _, secret = control.create_key("acme", "", [Scope.TRANSCRIBE], clock.unix_ms())
    assert ring.authenticate(secret, None).weight == 1
    control.change_project("acme", clock.unix_ms(), weight=7)
    clock.advance_ms(250)
    ring.refresh()
    assert ring.authenticate(secret, None).weight == 7
    assert ring.policy("nobody").weight == 1
