"""The server's own certificate authority, for TLS without another one: clients trust it once, and it renews the
server's certificate when needed.
"""

import fcntl
import inspect
import ipaddress
import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.core.errors import CallerError
from antiphon.storage.files import tighten, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate, GeneralName, Name

# In the data directory.
AUTHORITY_NAME, AUTHORITY_KEY_NAME = "tls-authority.pem", "tls-authority-key.pem"
SERVER_NAME, SERVER_KEY_NAME = "tls-server.pem", "tls-server-key.pem"
AUTHORITY_DAYS = 10 * 365
SERVER_DAYS = 90
RENEWED_DAYS = 30  # before the certificate's end
_SIOCGIFADDR = 0x8915


def certify(data_dir: Path, host: str, now: datetime | None = None) -> tuple[Path, Path]:
    """Return the files of a certificate for this machine and `host`, and of its key. Creates the authority and the
    certificate if they are absent or no longer valid.

    Raises `CallerError` if they cannot be created.
    """
    now = now or datetime.now(UTC)
    certificate, key = data_dir / SERVER_NAME, data_dir / SERVER_KEY_NAME
    try:
        authority, signer = _authority(data_dir, now)
        names = _general(own_names(host))
        if not _holds(certificate, key, authority, names, now):
            made = _key_made()
            ends = min(now + timedelta(days=SERVER_DAYS), authority.not_valid_after_utc)
            issued = _certificate(_name("server"), made.public_key(), authority.subject, signer, now, ends, names)
            write_whole(key, _pem(made))
            write_whole(certificate, issued + (data_dir / AUTHORITY_NAME).read_bytes())
        for path in (certificate, key):
            tighten(path)
    except OSError as error:
        raise CallerError(f"{error.filename} cannot be read or written: {error.strerror}") from None
    except (ValueError, TypeError):
        raise CallerError(f"{AUTHORITY_NAME} or {AUTHORITY_KEY_NAME} in the data directory is damaged") from None
    return certificate, key


def own_names(host: str) -> tuple[str, ...]:
    """Return the names and addresses of this machine, without a query to the network."""
    found = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    if host not in ("", "0.0.0.0", "::"):
        found.append(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, interface in socket.if_nameindex():
            with suppress(OSError):  # it has no address
                reply = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
                found.append(socket.inet_ntoa(reply[20:24]))
    with suppress(OSError):
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
        found += [str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in lines]
    return tuple(dict.fromkeys(name for name in found if name.isascii()))


def _general(names: tuple[str, ...]) -> "list[GeneralName]":
    from cryptography import x509

    made: list[GeneralName] = []
    for name in names:
        try:
            made.append(x509.IPAddress(ipaddress.ip_address(name.partition("%")[0])))
        except ValueError:
            made.append(x509.DNSName(name))
    return made


def _authority(data_dir: Path, now: datetime) -> "tuple[Certificate, EllipticCurvePrivateKey]":
    """Return the data directory's authority; create it if absent."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    certificate, key = data_dir / AUTHORITY_NAME, data_dir / AUTHORITY_KEY_NAME
    if not key.exists():
        signer = _key_made()
        name, ends = _name("authority"), now + timedelta(days=AUTHORITY_DAYS)
        own = _certificate(name, signer.public_key(), name, signer, now, ends, [])
        write_whole(certificate, own)
        write_whole(key, _pem(signer))
    for path in (certificate, key):
        tighten(path)
    loaded = load_pem_private_key(key.read_bytes(), None)
    authority = x509.load_pem_x509_certificate(certificate.read_bytes())
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != authority.public_key():
        raise ValueError
    if authority.not_valid_after_utc <= now:
        raise CallerError(
            f"{AUTHORITY_NAME} in the data directory has expired: remove it and its key, and a new one is made"
        )
    return authority, loaded


def _holds(certificate: Path, key: Path, authority: "Certificate", names: "list[GeneralName]", now: datetime) -> bool:
    """Return whether the certificate is of this authority, for these names, and not about to expire."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        leaf.verify_directly_issued_by(authority)
        certified = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        belongs = load_pem_private_key(key.read_bytes(), None).public_key() == leaf.public_key()
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    renewed = min(leaf.not_valid_after_utc - timedelta(days=RENEWED_DAYS), authority.not_valid_after_utc)
    return belongs and leaf.not_valid_before_utc <= now < renewed and all(name in certified for name in names)


def _key_made() -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(what: str) -> "Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    common = f"Antiphon {what} on {socket.gethostname()}"[:64]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: "Name",
    public: "EllipticCurvePublicKey",
    issuer: "Name",
    signer: "EllipticCurvePrivateKey",
    begins: datetime,
    ends: datetime,
    names: "list[GeneralName]",
) -> bytes:
    """Return a certificate in PEM; an authority's own without `names`. Strict clients require its extensions (RFC 5280,
    4.2).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID

    uses = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
    uses |= {"digital_signature": True} if names else {"key_cert_sign": True, "crl_sign": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - timedelta(days=1))  # clocks differ
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None if names else 0), True)
        .add_extension(x509.KeyUsage(**uses), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    return builder.sign(signer, SHA256()).public_bytes(Encoding.PEM)
