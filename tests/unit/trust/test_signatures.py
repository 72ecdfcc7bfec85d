import pytest

from antiphon.core.errors import CapacityError, InvalidSignature
from antiphon.core.wire import Signed
from antiphon.testing import FakeClock
from antiphon.trust import signatures
from antiphon.trust.signatures import REMEMBERED_NS, SAME_SECOND_NS, SIGNATURE_VERSION_4, Replays, holds

# The example of Amazon's own documentation of Signature Version 4.
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
STRING = (
    b"AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
    b"f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
)
SIGNATURE = bytes.fromhex("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")


def signed(scheme=SIGNATURE_VERSION_4, string=STRING, signature=SIGNATURE):
    return Signed(scheme, "id", string, signature)


def test_a_signature_of_the_secret_holds():
    assert holds(signed(), SECRET)


@pytest.mark.parametrize(
    "wrong",
    [
        signed(scheme="AWS4-ECDSA-P256-SHA256"),
        signed(string=STRING + b"0"),
        signed(string=b"AWS4-HMAC-SHA256"),
        signed(string=STRING.replace(b"/iam/", b"/")),
        signed(signature=SIGNATURE[:-1]),
        signed(signature=b""),
    ],
)
def test_any_other_does_not(wrong):
    assert not holds(wrong, SECRET)


def test_nor_of_another_secret():
    assert not holds(signed(), SECRET.lower())


def test_no_secret_is_shown():
    assert "id" not in repr(signed()).replace("signed", "").replace("Signed", "")


# -- replays -----------------------------------------------------------------------------------------------------------


def test_a_signature_opens_once_but_for_calls_of_the_same_second():
    clock = FakeClock()
    replays = Replays(clock)
    replays.admit("a", SIGNATURE)
    replays.admit("a", SIGNATURE)
    replays.admit("b", SIGNATURE)
    clock.advance_ms(SAME_SECOND_NS // 1_000_000 + 1)
    for _ in range(2):
        with pytest.raises(InvalidSignature):
            replays.admit("a", SIGNATURE)
    replays.admit("a", b"another")


def test_so_many_are_remembered_of_each_key_and_then_forgotten(monkeypatch):
    monkeypatch.setattr(signatures, "MAX_REMEMBERED", 3)
    clock = FakeClock()
    replays = Replays(clock)
    for n in range(3):
        replays.admit("a", bytes((n,)))
    with pytest.raises(CapacityError):
        replays.admit("a", b"more")
    replays.admit("b", b"more")
    clock.advance_ms(REMEMBERED_NS // 1_000_000 + 1)
    for n in range(3):
        replays.admit("a", bytes((n,)))
