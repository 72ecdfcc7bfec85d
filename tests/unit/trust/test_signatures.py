import pytest

from antiphon.core.errors import CapacityError, InvalidSignature
from antiphon.core.signing import ALGORITHM
from antiphon.core.wire import Signed
from antiphon.trust import signatures
from antiphon.trust.signatures import REMEMBERED_NS, SAME_SECOND_NS, Replays, holds

# The example of Amazon's own documentation of Signature Version 4.
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
STRING = (
    b"AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
    b"f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
)
SIGNATURE = bytes.fromhex("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")


def signed(scheme=ALGORITHM, string=STRING, signature=SIGNATURE):
    return Signed(scheme, "id", string, signature, secret="wJalr")


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
    assert "wJalr" not in repr(signed())


# -- replays -----------------------------------------------------------------------------------------------------------


def test_a_signature_opens_once_but_for_calls_of_the_same_second():
    replays = Replays()
    replays.admit("a", SIGNATURE, 0)
    replays.admit("a", SIGNATURE, SAME_SECOND_NS)
    replays.admit("b", SIGNATURE, SAME_SECOND_NS)
    for _ in range(2):
        with pytest.raises(InvalidSignature):
            replays.admit("a", SIGNATURE, SAME_SECOND_NS + 1)
    replays.admit("a", b"another", SAME_SECOND_NS + 1)


def test_a_key_that_signs_no_more_takes_no_memory():
    replays = Replays()
    for n, key in enumerate(("a", "b", "a")):
        replays.admit(key, bytes((n,)), n)
    replays.admit("c", b"c", REMEMBERED_NS + 2)
    assert set(replays._keys) == {"a", "c"}
    replays.admit("c", b"d", REMEMBERED_NS + 3)
    assert set(replays._keys) == {"c"}


def test_so_many_are_remembered_of_each_key_and_then_forgotten(monkeypatch):
    monkeypatch.setattr(signatures, "MAX_REMEMBERED", 3)
    replays = Replays()
    for n in range(3):
        replays.admit("a", bytes((n,)), 0)
    with pytest.raises(CapacityError):
        replays.admit("a", b"more", REMEMBERED_NS)
    replays.admit("b", b"more", REMEMBERED_NS)
    for n in range(3):
        replays.admit("a", bytes((n,)), REMEMBERED_NS + 1)
