import sqlite3

import pytest

from antiphon.core.errors import InternalError, PolicyError, Unauthenticated
from antiphon.core.identity import Principal, Scope
from antiphon.testing import FakeClock
from antiphon.trust import keys
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control, Marking


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def control(tmp_path, clock):
    made = Control(tmp_path / "control.db")
    made.create_project("acme", "", clock.unix_ms())
    return made


@pytest.fixture
def ring(control, clock):
    made = KeyRing(control.path, clock)
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


def test_an_unknown_id_does_not_hold(ring):
    assert not ring.holds("nobody")


def test_a_writer_in_its_commit_delays_the_view_and_breaks_nothing(control, ring, clock):
    key, secret = control.create_key("acme", "", [Scope.USAGE], clock.unix_ms())
    ring.authenticate(secret, Scope.USAGE)
    control.revoke_key(key.id, clock.unix_ms())
    writer = sqlite3.connect(control.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    clock.advance_ms(250)
    ring.refresh()
    assert ring.holds(key.id)
    writer.execute("ROLLBACK")
    writer.close()
    clock.advance_ms(250)
    ring.refresh()
    assert not ring.holds(key.id)


def test_keys_that_cannot_be_read_are_an_error(tmp_path, clock):
    broken = tmp_path / "control.db"
    broken.write_bytes(b"not a database" * 100)
    with pytest.raises(InternalError):
        KeyRing(broken, clock)


def test_a_projects_retention_is_followed(control, ring, clock):
    assert ring.keep_answers_s("acme") == ring.keep_answers_s("nobody") == 0
    control.change_project("acme", clock.unix_ms(), keep_answers_s=60)
    assert ring.keep_answers_s("acme") == 0
    clock.advance_ms(250)
    ring.refresh()
    assert ring.keep_answers_s("acme") == 60


def test_how_a_projects_speech_is_marked_is_followed(control, ring, clock):
    assert ring.marking("acme") is ring.marking("nobody") is Marking.MARKED
    control.change_project("acme", clock.unix_ms(), marking=Marking.SIGNED)
    clock.advance_ms(250)
    ring.refresh()
    assert ring.marking("acme") is Marking.SIGNED
