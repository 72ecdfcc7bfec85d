"""Signed speech is read by C2PA's own reader: whole, untouched, made by AI; and it sounds as it did."""

import io
import json
from datetime import UTC, datetime, timedelta

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from files import mode

from antiphon import __version__
from antiphon.audio.encode import SpeechEncoder
from antiphon.core.audio import SYNTHETIC_SOURCE, Codec, Container, SpeechFormat
from antiphon.core.errors import CallerError, InternalError, PolicyError
from antiphon.core.policy import Marking
from antiphon.trust import provenance
from antiphon.trust.provenance import CHAIN_NAME, KEY_NAME, Provenance, carries, open_provenance, signs

CARRIED = {
    SpeechFormat(Codec.LINEAR16, Container.WAV): "audio/wav",
    SpeechFormat(Codec.MULAW, Container.WAV, 8_000): "audio/wav",
    SpeechFormat(Codec.ALAW, Container.WAV, 8_000): "audio/wav",
    SpeechFormat(Codec.MP3): "audio/mpeg",
    SpeechFormat(Codec.FLAC): "audio/flac",
}
NOT_CARRIED = [
    SpeechFormat(Codec.LINEAR16),
    SpeechFormat(Codec.MULAW),
    SpeechFormat(Codec.OPUS, Container.OGG),
    SpeechFormat(Codec.AAC),
]
WAV = SpeechFormat(Codec.LINEAR16, Container.WAV)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def signer(folder):
    return open_provenance(folder)


def recording(format: SpeechFormat) -> bytes:
    encoder = SpeechEncoder(format, 24_000, whole=True)
    noise = np.random.default_rng(1).normal(0, 2_000, 12_000).astype(np.int16)
    return encoder.push(noise.tobytes()) + encoder.finish()


def read(data: bytes, media_type: str, anchors: str | None = None) -> dict:
    settings = {"trust": {"trust_anchors": anchors}} if anchors else {}
    with c2pa.Context(c2pa.Settings.from_dict(settings)) as context:
        return json.loads(c2pa.Reader(media_type, io.BytesIO(data), context=context).json())


def failures(told: dict) -> list[str]:
    return [failure["code"] for failure in told["validation_results"]["activeManifest"]["failure"]]


@pytest.mark.parametrize(("format", "media_type"), CARRIED.items(), ids=str)
def test_a_manifest_says_what_made_it(signer, folder, format, media_type):
    assert carries(format)
    data = recording(format)
    signed = signer.sign(data, format, "voice-1")
    told = read(signed, media_type)
    assert (told["validation_state"], failures(told)) == ("Valid", ["signingCredential.untrusted"])
    manifest = told["manifests"][told["active_manifest"]]
    ((action,),) = [assertion["data"]["actions"] for assertion in manifest["assertions"]]
    assert action == {
        "action": "c2pa.created",
        "digitalSourceType": SYNTHETIC_SOURCE,
        "softwareAgent": {"name": "Antiphon", "version": __version__},
        "parameters": {"model": "voice-1"},
    }
    trusted = read(signed, media_type, (folder / CHAIN_NAME).read_text())
    assert (trusted["validation_state"], failures(trusted)) == ("Trusted", [])


@pytest.mark.parametrize(("format", "media_type"), CARRIED.items(), ids=str)
def test_what_is_changed_afterwards_shows(signer, format, media_type):
    signed = bytearray(signer.sign(recording(format), format, "voice-1"))
    sound = len(signed) - 2_000 if format.codec in (Codec.MP3, Codec.FLAC) else signed.index(b"data") + 2_000
    signed[sound] ^= 1
    assert "assertion.dataHash.mismatch" in failures(read(bytes(signed), media_type))


@pytest.mark.parametrize("format", CARRIED, ids=str)
def test_it_sounds_as_it_did(signer, format):

    heard = []
    for data in (recording(format), signer.sign(recording(format), format, "voice-1")):
        with av.open(io.BytesIO(data)) as container:
            assert SYNTHETIC_SOURCE in container.metadata["comment"]
            heard.append(np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]))
    assert np.array_equal(*heard)


@pytest.mark.parametrize("format", NOT_CARRIED, ids=str)
def test_other_formats_carry_none(signer, format):
    assert not carries(format)
    with pytest.raises(InternalError):
        signer.sign(b"", format, "voice-1")
    assert not signs(Marking.MARKED, format, streams=False)
    with pytest.raises(PolicyError):
        signs(Marking.SIGNED, format, streams=False)


def test_what_is_no_recording_cannot_be_signed(signer):
    with pytest.raises(InternalError):
        signer.sign(b"no recording", WAV, "voice-1")


def test_a_stream_is_signed_only_where_that_is_required():
    assert signs(Marking.SIGNED, WAV, streams=True)
    assert signs(Marking.SIGNED, WAV, streams=False)
    assert signs(Marking.MARKED, WAV, streams=False)
    assert not signs(Marking.MARKED, WAV, streams=True)


def test_what_is_never_whole_is_refused_where_it_must_be_signed():
    assert not signs(Marking.MARKED, SpeechFormat(), streams=True, live=True)
    for format in (WAV, SpeechFormat()):
        with pytest.raises(PolicyError, match="live"):
            signs(Marking.SIGNED, format, streams=True, live=True)


def test_a_key_is_made_once_and_is_the_servers_alone(tmp_path):
    open_provenance(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == {CHAIN_NAME, KEY_NAME}
    assert mode(tmp_path / KEY_NAME) == 0o600
    assert b"PRIVATE" not in made[CHAIN_NAME]
    open_provenance(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == made


def test_a_start_that_was_cut_short_is_made_good(tmp_path):
    (tmp_path / CHAIN_NAME).write_bytes(b"of a key that was never written")
    (tmp_path / KEY_NAME).with_suffix(".new").write_bytes(b"half a k")
    data = open_provenance(tmp_path).sign(recording(WAV), WAV, "voice-1")
    assert read(data, "audio/wav")["validation_state"] == "Valid"


def issued(private, purpose: str = "1.3.6.1.5.5.7.3.4", starts_in: int = -1) -> tuple[bytes, bytes]:
    """A certificate of an operator's own authority, and its key."""
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Acme")])
    begins = datetime.now(UTC) + timedelta(days=starts_in)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=30))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.KeyUsage(True, *[False] * 8), True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
        .sign(authority, SHA256())
    )
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), key


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65_537, 2_048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_an_operator_signs_with_a_key_of_their_own(tmp_path, private):
    chain, key = issued(private)
    (tmp_path / "chain").write_bytes(chain)
    (tmp_path / "key").write_bytes(key)
    signed = open_provenance(tmp_path, tmp_path / "chain", tmp_path / "key").sign(recording(WAV), WAV, "voice-1")
    told = read(signed, "audio/wav")
    assert told["validation_state"] == "Valid"
    assert told["manifests"][told["active_manifest"]]["signature_info"]["issuer"] == "Acme"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain", "key"]


def test_a_key_that_will_not_do_is_told_at_the_start(tmp_path):
    private = ec.generate_private_key(ec.SECP256R1())
    chain, key = issued(private)
    sealed = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    _, other = issued(ec.generate_private_key(ec.SECP256R1()))
    _, unknown = issued(ec.generate_private_key(ec.SECP256K1()))
    for chain_given, key_given in (
        (chain, other),
        (chain, sealed),
        (chain, unknown),
        (chain, b"no key"),
        (b"no certificate", key),
        (issued(private, purpose="1.3.6.1.5.5.7.3.1")[0], key),  # for web servers
        (issued(private, starts_in=-40)[0], key),
        (issued(private, starts_in=40)[0], key),
    ):
        with pytest.raises(CallerError) as refused:
            Provenance(chain_given, key_given)
        assert "PRIVATE" not in refused.value.message
    with pytest.raises(CallerError, match="no-such"):
        open_provenance(tmp_path, tmp_path / "no-such-chain", tmp_path / "no-such-key")


# -- a clock that is wrong ---------------------------------------------------------------------------------------------


def signer_of(folder):
    return x509.load_pem_x509_certificate((folder / CHAIN_NAME).read_bytes())


@pytest.mark.parametrize("year", [1970, 1999, 2026, 2040])
def test_certificates_made_by_a_wrong_clock_hold_all_the_same(tmp_path, monkeypatch, year):
    monkeypatch.setattr(provenance, "datetime", clock_of(datetime(year, 1, 2, tzinfo=UTC)))
    key = provenance._key_made()
    (tmp_path / KEY_NAME).write_bytes(key)
    (tmp_path / CHAIN_NAME).write_bytes(provenance._certified(key, provenance.datetime.now(UTC)))
    leaf = signer_of(tmp_path)
    assert leaf.not_valid_before_utc.year == 1970
    assert leaf.not_valid_after_utc.year == max(2026, year) + 19
    Provenance((tmp_path / CHAIN_NAME).read_bytes(), key).sign(recording(WAV), WAV, "voice-1")


def clock_of(moment):
    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    return Wrong


def test_a_key_made_here_whose_certificate_is_over_is_certified_again(tmp_path, monkeypatch):
    open_provenance(tmp_path)
    key, public = (tmp_path / KEY_NAME).read_bytes(), signer_of(tmp_path).public_key()
    monkeypatch.setattr(provenance, "EARLIEST_TRUE", datetime(1970, 1, 1, tzinfo=UTC))
    over = provenance._certified(key, datetime(1995, 1, 1, tzinfo=UTC))  # until 2014
    monkeypatch.undo()
    (tmp_path / CHAIN_NAME).write_bytes(over)
    with pytest.raises(CallerError, match="not valid at time"):
        Provenance(over, key)
    open_provenance(tmp_path).sign(recording(WAV), WAV, "voice-1")
    assert (tmp_path / KEY_NAME).read_bytes() == key
    assert signer_of(tmp_path).public_key() == public
    assert (tmp_path / provenance.OLD_CHAIN_NAME).read_bytes() == over
    chain = (tmp_path / CHAIN_NAME).read_bytes()
    open_provenance(tmp_path)
    assert (tmp_path / CHAIN_NAME).read_bytes() == chain


def test_an_existing_key_is_tightened(tmp_path):
    open_provenance(tmp_path)
    (tmp_path / KEY_NAME).chmod(0o644)
    open_provenance(tmp_path)
    assert mode(tmp_path / KEY_NAME) == 0o600
