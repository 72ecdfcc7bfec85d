import pytest

from antiphon.core.errors import CapacityError, Unauthenticated
from antiphon.core.identity import Principal, Scope
from antiphon.testing import FakeClock
from antiphon.trust import ephemeral
from antiphon.trust.ephemeral import EphemeralSecrets

PARENT = Principal("acme", "k1", frozenset({Scope.TRANSCRIBE}))


def made(clock: FakeClock | None = None) -> EphemeralSecrets:
    return EphemeralSecrets(clock or FakeClock())


def test_a_secret_stands_for_the_key_it_was_made_for_and_carries_what_was_settled():
    held = made()
    minted = held.mint(PARENT, "openai", b"settled", 600)
    assert minted.secret.startswith("ek_")
    assert minted.expires_unix_s == FakeClock().unix_ms() // 1000 + 600
    assert held.redeem("openai", minted.secret) == (PARENT, b"settled")


def test_it_is_used_once():
    held = made()
    secret = held.mint(PARENT, "openai", b"", 600).secret
    held.redeem("openai", secret)
    with pytest.raises(Unauthenticated):
        held.redeem("openai", secret)


def test_a_token_is_used_as_often_as_its_time_lets_and_only_on_its_vendors_paths():
    clock = FakeClock()
    held = made(clock)
    token = held.mint(PARENT, "deepgram", b"", 30, once=False).secret
    for _ in range(3):
        assert held.redeem("deepgram", token) == (PARENT, b"")
        assert held.holder("deepgram", token) == PARENT
    for surface, wrong in (("openai", token), ("deepgram", token[:-1] + "x"), ("deepgram", "tk_")):
        with pytest.raises(Unauthenticated):
            held.holder(surface, wrong)
    clock.advance_ms(30_000)
    with pytest.raises(Unauthenticated):
        held.holder("deepgram", token)


def test_a_secret_for_one_call_is_no_token_and_is_not_used_up_by_being_taken_for_one():
    held = made()
    secret = held.mint(PARENT, "openai", b"", 600).secret
    with pytest.raises(Unauthenticated):
        held.holder("openai", secret)
    assert held.redeem("openai", secret) == (PARENT, b"")


def test_a_token_for_a_path_is_good_for_nothing_else():
    clock = FakeClock()
    held = made(clock)
    token = held.mint(PARENT, "assemblyai", b"", 30, once=False, path="/a/b").secret
    assert ephemeral.stands_for_a_key(token)
    assert held.visitor("assemblyai", token, "/a/b") == PARENT == held.visitor("assemblyai", token, "/a/b")
    elsewhere = [("assemblyai", "/a"), ("assemblyai", ""), ("deepgram", "/a/b")]
    for refused in (
        lambda: held.holder("assemblyai", token),
        lambda: held.redeem("assemblyai", token),
        lambda: held.visitor("assemblyai", held.mint(PARENT, "assemblyai", b"", 30, once=False).secret, "/a/b"),
        *(lambda place=place: held.visitor(place[0], token, place[1]) for place in elsewhere),
    ):
        with pytest.raises(Unauthenticated):
            refused()
    clock.advance_ms(30_000)
    with pytest.raises(Unauthenticated):
        held.visitor("assemblyai", token, "/a/b")


def test_its_time_ends():
    clock = FakeClock()
    held = made(clock)
    early, late = (held.mint(PARENT, "openai", b"", 10).secret for _ in range(2))
    clock.advance_ms(9_999)
    held.redeem("openai", early)
    clock.advance_ms(1)
    with pytest.raises(Unauthenticated):
        held.redeem("openai", late)


@pytest.mark.parametrize("wrong", ["", "ek_", "ek_" + "0" * 64, "x" * 10_000, "ek_\udc00"])
def test_what_was_not_made_here_does_not_hold(wrong: str):
    with pytest.raises(Unauthenticated):
        made().redeem("openai", wrong)


def test_every_character_counts_and_a_wrong_guess_does_not_use_it_up():
    held = made()
    secret = held.mint(PARENT, "openai", b"", 600).secret
    for place in range(len(secret)):
        guess = secret[:place] + ("1" if secret[place] != "1" else "2") + secret[place + 1 :]
        with pytest.raises(Unauthenticated):
            held.redeem("openai", guess)
    assert held.redeem("openai", secret)[0] == PARENT


def test_it_is_for_one_surface():
    held = made()
    secret = held.mint(PARENT, "openai", b"", 600).secret
    with pytest.raises(Unauthenticated):
        held.redeem("deepgram", secret)
    assert held.redeem("openai", secret)


def test_only_a_digest_is_held():
    held = made()
    minted = held.mint(PARENT, "openai", b"", 600)
    assert minted.secret not in repr(vars(held))


def test_a_project_has_a_share_and_what_is_over_makes_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ephemeral, "MAX_OF_PROJECT", 2)
    monkeypatch.setattr(ephemeral, "MAX_SECRETS", 3)
    clock = FakeClock()
    held = made(clock)
    other, third = Principal("other", "k2", frozenset()), Principal("third", "k3", frozenset())
    held.mint(PARENT, "openai", b"", 10)
    used = held.mint(PARENT, "openai", b"", 10)
    with pytest.raises(CapacityError):
        held.mint(PARENT, "openai", b"", 10)
    held.mint(other, "openai", b"", 20)
    with pytest.raises(CapacityError):
        held.mint(third, "openai", b"", 10)
    held.redeem("openai", used.secret)
    held.mint(PARENT, "openai", b"", 10)
    clock.advance_ms(10_000)
    held.mint(PARENT, "openai", b"", 10)
    held.mint(PARENT, "openai", b"", 10)


def test_one_project_does_not_fill_the_memory_of_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ephemeral, "MAX_HELD_BYTES", 100)
    monkeypatch.setattr(ephemeral, "MAX_BYTES_OF_PROJECT", 60)
    held = made()
    secret = held.mint(PARENT, "openai", bytes(60), 600).secret
    with pytest.raises(CapacityError):
        held.mint(PARENT, "openai", b"1", 600)
    held.mint(Principal("other", "k2", frozenset()), "openai", bytes(40), 600)
    held.redeem("openai", secret)
    held.mint(PARENT, "openai", bytes(60), 600)


def test_what_they_hold_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ephemeral, "MAX_HELD_BYTES", 100)
    held = made()
    secret = held.mint(PARENT, "openai", bytes(60), 600).secret
    with pytest.raises(CapacityError):
        held.mint(PARENT, "openai", bytes(41), 600)
    held.mint(PARENT, "openai", bytes(40), 600)
    held.redeem("openai", secret)
    held.mint(PARENT, "openai", bytes(60), 600)
