"""Signed checkpoints: the formats, byte by byte, and what does not hold."""

import base64
import hashlib
import stat
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.core.errors import CallerError
from antiphon.trust import checkpoint as notes
from antiphon.trust.checkpoint import (
    COSIGNATURE,
    Checkpoint,
    Signature,
    Signer,
    Verifier,
    open_signer,
    parse,
    parse_verifier,
)

# As the specification of checkpoints shows one.
SHOWN = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501
# The key by which Go's checksum database signs, as it is written down.
SUM_GOLANG_ORG = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
HEAD = Checkpoint("antiphon/a", 5, hashlib.sha256(b"5").digest())


class Witness:
    """Signs as tlog-cosignature says."""

    def __init__(self, name, private):
        self.verifier = Verifier(name, COSIGNATURE, private.public_key().public_bytes_raw())
        self._private = private

    def sign(self, checkpoint, at_unix_s):
        signature = self._private.sign(f"cosignature/v1\ntime {at_unix_s}\n{checkpoint.text}".encode())
        return Signature(self.verifier.name, self.verifier.key_id, at_unix_s.to_bytes(8, "big") + signature)


@pytest.fixture
def log():
    return Signer("antiphon/a", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.fixture
def witness():
    return Witness("witness.example/w", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1"))


def test_a_checkpoint_is_read_and_written_as_it_is():
    read = parse(SHOWN)
    assert (read.origin, read.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert read.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert read.signatures[0].key_id.hex() == "033de0ae"
    assert read.note() == SHOWN
    more = replace(read, more="extension\n")
    assert parse(more.note()) == more


def test_a_key_that_others_made_has_the_id_that_they_say():
    assert str(parse_verifier(SUM_GOLANG_ORG)) == SUM_GOLANG_ORG
    for broken in (SUM_GOLANG_ORG.replace("033d", "033e"), "a+b", "", "a b+033de0ae+Ac4z", SUM_GOLANG_ORG[:-4]):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_verifier(broken)


def test_what_a_log_signs_holds_and_nothing_else(log):
    signed = parse(log.sign(HEAD).note())
    assert log.verifier.holds(signed)
    assert parse_verifier(str(log.verifier)) == log.verifier
    for other in (replace(signed, size=6), replace(signed, origin="antiphon/b"), replace(signed, root=bytes(32)), HEAD):
        assert not log.verifier.holds(other)
    renamed = Verifier("antiphon/b", log.verifier.kind, log.verifier.public)
    assert not renamed.holds(signed)


def test_a_witness_signs_the_time_too(log, witness):
    cosigned = parse(log.sign(HEAD).with_signatures([witness.sign(HEAD, 1_679_315_147)]).note())
    assert log.verifier.holds(cosigned)
    assert witness.verifier.holds(cosigned)
    mine = cosigned.signatures[1]
    later = replace(mine, data=(1_679_315_148).to_bytes(8, "big") + mine.data[8:])
    assert not witness.verifier.made(later, cosigned)
    assert not witness.verifier.made(replace(mine, data=b"short"), cosigned)
    as_log = Verifier(witness.verifier.name, notes.ED25519, witness.verifier.public)
    assert not as_log.holds(cosigned)


@pytest.mark.parametrize(
    "note",
    [
        "", "antiphon/a\n5\n", SHOWN.replace("20852163", "020852163"), SHOWN.replace("20852163", "-1"),
        SHOWN.replace("CsUY", "Cs"), SHOWN.replace("— ", "- "), SHOWN[:-1], SHOWN.replace("\n\n", "\n"),
        SHOWN.replace("example.com/behind-the-sofa Az", "example.com/behind the-sofa Az"),
        SHOWN.replace("q2I=\n", "q2I="), SHOWN + SHOWN[-150:] * 70,
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(note):
    with pytest.raises(ValueError):  # noqa: PT011
        parse(note)


def test_the_key_is_made_once_and_its_owners_only(tmp_path):
    first = open_signer(tmp_path, "a")
    path = tmp_path / notes.KEY_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert str(open_signer(tmp_path, "a").verifier) == str(first.verifier)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("nothing")
    with pytest.raises(CallerError, match="damaged"):
        open_signer(tmp_path, "a")
