"""The marking of synthetic speech: Regulation (EU) 2024/1689, article 50(2).

Every answer with synthetic speech says so in its head (`core.wire.SYNTHETIC`) and in the tags of its container
(`core.audio.SYNTHETIC_TAGS`). One that is delivered whole, in a container that supports it, also has a signed C2PA
manifest, which says what made the speech, never its text. None of this can be switched off; a project can only require
more (`Marking.SIGNED`). The signing key is the operator's, or created at the first start: then the signature shows that
nothing was changed since, and the signer is known only to those who are told to trust its certificate.
"""

import inspect
import io
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon import __version__
from antiphon.core.audio import SYNTHETIC_SOURCE, Codec, Container, SpeechFormat
from antiphon.core.errors import CallerError, InternalError, PolicyError
from antiphon.core.policy import Marking
from antiphon.storage.files import tighten, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate, Name

CHAIN_NAME, KEY_NAME = "provenance-chain.pem", "provenance-key.pem"  # in the data directory
OLD_CHAIN_NAME = "provenance-chain-old.pem"  # the chain before the last renewal
VALID_DAYS = 20 * 365  # without a time stamp, speech can be verified for as long as its certificate is valid
# Certificates must be valid even if the clock is wrong (without a battery) when they are created or later.
EARLIEST_CLOCK, EARLIEST_TRUE = datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)

_MEDIA_TYPES = {
    (Codec.LINEAR16, Container.WAV): "audio/wav",
    (Codec.MULAW, Container.WAV): "audio/wav",
    (Codec.ALAW, Container.WAV): "audio/wav",
    (Codec.MP3, Container.NONE): "audio/mpeg",
    (Codec.FLAC, Container.NONE): "audio/flac",
}
# C2PA specification 2.2, 14.5.1: the key purposes of a certificate. Older validators know the first only.
_PURPOSES = ("1.3.6.1.5.5.7.3.4", "1.3.6.1.4.1.62558.2.1")
# The algorithms of the specification, 13.2, by the type of the key, or by the curve's name.
_ALGORITHMS = {
    "secp256r1": "es256",
    "secp384r1": "es384",
    "secp521r1": "es512",
    "RSAPrivateKey": "ps256",
    "Ed25519PrivateKey": "ed25519",
}
_SAMPLE = (  # a WAV of one sample
    b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x02\0\0\0\0\0"
)

log = logging.getLogger(__name__)


def carries(format: SpeechFormat) -> bool:
    """Return whether a whole recording of this format can have a manifest."""
    return (format.codec, format.container) in _MEDIA_TYPES


def signs(marking: Marking, format: SpeechFormat, streams: bool, live: bool = False) -> bool:
    """Return whether an answer is delivered whole and signed; `streams`: the caller asked for a stream; `live`: it is
    never whole.

    Raises `PolicyError` if the project requires a signature, and it is live or the format cannot have one.
    """
    if live and marking is Marking.SIGNED:
        raise PolicyError("this project's speech must be signed, and live speech cannot be signed")
    if carries(format):
        return marking is Marking.SIGNED or not streams
    if marking is Marking.SIGNED:
        raise PolicyError(
            "this project's speech must be signed; formats that can be signed are wav, mp3 and flac", param="format"
        )
    return False


class Provenance:
    """Signs with one key. Every method blocks for some milliseconds; thread-safe."""

    def __init__(self, chain: bytes, key: bytes) -> None:
        """Load the key. `chain` is PEM certificates, the signer's first, `key` its private key in PEM, not encrypted.

        Raises `CallerError` if validators would not accept their signatures.
        """
        self._chain, self._key = chain, key
        self._algorithm = _algorithm(key)
        try:
            self._sign(_SAMPLE, "audio/wav", "")
        except InternalError as error:
            raise CallerError(f"speech cannot be signed with the provenance key: {error.__cause__}") from None

    def sign(self, data: bytes, format: SpeechFormat, model: str) -> bytes:
        """Return a whole recording with a manifest in it. `model` is the public name of the voice's model.

        Raises `InternalError` if it cannot be signed, also if the format cannot have manifests.
        """
        if not carries(format):
            raise InternalError("This audio format cannot carry a signature.")
        return self._sign(data, _MEDIA_TYPES[format.codec, format.container], model)

    def _sign(self, data: bytes, media_type: str, model: str) -> bytes:
        import c2pa

        signed = io.BytesIO()
        try:
            info = c2pa.C2paSignerInfo(self._algorithm.encode(), self._chain, self._key, None)
            with c2pa.Signer.from_info(info) as signer, c2pa.Builder(_manifest(model)) as builder:
                builder.sign(signer, media_type, io.BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise InternalError("Synthetic speech could not be signed.") from error
        return signed.getvalue()


def open_provenance(data_dir: Path, chain: Path | None = None, key: Path | None = None) -> Provenance:
    """Open it with the operator's certificates and key, or those in the data directory; create them if absent.

    Raises `CallerError` for files that cannot be read or are unsuitable.
    """
    try:
        if chain is not None and key is not None:
            return Provenance(chain.read_bytes(), key.read_bytes())
        chain, key = data_dir / CHAIN_NAME, data_dir / KEY_NAME
        now = datetime.now(UTC)
        if not key.exists():
            made = _key_made()
            write_whole(chain, _certified(made, now))
            write_whole(key, made)
        elif not _holds(before := chain.read_bytes(), now):
            renewed = _certified(key.read_bytes(), now)
            write_whole(data_dir / OLD_CHAIN_NAME, before)
            write_whole(chain, renewed)
            log.warning(
                "new certificates were made for the provenance key", extra={"reason": "the old ones do not hold now"}
            )
        for path in (chain, key):
            tighten(path)
        return Provenance(chain.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CallerError(f"{error.filename} cannot be read or written: {error.strerror}") from None


def _manifest(model: str) -> str:
    agent = {"name": "Antiphon", "version": __version__}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": SYNTHETIC_SOURCE,
        "softwareAgent": agent,
        "parameters": {"model": model},
    }
    return json.dumps(
        {
            "claim_generator_info": [agent],
            "title": "Synthetic speech",
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        }
    )


def _algorithm(key: bytes) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CallerError("the provenance key is not a private key in PEM, or is encrypted") from None
    kind = private.curve.name if isinstance(private, EllipticCurvePrivateKey) else type(private).__name__
    if kind not in _ALGORITHMS:
        raise CallerError(f"C2PA does not support this type of provenance key: {kind}")
    return _ALGORITHMS[kind]


def _key_made() -> bytes:
    """Return a new key in PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    signer = ec.generate_private_key(ec.SECP256R1())
    return signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certified(key: bytes, now: datetime) -> bytes:
    """Return certificates of a key that was created here, in PEM. The authority's own key is dropped at once: it
    certifies nothing else.

    They follow the specification's profile (14.5.1), by which a signer does not certify itself.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    try:
        signer, authority = load_pem_private_key(key, None), ec.generate_private_key(ec.SECP256R1())
    except (ValueError, TypeError) as error:
        raise CallerError(f"{KEY_NAME} in the data directory is damaged") from error
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise CallerError(f"{KEY_NAME} in the data directory was not made by this server")
    leaf = _certificate(signer.public_key(), authority, now, signs_speech=True)
    root = _certificate(authority.public_key(), authority, now, signs_speech=False)
    return leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)


def _holds(chain: bytes, now: datetime) -> bool:
    """Return whether the signer's certificate is valid then; also true if it cannot be read, which signing will
    report.
    """
    from cryptography.x509 import load_pem_x509_certificate

    try:
        leaf = load_pem_x509_certificate(chain)
    except ValueError:
        return True
    return leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc


def _certificate(
    public: "EllipticCurvePublicKey", authority: "EllipticCurvePrivateKey", now: datetime, *, signs_speech: bool
) -> "Certificate":
    """Return a signer's certificate, or the authority's own."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    uses = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
    uses |= {"digital_signature": True} if signs_speech else {"key_cert_sign": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("synthetic speech" if signs_speech else "own authority"))
        .issuer_name(_name("own authority"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(EARLIEST_CLOCK)
        .not_valid_after(max(now, EARLIEST_TRUE) + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=not signs_speech, path_length=None if signs_speech else 0), True)
        .add_extension(x509.KeyUsage(**uses), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
    )
    if signs_speech:
        builder = builder.add_extension(x509.ExtendedKeyUsage(map(x509.ObjectIdentifier, _PURPOSES)), False)
    return builder.sign(authority, SHA256())


def _name(common: str) -> "Name":
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    return Name(
        [
            NameAttribute(NameOID.ORGANIZATION_NAME, "Antiphon"),
            NameAttribute(NameOID.COMMON_NAME, f"Antiphon, {common}"),
        ]
    )
