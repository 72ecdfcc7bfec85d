import pytest

from antiphon.core.wire import Signed
from antiphon.trust.signatures import SIGNATURE_VERSION_4, holds

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
